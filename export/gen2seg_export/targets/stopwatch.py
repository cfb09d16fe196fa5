"""A quantized network beside its float self: time and difference, on this machine, alternating."""

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino

RUNS = 3  # timed runs of each; a stage of SD2 takes seconds a run


def compare(
    core: openvino.Core,
    model: openvino.Model,
    quantized: openvino.Model,
    samples: Sequence[np.ndarray],
    threads: int | None,
) -> dict[str, Any]:
    """Run both: for the time on the first input, for the difference on all.

    Returns:
        `float_ms`, `float_precision` (the faster of f32 and, where the processor has it, bf16), `int8_ms`,
        `int8_precision` (of what is not quantized), `psnr` (dB, peak = range of the float32 output; of the input
        where it is least), `finite`.
    """
    hints = ["f32"]
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        hints.append("bf16")
    expected, float_times = [], {}
    for hint in hints:
        outputs, float_times[hint] = _run(core, model, hint, samples if hint == "f32" else samples[:1], threads)
        expected = outputs if hint == "f32" else expected
    candidates = {hint: _run(core, quantized, hint, samples, threads) for hint in hints}
    best = min(candidates, key=lambda hint: candidates[hint][1])
    best_float = min(float_times, key=lambda hint: float_times[hint])
    found = candidates[best][0]
    return {
        "float_ms": round(1000 * float_times[best_float], 2),
        "float_precision": best_float,
        "int8_ms": round(1000 * candidates[best][1], 2),
        "int8_precision": best,
        "psnr": round(worst_psnr(expected, found), 2),
        "finite": all(bool(np.isfinite(output).all()) for output in found),
    }


def outputs(
    core: openvino.Core, model: openvino.Model, hint: str, samples: Sequence[np.ndarray], threads: int | None
) -> list[np.ndarray]:
    """What a network gives for each input, with that precision asked for."""
    return _run(core, model, hint, samples, threads, runs=0)[0]


def worst_psnr(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    """The least `psnr` of several outputs, dB."""
    return min(psnr(*pair) for pair in zip(expected, found, strict=True))


def psnr(expected: np.ndarray, found: np.ndarray) -> float:
    """20 log10 of the range of `expected` over the root mean square difference, in dB; at most 200."""
    span = float(expected.max()) - float(expected.min())
    noise = float(np.sqrt(np.mean((expected.astype(np.float64) - found) ** 2)))
    if not np.isfinite(noise) or span == 0:
        return float("-inf") if noise else 200.0
    return min(200.0, 20 * float(np.log10(span / noise))) if noise else 200.0


def _run(
    core: openvino.Core,
    model: openvino.Model,
    hint: str,
    samples: Sequence[np.ndarray],
    threads: int | None,
    runs: int = RUNS,
) -> tuple[list[np.ndarray], float]:
    """The outputs, and the median seconds of the first."""
    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": 1}
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = threads
    request = core.compile_model(model, "CPU", config).create_infer_request()
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        request.infer([samples[0]])
        times.append(time.perf_counter() - start)
    found = [request.get_output_tensor(0).data.copy()]
    for sample in samples[1:]:
        request.infer([sample])
        found.append(request.get_output_tensor(0).data.copy())
    return found, statistics.median(times[1:] or times)
