"""Whether a backend can run a stage on a machine, and if not why: one set of rules for opening, "auto" and `doctor`.

Nothing here loads a model; a library is imported only where a rule says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gen2seg_runtime.backends.engine_files import engine_files, fitting_engine
from gen2seg_runtime.backends.providers import Provider, provider_of
from gen2seg_runtime.backends.spec import BackendSpec
from gen2seg_runtime.codes import CODES
from gen2seg_runtime.machine import Probes
from gen2seg_runtime.manifest import Manifest, StageSpec

CANNOT, REBUILD = "cannot", "rebuild"
TURING = 75  # the compute capability times ten that engines are built for on request only


@dataclass(frozen=True)
class Obstacle:
    """What keeps a backend from running a stage.

    Attributes:
        code: a key of `CODES`.
        kind: "rebuild" (the bundle lacks what this machine needs) or "cannot" (the machine lacks it).
        message: what is missing, and how to get it.
    """

    code: str
    kind: str
    message: str

    def __post_init__(self) -> None:
        assert self.code in CODES, self.code

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"


def obstacles(
    name: str,
    spec: BackendSpec,
    stage: StageSpec,
    probes: Probes,
    options: Mapping[str, Any] | None = None,
    outside: bool = False,
) -> Iterator[Obstacle]:
    """What keeps backend `name` from running a stage, what concerns the bundle first; nothing: it will run.

    The obstacles come one by one, so that whoever wants the first only makes no further probe.

    Args:
        outside: whether the stage's graph keeps weights in another file, see `weights_outside`.
    Raises:
        BackendError: the options name an unknown provider.
    """
    provider = provider_of(options or {}) if name == "onnxruntime" else None
    yield from _artifact(name, spec, stage, outside)
    lacks = spec.lacks if provider is None else provider.lacks
    if stage.precision.compute in lacks:
        yield Obstacle(
            "G2S-E019",
            CANNOT,
            f"stage {stage.name!r} computes in {stage.precision.compute}, which {name} has not{_other(stage)}",
        )
    missing = [module for module in (spec.package, *spec.also) if not probes.installed(module)]
    if missing:
        yield Obstacle("G2S-E010", CANNOT, f"the {name} backend needs: {spec.install} (no module {missing[0]})")
    elif provider is not None:
        yield from _provider(provider, probes)
    if spec.gpu:
        yield from _card(name, spec.distributions, probes, options)
        yield from _engine(name, spec, stage, probes, options)
    elif provider is not None:
        yield from _card(provider.onnx_name, provider.distributions, probes, options)


def first_obstacle(
    name: str,
    spec: BackendSpec,
    stage: StageSpec,
    probes: Probes,
    options: Mapping[str, Any] | None = None,
    outside: bool = False,
) -> Obstacle | None:
    """The first of `obstacles`; None: it will run."""
    return next(obstacles(name, spec, stage, probes, options, outside), None)


def weights_outside(manifest: Manifest, stage: StageSpec) -> bool:
    """Whether a stage's graph keeps weights in another file, by its name: the graph's and a suffix, as exported."""
    return any(r.role == "model_data" and r.path.startswith(f"{stage.path}.") for r in manifest.files)


def cuda_name(version: int) -> str:
    """The driver's number of a CUDA version in words: 12090 is CUDA 12.9."""
    return f"CUDA {version // 1000}.{version % 1000 // 10}"


def installed_version(distributions: Sequence[str], probes: Probes) -> tuple[str, str] | None:
    """(distribution, version) of the first that is installed."""
    found = ((distribution, probes.version(distribution)) for distribution in distributions)
    return next(((name, version) for name, version in found if version is not None), None)


def _artifact(name: str, spec: BackendSpec, stage: StageSpec, outside: bool) -> Iterator[Obstacle]:
    if name in stage.artifacts or (spec.from_onnx and (spec.external or not outside)):
        return
    made = ", ".join(sorted(stage.artifacts)) or "none"
    why = f", and {name} would read the weights in the other file of its graph unchecked" if spec.from_onnx else ""
    yield Obstacle(
        "G2S-E020" if spec.from_onnx else "G2S-E012",
        REBUILD,
        f"stage {stage.name!r} has no artifact for backend {name!r} (it has: {made}){why}; "
        f"export the bundle again with --target {name.replace('_', '-')}",
    )


def _other(stage: StageSpec) -> str:
    from gen2seg_runtime.backends.registry import BACKENDS

    other = BACKENDS.get(stage.backend or "")
    return "" if other is None else f"; backend {stage.backend!r} has it: {other.install}"


def _provider(provider: Provider, probes: Probes) -> Iterator[Obstacle]:
    if provider.plugin:
        if not probes.installed(provider.plugin):
            yield Obstacle("G2S-E010", CANNOT, f"{provider.onnx_name} needs: {provider.install}")
        return
    if provider.onnx_name in probes.onnx_providers():
        return
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if probes.version(name) is not None]
    if len(both) == 2:
        yield Obstacle(
            "G2S-E011",
            CANNOT,
            "onnxruntime and onnxruntime-gpu are both installed and write the same files; the one for CPUs is "
            f"imported, without {provider.onnx_name}: {provider.install}",
        )
        return
    yield Obstacle(
        "G2S-E021",
        CANNOT,
        f"{' and '.join(both) or 'the installed ONNX Runtime'} has no {provider.onnx_name} "
        f"(it has: {', '.join(probes.onnx_providers()) or 'none'}): {provider.install}",
    )


def _card(
    name: str, distributions: Sequence[str], probes: Probes, options: Mapping[str, Any] | None
) -> Iterator[Obstacle]:
    index, count = _device(options), len(probes.gpus())
    if index >= count:
        found = f"there are {count} GPUs and device {index} is asked for" if count else "no NVIDIA GPU or no driver"
        yield Obstacle("G2S-E015", CANNOT, f"{name} runs on NVIDIA GPUs only; {found}")
        return
    known, installed = probes.cuda_version(), installed_version(distributions, probes)
    major = installed[0].rpartition("-cu")[2] if installed is not None and "-cu" in installed[0] else ""
    if known is not None and major.isdecimal() and known < 1000 * int(major):
        yield Obstacle(
            "G2S-E016",
            CANNOT,
            f"{installed[0] if installed else name} needs a driver for CUDA {major}, this one "
            f"({probes.driver_version() or 'unknown version'}) ends at {cuda_name(known)}; "
            "update the driver",
        )


def _engine(
    name: str, spec: BackendSpec, stage: StageSpec, probes: Probes, options: Mapping[str, Any] | None
) -> Iterator[Obstacle]:
    engines = engine_files(name, stage)
    if not engines:
        return  # without an artifact `_artifact` has said so; one that holds no engine is an error of opening
    again = f"export the bundle again with --target {name.replace('_', '-')}"
    gpus, index = probes.gpus(), _device(options)
    gpu = gpus[index] if index < len(gpus) else None
    fitting = fitting_engine(engines, gpu.capability) if gpu is not None else None
    installed = installed_version(spec.distributions, probes)
    wanted = (fitting or engines[0]).version
    # Neither library reads engines of another version (they could be built to be read by later TensorRTs; ours are not)
    if installed is not None and wanted is not None and _plain(installed[1]) != _plain(wanted):
        yield Obstacle(
            "G2S-E013",
            REBUILD,
            f"the engine of stage {stage.name!r} was built by {name} {wanted}, {installed[1]} is installed; "
            f"{again}, or pip install {installed[0]}=={wanted}",
        )
    if gpu is not None and fitting is None:
        sms = [sm for engine in engines for sm in engine.sms]
        what = "engine of stage {0!r} is" if len(engines) == 1 else "engines of stage {0!r} are"
        turing = " --turing" if gpu.capability == TURING and name == "tensorrt_rtx" else ""
        yield Obstacle(
            "G2S-E014",
            REBUILD,
            f"the {what.format(stage.name)} for {', '.join(f'sm_{sm}' for sm in sms)}, "
            f"{gpu.name} is sm_{gpu.capability}; {again}{turing} for it",
        )


def _device(options: Mapping[str, Any] | None) -> int:
    index = (options or {}).get("device_id", 0)
    return index if isinstance(index, int) and not isinstance(index, bool) and index >= 0 else 0


def _plain(version: str) -> str:
    """Without a packager's suffix: 10.13.3.post1 is the library 10.13.3."""
    return version.partition(".post")[0].partition("+")[0]
