"""The network of a bundle and nothing else, in the libraries that run it: what the runtime adds its steps to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gen2seg_runtime.bundle import Bundle

Run = Callable[[np.ndarray], np.ndarray]


def bare_session(bundle: Bundle, backend: str, threads: int) -> Run:
    """The graph of a bundle with one stage in ONNX Runtime or OpenVINO, float32 arithmetic, as one would open it."""
    (stage,) = bundle.manifest.chain
    return {"onnxruntime": _onnxruntime, "openvino": _openvino}[backend](bundle.root / stage.path, threads)


def _onnxruntime(graph: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session: Any = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def _openvino(graph: Path, threads: int) -> Run:
    import openvino

    core = openvino.Core()
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    model = core.compile_model(core.read_model(str(graph)), "CPU", config)
    request: Any = model.create_infer_request()

    def run(x: np.ndarray) -> np.ndarray:
        request.infer([x])
        return request.get_output_tensor(0).data

    return run
