"""Examine a bundle on a machine."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from gen2seg_runtime.backends.checks import (
    CANNOT,
    REBUILD,
    Obstacle,
    cuda_name,
    obstacles,
    weights_outside,
)
from gen2seg_runtime.backends.choice import choose_backends
from gen2seg_runtime.backends.engine_files import engine_files, fitting_engine
from gen2seg_runtime.backends.providers import PROVIDERS
from gen2seg_runtime.backends.registry import BACKENDS
from gen2seg_runtime.backends.spec import BackendSpec
from gen2seg_runtime.doctor.bundle_check import (
    MIB,
    artifact_bytes,
    bundle_notes,
    describe,
    memory_needed,
    read_manifest,
)
from gen2seg_runtime.doctor.kernels_check import missing_kernels
from gen2seg_runtime.doctor.report import Note, Report, Verdict
from gen2seg_runtime.errors import BackendError
from gen2seg_runtime.machine import MACHINE, Probes
from gen2seg_runtime.manifest import Manifest

_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"})
_ONNX_DISTRIBUTIONS = ("onnxruntime-gpu", "onnxruntime")


def examine(path: str | os.PathLike[str] | None = None, probes: Probes = MACHINE) -> Report:
    """Say for each backend whether it will run a bundle here, what must be rebuilt, and what cannot be, and why.

    The manifest is read and the machine is asked; no weights are loaded, no digest is computed, nothing is run.

    Args:
        path: the bundle's folder; None: the embedded one.
        probes: what to know of the machine; for tests, or for a machine that is not this one.
    Returns:
        The report; a bundle that cannot be read is a problem in it and no exception.
    """
    root, manifest, problems = read_manifest(path)
    machine = describe_machine(probes)
    notes = list(_machine_notes(probes))
    if manifest is None:
        return Report({}, machine, tuple(problems), tuple(notes), (), ())
    verdicts = tuple(_verdict(manifest, name, options, probes) for name, options in _backends())
    notes += [*bundle_notes(manifest), *(missing_kernels(root, manifest, probes) if not problems else ())]
    return Report(
        describe(root, manifest), machine, tuple(problems), tuple(notes), verdicts, _auto(manifest, verdicts, probes)
    )


def describe_machine(probes: Probes) -> dict[str, Any]:
    """Processor, memory, GPUs, driver and the packages that backends come from."""
    memory, cuda = probes.memory(), probes.cuda_version()
    known = dict.fromkeys([*_ONNX_DISTRIBUTIONS, "openvino", *_distributions(), "cuda-bindings"])
    versions = {name: probes.version(name) for name in known}
    return {
        "processor": probes.cpu_name(),
        "memory": f"{memory.total / MIB:.0f} MiB, {memory.available / MIB:.0f} free",
        "GPUs": [f"{gpu.name} (sm_{gpu.capability}, {gpu.memory / MIB:.0f} MiB)" for gpu in probes.gpus()],
        "driver": "none" if cuda is None else f"{probes.driver_version() or 'unknown'}, {cuda_name(cuda)}",
        "libraries": {name: version for name, version in versions.items() if version is not None},
    }


def _distributions() -> Iterator[str]:
    for spec in (*BACKENDS.values(), *PROVIDERS.values()):
        yield from spec.distributions


def _backends() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every backend, and ONNX Runtime once more with each of its providers."""
    for name in BACKENDS:
        yield name, {}
        if name == "onnxruntime":
            yield from ((name, {"provider": provider}) for provider in PROVIDERS)


def _machine_notes(probes: Probes) -> Iterator[Note]:
    both = [f"{name} {probes.version(name)}" for name in _ONNX_DISTRIBUTIONS if probes.version(name) is not None]
    if len(both) == 2:
        yield Note(
            "G2S-W103",
            f"{' and '.join(both)} write the same files, the one installed last is imported: "
            "pip uninstall -y onnxruntime onnxruntime-gpu, then install one of them",
        )


def _verdict(manifest: Manifest, name: str, options: Mapping[str, Any], probes: Probes) -> Verdict:
    spec = BACKENDS[name]
    found: dict[str, Obstacle] = {}
    for stage in manifest.chain:
        for obstacle in obstacles(name, spec, stage, probes, options, weights_outside(manifest, stage)):
            # What concerns the machine is the same for every stage.
            found.setdefault(f"{obstacle.code} {obstacle.message if obstacle.kind == REBUILD else ''}", obstacle)
    for obstacle in (*_loading(name, spec, found, probes), *_memory(manifest, name, spec, options, probes)):
        found.setdefault(obstacle.code, obstacle)
    provider = options.get("provider")
    distributions = _verdict_distributions(name, provider)
    versions = {item: probes.version(item) for item in distributions}
    return Verdict(
        f"{name}:{provider}" if provider else name,
        tuple(found.values()),
        tuple(_notes(manifest, name, spec, options, probes)) if not found else (),
        {item: version for item, version in versions.items() if version is not None},
    )


def _verdict_distributions(name: str, provider: str | None) -> tuple[str, ...]:
    if provider:
        return (*_ONNX_DISTRIBUTIONS, *PROVIDERS[provider].distributions)
    return {"onnxruntime": _ONNX_DISTRIBUTIONS}.get(name) or BACKENDS[name].distributions or (name,)


def _loading(name: str, spec: BackendSpec, found: Mapping[str, Obstacle], probes: Probes) -> Iterator[Obstacle]:
    """Whether a library that is there, on a machine that has what it needs, can be imported."""
    if found:
        return
    for module in (spec.package, *spec.also):
        error = probes.load_error(module)
        if error is not None:
            yield Obstacle("G2S-E022", CANNOT, f"{name}: {module} is installed but does not load: {error}")


def _memory(
    manifest: Manifest, name: str, spec: BackendSpec, options: Mapping[str, Any], probes: Probes
) -> Iterator[Obstacle]:
    gpus = probes.gpus()
    if not spec.gpu and not options:
        needed, memory = memory_needed(manifest), probes.memory()
        if needed > memory.available:
            yield Obstacle(
                "G2S-E018",
                CANNOT,
                f"{name} needs about {needed / MIB:.0f} MiB of memory, {memory.available / MIB:.0f} are free",
            )
    elif spec.gpu and gpus:
        needed = artifact_bytes(manifest, name)
        if needed > gpus[0].memory:
            yield Obstacle(
                "G2S-E017",
                CANNOT,
                f"the engines take {needed / MIB:.0f} MiB, {gpus[0].name} has {gpus[0].memory / MIB:.0f}",
            )


def _notes(
    manifest: Manifest, name: str, spec: BackendSpec, options: Mapping[str, Any], probes: Probes
) -> Iterator[Note]:
    """What to know of a backend that will run."""
    if spec.gpu or options:
        yield Note("G2S-W107", f"{name} on a GPU is tested through fakes only so far; check it: gen2seg verify BUNDLE")
    if spec.gpu:
        yield from _cards(manifest, name, probes)
    features = probes.cpu_features()
    wide = name == "openvino" and features and not features & _BFLOAT16
    if wide and any(stage.precision.compute == "bfloat16" for stage in manifest.chain):
        yield Note("G2S-W104", "this processor has no bfloat16 instructions: the stages run in float32")


def _cards(manifest: Manifest, name: str, probes: Probes) -> Iterator[Note]:
    """Engines that were built on one card, where that may be another kind than the one here."""
    gpu = probes.gpus()[0]  # a backend for GPUs that will run has found one
    for stage in manifest.chain:
        engine = fitting_engine(engine_files(name, stage), gpu.capability)
        if engine is None or (engine.sms and engine.card in (None, gpu.name)):
            continue
        where = f"{engine.card}, this is {gpu.name}" if engine.sms else "a GPU that the bundle does not name"
        yield Note("G2S-W106", f"the engine of stage {stage.name!r} was built on {where}")


def _auto(manifest: Manifest, verdicts: tuple[Verdict, ...], probes: Probes) -> tuple[str, ...]:
    try:
        choices = choose_backends(manifest, probes=probes)
    except BackendError:
        return ()
    # "auto" loads no library before it is chosen, so that what shows only then is an error of opening.
    fails = {verdict.backend for verdict in verdicts if verdict.obstacles}
    return tuple(
        f"{choice}{', and opening it will fail: name another backend' if choice.backend in fails else ''}"
        for choice in choices
    )
