"""A quantized network beside its float self: time and difference, on this machine, alternating."""

import statistics
import time
from typing import Any

import numpy as np
import openvino

RUNS = 3  # timed runs of each; a stage of SD2 takes seconds a run


def compare(
    core: openvino.Core,
    model: openvino.Model,
    quantized: openvino.Model,
    sample: np.ndarray,
    threads: int | None,
) -> dict[str, Any]:
    """Run both on one input.

    Returns:
        `float_ms`, `float_precision` (the faster of f32 and, where the processor has it, bf16), `int8_ms`,
        `int8_precision` (of what is not quantized), `psnr` (dB, peak = range of the float32 output),
        `finite`.
    """
    hints = ["f32"]
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        hints.append("bf16")
    expected, float_times = None, {}
    for hint in hints:
        output, float_times[hint] = _run(core, model, hint, sample, threads)
        expected = output if hint == "f32" else expected
    assert expected is not None
    candidates = {hint: _run(core, quantized, hint, sample, threads) for hint in hints}
    best = min(candidates, key=lambda hint: candidates[hint][1])
    best_float = min(float_times, key=lambda hint: float_times[hint])
    return {
        "float_ms": round(1000 * float_times[best_float], 2),
        "float_precision": best_float,
        "int8_ms": round(1000 * candidates[best][1], 2),
        "int8_precision": best,
        "psnr": round(psnr(expected, candidates[best][0]), 2),
        "finite": bool(np.isfinite(candidates[best][0]).all()),
    }


def psnr(expected: np.ndarray, found: np.ndarray) -> float:
    """20 log10 of the range of `expected` over the root mean square difference, in dB; at most 200."""
    span = float(expected.max()) - float(expected.min())
    noise = float(np.sqrt(np.mean((expected.astype(np.float64) - found) ** 2)))
    if not np.isfinite(noise) or span == 0:
        return float("-inf") if noise else 200.0
    return min(200.0, 20 * float(np.log10(span / noise))) if noise else 200.0


def _run(
    core: openvino.Core, model: openvino.Model, hint: str, sample: np.ndarray, threads: int | None
) -> tuple[np.ndarray, float]:
    """Output and median seconds."""
    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": 1}
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = threads
    request = core.compile_model(model, "CPU", config).create_infer_request()
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        request.infer([sample])
        times.append(time.perf_counter() - start)
    return request.get_output_tensor(0).data.copy(), statistics.median(times[1:])
