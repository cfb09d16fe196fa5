"""The C kernels cross-compiled for 64-bit ARM: that they compile cleanly and what the file needs. It is NOT run."""

import os
import re
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytest.importorskip("ziglang")

ROOT = Path(__file__).parents[2]
AARCH64 = 183  # e_machine
DYNAMIC, SYMBOLS, NEEDED, FUNCTION = 6, 11, 1, 2  # section types, a tag of the dynamic section, a symbol type


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    header = Path(sysconfig.get_path("include"), "pyconfig.h").read_text()
    if "aarch64-linux-gnu/" in header:
        pytest.skip("this Python's headers are split by architecture and only this machine's are installed")
    folder = tmp_path_factory.mktemp("aarch64")
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([ROOT / ".ci/aarch64", folder], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return (folder / "gen2seg_kernels/_native.abi3.so").read_bytes(), done.stdout + done.stderr


def test_it_compiles_without_warnings(built):
    assert re.findall(r".*\bwarning:.*", built[1]) == []


def test_it_is_an_extension_for_arm_that_needs_the_c_library_only(built):
    machine, needed, exported = read_shared_object(built[0])
    assert machine == AARCH64
    assert {name.partition(".so")[0] for name in needed} <= {"libc", "libm", "libpthread"}
    assert exported == {"PyInit__native"}


def test_the_row_functions_of_any_machine_become_vector_code(tmp_path):
    source = ROOT / "kernels/gen2seg_kernels/csrc/prompt_rows_any.c"
    flags = ["-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-g0", "-S", "-o", tmp_path / "any.s"]
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu", *flags, source]
    subprocess.run(command, check=True, capture_output=True)
    assembly = (tmp_path / "any.s").read_text(errors="replace")
    instructions = re.findall(r"^\s+f(?:mul|add|sub|cmg[te])\s+v\d+\.(?:4s|2d)", assembly, re.M)
    assert len(instructions) > 20


def read_shared_object(data: bytes) -> tuple[int, list[str], set[str]]:
    """Machine, needed libraries and exported functions of a little-endian 64-bit ELF file."""
    assert data[:6] == b"\x7fELF\x02\x01"
    (machine,), (offset,) = struct.unpack_from("<H", data, 18), struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * size) for i in range(count)]

    def content(section):
        return data[section[4] : section[4] + section[5]]

    def entries(kind, layout):
        """The entries of the one section of this type, each with a function that looks a name up."""
        (section,) = (section for section in sections if section[1] == kind)
        names = content(sections[section[6]])
        for entry in struct.iter_unpack(layout, content(section)):
            yield entry, lambda at: names[at : names.index(b"\0", at)].decode()

    needed = [name(value) for (tag, value), name in entries(DYNAMIC, "<QQ") if tag == NEEDED]
    exported = {
        name(at)
        for (at, info, _, home, _, _), name in entries(SYMBOLS, "<IBBHQQ")
        if home != 0 and info & 15 == FUNCTION
    }
    return machine, needed, exported
