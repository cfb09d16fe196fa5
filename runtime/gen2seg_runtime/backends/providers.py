"""Execution providers of ONNX Runtime for NVIDIA GPUs, which a backend option names: {"provider": "cuda"}."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gen2seg_runtime.errors import BackendError

OPTIONS = ("provider", "device_id", "cpu_nodes", "provider_options")


@dataclass(frozen=True)
class Provider:
    """One provider.

    Attributes:
        onnx_name: ONNX Runtime's name for it.
        install: how to get it.
        plugin: the module that brings it beside plain onnxruntime; "": it is built into onnxruntime-gpu.
        distributions: of the plugin, see `BackendSpec.distributions`.
        lacks: number formats that it has not.
    """

    onnx_name: str
    install: str
    plugin: str = ""
    distributions: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


_GPU_BUILD = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
PROVIDERS = {
    "cuda": Provider("CUDAExecutionProvider", _GPU_BUILD),
    "tensorrt": Provider("TensorrtExecutionProvider", f"{_GPU_BUILD} tensorrt"),
    "nv_tensorrt_rtx": Provider(
        "NvTensorRTRTXExecutionProvider",
        "pip install 'gen2seg[gpu]'",
        plugin="onnxruntime_ep_nv_tensorrt_rtx",
        distributions=("onnxruntime-ep-nv-tensorrt-rtx-cu13", "onnxruntime-ep-nv-tensorrt-rtx-cu12"),
    ),
}


def provider_of(options: Mapping[str, Any]) -> Provider | None:
    """The provider that the options of backend "onnxruntime" name; None: the CPU.

    Raises:
        BackendError: an unknown provider, or options that only a provider takes without one.
    """
    name = options.get("provider", "cpu")
    if name == "cpu":
        alone = sorted(set(options) - {"provider"})
        if alone:
            raise BackendError(f"onnxruntime: {', '.join(alone)} need an option provider, one of {_names()}")
        return None
    if name not in PROVIDERS:
        raise BackendError(f"onnxruntime: unknown provider {name!r}; this version has: cpu, {_names()}")
    return PROVIDERS[name]


def _names() -> str:
    return ", ".join(PROVIDERS)
