"""ONNX Runtime on the CPU."""

from typing import Any

import numpy as np

from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.errors import BackendError

_ERRORS_ONLY = 3


class OnnxRuntimeBackend:
    """The graph of a bundle in an ONNX Runtime session on the CPU.

    The session is made from the very bytes that were digested. External weights (files with role
    "model_data") are handed over from memory too; a graph that refers to any other file is refused.
    """

    name = "onnxruntime"
    device = "cpu"

    def __init__(self, bundle: Bundle, threads: int):
        """Open the session.

        Raises:
            BackendError: onnxruntime is missing or refuses the graph, or the graph's input and output
                are not those of the manifest.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendError("the onnxruntime backend needs: pip install onnxruntime") from error
        options = _session_options(onnxruntime, threads)
        external = bundle.external_data()
        try:
            if external:
                options.add_external_initializers_from_files_in_memory(
                    list(external), list(external.values()), [len(data) for data in external.values()]
                )
            self._session: Any = onnxruntime.InferenceSession(
                bundle.model_bytes, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no base class
            raise BackendError(f"{bundle.root}: onnxruntime refuses the model: {error}") from error
        self._input = bundle.manifest.input.name
        self._output = bundle.manifest.output.name
        _check_names(self._session, self._input, self._output, bundle)

    def run(self, x: np.ndarray) -> np.ndarray:
        """(N, 3, H, W) float32 -> (N, 3, H, W) float32; see `Backend.run`."""
        try:
            return self._session.run([self._output], {self._input: x})[0]
        except Exception as error:  # its errors share no base class
            raise BackendError(f"onnxruntime failed on an input of shape {x.shape}: {error}") from error


def _session_options(onnxruntime: Any, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    # Every picture has its own size: patterns remembered for one would only hold memory for the next.
    options.enable_mem_pattern = False
    return options


def _check_names(session: Any, input_name: str, output_name: str, bundle: Bundle) -> None:
    inputs = {item.name: item.type for item in session.get_inputs()}
    outputs = {item.name: item.type for item in session.get_outputs()}
    if inputs != {input_name: "tensor(float)"} or outputs.get(output_name) != "tensor(float)":
        raise BackendError(
            f"{bundle.root}: the manifest promises a float32 input {input_name!r} and output "
            f"{output_name!r}, the graph has inputs {inputs} and outputs {outputs}"
        )
