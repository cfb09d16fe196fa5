"""What runs a stage best on the CPU at hand: each candidate is timed on one calibration input; runs in a child process.

Candidates, the closest to the graph first: for float32 and float16 graphs ONNX Runtime, then OpenVINO; for bfloat16
graphs OpenVINO with "f32" asked for, which keeps the plan's wide nodes wide, then with "bf16", which rounds them, too.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gen2seg_export.targets.child import Tell
from gen2seg_export.targets.stopwatch import psnr

RUNS = 3  # timed runs of each, after one that is not
LEAST_GAIN = 0.05  # a candidate further from the graph must be that much faster

Run = Callable[[np.ndarray], np.ndarray]


def measure_candidates(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Time the candidates one after the other, each alone in memory.

    Args:
        job: `xml` (the IR), `graph` (the ONNX file, for ONNX Runtime), `bfloat16` (whether
            the graph computes in it), `sample` (.npy, float32 (N, C, H, W)), `least_psnr` (dB, to the first candidate).
    Returns:
        `backend` and `hint` of the best one, `ms` and `psnr` (to the first candidate) by candidate, `shape`, `runs`.
    """
    sample = np.load(job["sample"], allow_pickle=False)
    ms: dict[str, float] = {}
    near: dict[str, float] = {}
    first: np.ndarray | None = None
    for name, make in _candidates(job).items():
        tell(f"timing {name}")
        run = make()
        output, times = run(sample), []
        for _ in range(RUNS):
            start = time.perf_counter()
            run(sample)
            times.append(time.perf_counter() - start)
        del run
        first = output if first is None else first
        ms[name] = round(1000 * statistics.median(times), 2)
        near[name] = round(psnr(first, output), 2)
    backend, _, hint = best_candidate(ms, near, job["least_psnr"]).partition(" ")
    return {
        "backend": backend,
        "hint": hint or "f32",
        "ms": ms,
        "psnr": near,
        "shape": list(sample.shape),
        "runs": RUNS,
    }


def best_candidate(ms: Mapping[str, float], near: Mapping[str, float], least_psnr: float) -> str:
    """The first candidate, unless a later one is faster by `LEAST_GAIN` and within `least_psnr` dB of it."""
    best = next(iter(ms))
    for name in ms:
        if near[name] >= least_psnr and ms[name] < (1 - LEAST_GAIN) * ms[best]:
            best = name
    return best


def _candidates(job: Mapping[str, Any]) -> dict[str, Callable[[], Run]]:
    import openvino

    core = openvino.Core()

    def openvino_run(hint: str) -> Callable[[], Run]:
        def make() -> Run:
            config = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": 1}
            request = core.compile_model(job["xml"], "CPU", config).create_infer_request()
            return lambda x: request.infer([x])[0].copy()

        return make

    def onnxruntime_run() -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session: Any = onnxruntime.InferenceSession(job["graph"], options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]

    if not job["bfloat16"]:
        return {"onnxruntime": onnxruntime_run, "openvino f32": openvino_run("f32")}
    hints = ["f32"]
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        hints.append("bf16")
    return {f"openvino {hint}": openvino_run(hint) for hint in hints}
