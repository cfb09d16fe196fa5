"""All kernels for all architectures: in parallel, into files and one contract."""

import hashlib
import multiprocessing
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from gen2seg_kernels.aot.compile import Compiled, compile_variant
from gen2seg_kernels.aot.contract import FILE_NAME, Contract, Kernel, Target, to_json
from gen2seg_kernels.aot.discover import all_variants, targets_of
from gen2seg_kernels.aot.errors import KernelBuildError, KernelOutputError
from gen2seg_kernels.aot.grid import names_in_rule

Job = tuple[str, int]  # a variant's name and an architecture


def build(
    modules: Sequence[str],
    architectures: Sequence[int],
    folder: Path,
    names: Sequence[str] = (),
    workers: int = 2,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> Contract:
    """Compiles into `folder` (made if it is missing): `<kernel>.sm_<cc>.cubin` each, kernels.json last.

    Args:
        modules: where `variants()` are.
        architectures: compute capabilities times ten.
        folder: files of these names in it are replaced, others left.
        names: only these kernels; none = all.
        workers: processes.
        progress: called after each kernel with how many are done, how many there are, and its name.

    Raises:
        KernelBuildError: there is nothing to compile, a name is unknown, or a kernel does not compile.
        KernelOutputError: a file cannot be written.
    """
    jobs = plan(modules, architectures, names)
    compiled: dict[Job, Compiled] = {}
    for done, (job, result) in enumerate(_run(jobs, tuple(modules), workers), 1):
        compiled[job] = result
        progress(done, len(jobs), f"{job[0]}.sm_{job[1]}")
    _make_folder(folder)
    kernels = {}
    for name, group in groupby(sorted(compiled), key=lambda job: job[0]):
        results = [(sm, compiled[name, sm]) for _, sm in group]
        kernels[name] = _kernel(results)
        for (_, result), target in zip(results, kernels[name].targets, strict=True):
            write_file(folder / target.file, result.cubin)
    contract = Contract(version("triton"), kernels)
    write_file(folder / FILE_NAME, to_json(contract).encode())
    return contract


def plan(modules: Sequence[str], architectures: Sequence[int], names: Sequence[str] = ()) -> list[Job]:
    """What is to be compiled, the same order each time."""
    variants = all_variants(modules)
    known = {variant.name for variant in variants}
    if not known:
        raise KernelBuildError(f"no kernel to compile in {', '.join(modules) or 'no module'}")
    unknown = set(names) - known
    if unknown:
        raise KernelBuildError(f"unknown kernels {sorted(unknown)}; known: {', '.join(sorted(known))}")
    jobs = [(v.name, sm) for v in variants if not names or v.name in names for sm in targets_of(v, architectures)]
    if not jobs:
        raise KernelBuildError(f"none of {', '.join(sorted(names or known))} is for {tuple(architectures)}")
    return jobs


def compile_job(modules: tuple[str, ...], job: Job) -> tuple[Job, Compiled]:
    """Compiles one job; in a process of its own it finds the variant by name, as functions do not travel."""
    name, sm = job
    try:
        return job, compile_variant(_variants_by_job(modules)[job], sm)
    except KernelBuildError:
        raise
    except Exception as error:  # Triton's own errors do not all survive the way back between processes
        raise KernelBuildError(f"kernel {name!r} for sm_{sm} does not compile: {error}") from error


@cache
def _variants_by_job(modules: tuple[str, ...]) -> dict:
    from gen2seg_kernels.aot.architectures import ARCHITECTURES

    return {(v.name, sm): v for v in all_variants(modules) for sm in targets_of(v, ARCHITECTURES)}


def _run(jobs: Sequence[Job], modules: tuple[str, ...], workers: int) -> Iterable[tuple[Job, Compiled]]:
    if workers == 1 or len(jobs) == 1:
        yield from (compile_job(modules, job) for job in jobs)
        return
    # spawn: a fork would copy threads' locks out of PyTorch and Triton
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        futures = [pool.submit(compile_job, modules, job) for job in jobs]
        try:
            yield from (future.result() for future in futures)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _kernel(results: list[tuple[int, Compiled]]) -> Kernel:
    first = results[0][1]
    for sm, other in results:
        if (other.parameters, other.entry.name) != (first.parameters, first.entry.name):
            raise KernelBuildError(
                f"kernel {first.name!r} takes other parameters on sm_{sm} than on sm_{results[0][0]}"
            )
    targets = tuple(_target(sm, result) for sm, result in results)
    named = set().union(*(names_in_rule(rule) for target in targets for rule in target.grid))
    known = {parameter.name for parameter in first.parameters}.union(*(target.constants for target in targets))
    extra = tuple(sorted(named - known))
    return Kernel(first.name, first.doc, first.entry.name, first.parameters, extra, targets)


def _target(sm: int, result: Compiled) -> Target:
    return Target(
        sm=sm,
        exact=result.entry.exact,
        file=f"{result.name}.sm_{sm}.cubin",
        bytes=len(result.cubin),
        sha256=hashlib.sha256(result.cubin).hexdigest(),
        grid=result.grid,
        block=(result.entry.threads, 1, 1),
        shared_bytes=result.shared_bytes,
        registers=result.usage.registers,
        spill_store_bytes=result.usage.spill_store_bytes,
        spill_load_bytes=result.usage.spill_load_bytes,
        stack_bytes=result.usage.stack_bytes,
        constants=result.constants,
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KernelOutputError(f"{folder}: cannot be made: {error}") from error


def write_file(path: Path, data: bytes) -> None:
    """Replaces `path` in one step; nobody ever sees half of it.

    Raises:
        KernelOutputError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise KernelOutputError(f"{path}: cannot be written: {error}") from error
