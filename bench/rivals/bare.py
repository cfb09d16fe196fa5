"""The network of a bundle and nothing else, in the libraries that run it: what the runtime's own steps come on top of."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gen2seg_runtime.bundle import Bundle

Run = Callable[[np.ndarray], np.ndarray]


def bare_session(bundle: Bundle, backend: str, threads: int) -> Run:
    """The graph of a bundle with one stage in ONNX Runtime or OpenVINO, float32 arithmetic, as one would open it."""
    (stage,) = bundle.manifest.chain
    graph = bundle.read(stage.path)
    return {"onnxruntime": _onnxruntime, "openvino": _openvino}[backend](graph, threads)


def _onnxruntime(graph: bytes, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def _openvino(graph: bytes, threads: int) -> Run:
    import openvino

    core = openvino.Core()
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    model = core.compile_model(core.read_model(graph), "CPU", config)
    request: Any = model.create_infer_request()

    def run(x: np.ndarray) -> np.ndarray:
        request.infer([x])
        return request.get_output_tensor(0).data

    return run
