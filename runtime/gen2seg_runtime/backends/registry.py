"""The libraries that can run a stage: one dict of typed records and one look-up."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from gen2seg_runtime.backends.checks import first_obstacle, weights_outside
from gen2seg_runtime.backends.providers import OPTIONS as PROVIDER_OPTIONS
from gen2seg_runtime.backends.spec import BackendSpec, OptionsOpener, StageOpener
from gen2seg_runtime.backends.stage import StageSession
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.errors import BackendError
from gen2seg_runtime.machine import MACHINE
from gen2seg_runtime.manifest import StageSpec

_ENGINE = "gen2seg_runtime.backends.engine_stage"
BACKENDS = {
    "onnxruntime": BackendSpec(
        module="gen2seg_runtime.backends.onnxruntime",
        opener="OnnxRuntimeStage",
        package="onnxruntime",
        install="pip install onnxruntime",
        from_onnx=True,
        external=True,
        lacks=("bfloat16",),
        options=PROVIDER_OPTIONS,
        options_opener="gen2seg_runtime.backends.onnxruntime_gpu:open_with_provider",
    ),
    "openvino": BackendSpec(
        module="gen2seg_runtime.backends.openvino",
        opener="OpenVinoStage",
        package="openvino",
        install="pip install 'gen2seg[openvino]'",
        from_onnx=True,
    ),
    "tensorrt_rtx": BackendSpec(
        module=_ENGINE,
        opener="open_tensorrt_rtx",
        package="tensorrt_rtx",
        install="pip install 'gen2seg[tensorrt-rtx]'",
        from_onnx=False,
        options=("device_id",),
        options_opener=f"{_ENGINE}:open_tensorrt_rtx",
        gpu=True,
        distributions=("tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx"),
        also=("cuda.bindings",),
    ),
    "tensorrt": BackendSpec(
        module=_ENGINE,
        opener="open_tensorrt",
        package="tensorrt",
        install="pip install 'gen2seg[tensorrt]'",
        from_onnx=False,
        options=("device_id",),
        options_opener=f"{_ENGINE}:open_tensorrt",
        gpu=True,
        distributions=("tensorrt-cu13", "tensorrt-cu12", "tensorrt"),
        also=("cuda.bindings",),
    ),
}
DEFAULT_BACKEND = "onnxruntime"


def get_backend(name: str) -> BackendSpec:
    """Look up a backend.

    Raises:
        BackendError: unknown name.
    """
    if not isinstance(name, str) or name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}; this version has: auto, {', '.join(sorted(BACKENDS))}")
    return BACKENDS[name]


def check_mapping(options: Any) -> None:
    """Raise BackendError unless `options` is None or a mapping with names as keys."""
    good = options is None or (isinstance(options, Mapping) and all(isinstance(key, str) for key in options))
    if not good:
        raise BackendError(f"options are a mapping from names to values, got {type(options).__name__}")


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise BackendError unless the backend takes these options."""
    spec = get_backend(name)
    check_mapping(options)
    unknown = sorted(set(options) - set(spec.options))
    if unknown:
        known = ", ".join(spec.options) or "none"
        raise BackendError(f"backend {name!r} has no options {', '.join(unknown)}; it takes: {known}")
    index = options.get("device_id", 0)
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise BackendError(f"backend {name!r}: device_id must be a number from 0, got {index!r}")


def can_run(name: str, bundle: Bundle, stage: StageSpec) -> bool:
    """Whether the backend is known and can run the stage on this machine with what the bundle holds."""
    outside = weights_outside(bundle.manifest, stage)
    return name in BACKENDS and first_obstacle(name, BACKENDS[name], stage, MACHINE, outside=outside) is None


def open_stage(
    name: str, bundle: Bundle, stage: StageSpec, threads: int, options: Mapping[str, Any] | None = None
) -> StageSession:
    """Open one stage in the backend of that name, and in no other.

    Raises:
        BackendError: unknown name or option, missing library, artifact or GPU, or the library refuses the model.
    """
    spec = get_backend(name)
    check_options(name, options or {})
    obstacle = first_obstacle(name, spec, stage, MACHINE, options, weights_outside(bundle.manifest, stage))
    if obstacle is not None:
        raise BackendError(f"{bundle.root}: {obstacle}")
    if options:
        module, _, attribute = spec.options_opener.partition(":")
        with_options: OptionsOpener = getattr(import_module(module), attribute)
        return with_options(bundle, stage, threads, dict(options))
    opener: StageOpener = getattr(import_module(spec.module), spec.opener)
    return opener(bundle, stage, threads)
