"""What the assembler's input and its log tell about a kernel."""

import re
from dataclasses import dataclass

from gen2seg_kernels.aot.errors import KernelBuildError

_ENTRY = re.compile(r"\.visible\s+\.entry\s+(\w+)\s*\(([^)]*)\)", re.DOTALL)
_PARAM = re.compile(r"\.param\s+\.(\w+)")
_TARGET = re.compile(r"\.target\s+sm_(\d+)(a?)")
_THREADS = re.compile(r"\.reqntid\s+(\d+)")
_REGISTERS = re.compile(r"Used (\d+) registers")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


@dataclass(frozen=True)
class Entry:
    """The one kernel of a PTX text: name, PTX types of its parameters in order, threads, architecture."""

    name: str
    parameters: tuple[str, ...]
    threads: int
    sm: int
    exact: bool


@dataclass(frozen=True)
class Usage:
    """What one thread of a kernel uses."""

    registers: int
    stack_bytes: int
    spill_store_bytes: int
    spill_load_bytes: int


def read_entry(ptx: str) -> Entry:
    """Raises KernelBuildError unless `ptx` holds exactly one kernel that says its block size."""
    entries = _ENTRY.findall(ptx)
    target, threads = _TARGET.search(ptx), _THREADS.search(ptx)
    if len(entries) != 1 or target is None or threads is None:
        raise KernelBuildError(f"expected PTX with one entry, .target and .reqntid; found {len(entries)} entries")
    name, parameters = entries[0]
    types = tuple(_PARAM.findall(parameters))
    return Entry(name, types, int(threads[1]), int(target[1]), bool(target[2]))


def read_usage(log: str) -> Usage:
    """What `ptxas -v` printed for a text with one kernel.

    Raises:
        KernelBuildError: the log does not tell; no claim about spills may rest on a missing line.
    """
    registers, stack = _REGISTERS.search(log), _STACK.search(log)
    if registers is None or stack is None:
        raise KernelBuildError(f"the assembler's log names no registers or spills: {log.strip()[:400]!r}")
    return Usage(int(registers[1]), *(int(number) for number in stack.groups()))
