"""The libraries that can run a stage: one dict of typed records and one look-up."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from gen2seg_runtime.backends.stage import StageSession
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.errors import BackendError
from gen2seg_runtime.manifest import StageSpec

# (bundle, stage, threads) -> session
StageOpener = Callable[[Bundle, StageSpec, int], StageSession]


@dataclass(frozen=True)
class BackendSpec:
    """One library.

    Attributes:
        module, opener: where the `StageOpener` is; imported when it is asked for.
        library: the Python module that must be installed.
        install: how it is installed.
        from_onnx: it runs a stage's ONNX graph; else it needs an artifact of the stage under its name.
        lacks: formats of `PrecisionSpec.compute` that its arithmetic has not.
    """

    module: str
    opener: str
    library: str
    install: str
    from_onnx: bool
    lacks: tuple[str, ...] = ()

    def installed(self) -> bool:
        """Whether the library is there; it is not imported."""
        try:
            return find_spec(self.library) is not None
        except (ImportError, ValueError):  # None in sys.modules is a ValueError
            return False


BACKENDS = {
    "onnxruntime": BackendSpec(
        module="gen2seg_runtime.backends.onnxruntime",
        opener="OnnxRuntimeStage",
        library="onnxruntime",
        install="pip install onnxruntime",
        from_onnx=True,
        lacks=("bfloat16",),
    ),
}
DEFAULT_BACKEND = "onnxruntime"


def get_backend(name: str) -> BackendSpec:
    """Look up a backend.

    Raises:
        BackendError: unknown name.
    """
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}; this version has: auto, {', '.join(sorted(BACKENDS))}")
    return BACKENDS[name]


def can_run(name: str, stage: StageSpec) -> bool:
    """Whether the backend is known, its library installed, and it can run the stage with what the bundle holds."""
    return name in BACKENDS and _obstacle(name, stage) is None


def open_stage(name: str, bundle: Bundle, stage: StageSpec, threads: int) -> StageSession:
    """Open one stage in the backend of that name.

    Raises:
        BackendError: unknown name, missing library or artifact, or the library refuses the model.
    """
    spec = get_backend(name)
    obstacle = _obstacle(name, stage)
    if obstacle is not None:
        raise BackendError(f"{bundle.root}: {obstacle}")
    opener: StageOpener = getattr(import_module(spec.module), spec.opener)
    return opener(bundle, stage, threads)


def _obstacle(name: str, stage: StageSpec) -> str | None:
    spec = BACKENDS[name]
    if not spec.from_onnx and name not in stage.artifacts:
        made = ", ".join(sorted(stage.artifacts)) or "none"
        return (
            f"stage {stage.name!r} has no artifact for backend {name!r} (it has: {made}); "
            f"export the bundle again with --target {name.replace('_', '-')}"
        )
    if stage.precision.compute in spec.lacks:
        other = BACKENDS.get(stage.backend or "")
        return f"stage {stage.name!r} computes in {stage.precision.compute}, which {name} has not" + (
            f"; backend {stage.backend!r} has it: {other.install}" if other is not None else ""
        )
    return None if spec.installed() else f"the {name} backend needs: {spec.install}"
