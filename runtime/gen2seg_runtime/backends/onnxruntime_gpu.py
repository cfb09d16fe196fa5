"""ONNX Runtime with an execution provider for NVIDIA GPUs that an option names; never another one in its place.

Inputs and outputs are bound once a shape (IO binding), so that a run makes no memory of its own on the host.
"""

import threading
from typing import Any

import numpy as np

from gen2seg_runtime.backends.onnxruntime import _check_names, _session_options
from gen2seg_runtime.backends.providers import Provider, provider_of
from gen2seg_runtime.backends.stage import StageSession
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.errors import BackendError
from gen2seg_runtime.manifest import StageSpec

_registered: set[str] = set()
_registering = threading.Lock()


def open_with_provider(bundle: Bundle, stage: StageSpec, threads: int, options: dict[str, Any]) -> StageSession:
    """Open a stage with the provider that the options name; "cpu" is the plain backend.

    Args:
        options: `provider`; `device_id`: of the GPU, 0 if not given; `cpu_nodes`: True lets what the provider has
            not (shape arithmetic, mostly) run on the CPU, where otherwise the graph is refused; `provider_options`:
            the provider's own.
    Raises:
        BackendError: see `OnnxRuntimeGpuStage`.
    """
    provider = provider_of(options)
    if provider is None:
        from gen2seg_runtime.backends.onnxruntime import OnnxRuntimeStage

        return OnnxRuntimeStage(bundle, stage, threads)
    return OnnxRuntimeGpuStage(bundle, stage, threads, provider, options)


class OnnxRuntimeGpuStage:
    """A graph of a bundle in an ONNX Runtime session on a GPU; bytes and weights as in `OnnxRuntimeStage`."""

    backend = "onnxruntime"

    def __init__(self, bundle: Bundle, stage: StageSpec, threads: int, provider: Provider, options: dict[str, Any]):
        """Open the session.

        Raises:
            BackendError: the provider is not there or does not take the whole graph, a device that the plugin does
                not have, or the graph is refused or not the manifest's.
        """
        import onnxruntime

        where = bundle.root / stage.path
        self._stage = stage
        self._device_id = int(options.get("device_id", 0))
        self.device = f"cuda:{self._device_id} ({provider.onnx_name})"
        # With a plugin the tensors stay on the host side of the binding: its memory is its own kind.
        self._place = "cpu" if provider.plugin else "cuda"
        session_options = _session_options(onnxruntime, threads)
        if not options.get("cpu_nodes", False):
            session_options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        self._external = bundle.external_data(stage)  # kept as long as the session
        own = {str(key): str(value) for key, value in dict(options.get("provider_options", {})).items()}
        try:
            if self._external:
                buffers = list(self._external.values())
                session_options.add_external_initializers_from_files_in_memory(
                    list(self._external), buffers, [len(data) for data in buffers]
                )
            graph = bundle.read(stage.path)
            if provider.plugin:
                _add_plugin(onnxruntime, session_options, provider, self._device_id, own)
                # The library would go on with the CPU alone, and only print that it does.
                self._session: Any = onnxruntime.InferenceSession(graph, session_options, enable_fallback=0)
            else:
                wanted = (provider.onnx_name, {"device_id": str(self._device_id), **own})
                self._session = onnxruntime.InferenceSession(
                    graph, session_options, providers=[wanted], enable_fallback=0
                )
        except BackendError:
            raise
        except Exception as error:  # its errors share no base class
            raise BackendError(f"{where}: onnxruntime with {provider.onnx_name} refuses the model: {error}") from error
        found = list(self._session.get_providers())
        if not found or found[0] != provider.onnx_name:
            raise BackendError(f"{where}: {provider.onnx_name} was asked for, onnxruntime took {', '.join(found)}")
        _check_names(self._session, stage, bundle)
        self._lock = threading.Lock()
        self._bound: tuple[tuple[int, ...], Any, Any] | None = None  # shape, binding, input on the device

    def run(self, x: np.ndarray) -> np.ndarray:
        """(N, C, H, W) float32 -> (N, C', H', W') float32; see `StageSession.run`. Calls run one after the other."""
        with self._lock:
            try:
                binding, device_input = self._binding(x)
                if device_input is not None:
                    device_input.update_inplace(x)
                self._session.run_with_iobinding(binding)
                return binding.copy_outputs_to_cpu()[0]
            except Exception as error:  # its errors share no base class
                self._bound = None
                raise BackendError(
                    f"onnxruntime failed on an input of shape {x.shape} for stage {self._stage.name!r}: {error}"
                ) from error

    def _binding(self, x: np.ndarray) -> tuple[Any, Any]:
        """The binding for inputs of this shape, and the input in GPU memory that is to be filled; None: it is bound."""
        import onnxruntime

        if self._place == "cpu":
            binding = self._session.io_binding()
            binding.bind_cpu_input(self._stage.input, np.ascontiguousarray(x))
            binding.bind_output(self._stage.output, "cpu")
            return binding, None
        if self._bound is None or self._bound[0] != x.shape:
            binding = self._session.io_binding()
            value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(x.shape, np.float32, "cuda", self._device_id)
            binding.bind_ortvalue_input(self._stage.input, value)
            binding.bind_output(self._stage.output, "cuda", self._device_id)
            self._bound = (x.shape, binding, value)
        return self._bound[1], self._bound[2]


def _add_plugin(onnxruntime: Any, options: Any, provider: Provider, device_id: int, own: dict[str, str]) -> None:
    from importlib import import_module

    plugin = import_module(provider.plugin)
    with _registering:  # a library is registered once a process
        if provider.onnx_name not in _registered:
            onnxruntime.register_execution_provider_library(provider.onnx_name, plugin.get_library_path())
            _registered.add(provider.onnx_name)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == provider.onnx_name]
    if device_id >= len(devices):
        raise BackendError(f"{provider.onnx_name}: device {device_id} was asked for, the plugin has {len(devices)}")
    options.add_provider_for_devices([devices[device_id]], own)
