"""One way to get from a picture to colours, measured in a process of its own.

    python -m bench.export_way '{"way": "ours", "bundle": "build/sd2-bf16", ...}'

One line of JSON on stdout: seconds of the first call and of the later ones, peak memory while running, bytes of the
weights or files; the colours go to the file that the job names.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import reset_peak, resident_peak

SIZE = (480, 640)  # of the picture
RUNS, SECONDS = 7, 30.0  # runs after the first one: up to so many, in about so long, one at least


def measure_way(job: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Run the job in a fresh process.

    Raises:
        RuntimeError: it failed, with the end of what it said.
    """
    command = [sys.executable, "-m", "bench.export_way", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{job['way']}: {done.stderr.strip()[-1500:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _measure(job: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="gen2seg-bench-") as folder:
        call, size = (_ours if job["way"] == "ours" else _library)(job, Path(folder))
        reset_peak()
        start = time.perf_counter()
        colors = call(_picture())
        first = time.perf_counter() - start
        seconds: list[float] = []
        while not seconds or (len(seconds) < RUNS and sum(seconds) < SECONDS):
            start = time.perf_counter()
            call(_picture())
            seconds.append(time.perf_counter() - start)
        np.save(job["colors"], colors)
    return {
        "first": first,
        "median": statistics.median(seconds),
        "least": min(seconds),
        "most": max(seconds),
        "runs": len(seconds),
        "peak_bytes": resident_peak(),
        "bytes": size,
    }


def _picture() -> np.ndarray:
    from gen2seg.data.scenes import render_scene

    rgb, _ = render_scene(11, 640)
    return np.ascontiguousarray(rgb[: SIZE[0]])


def _ours(job: dict[str, Any], _folder: Path) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    from gen2seg_runtime import Segmenter

    segmenter = Segmenter.open(job["bundle"], backend=job.get("backend", "auto"))
    files = segmenter.manifest.files
    used = [f for f in files if f.path.startswith("openvino/")] if segmenter.backend_name == "openvino" else []
    models = used or [f for f in files if f.role in ("model", "model_data")]
    return lambda picture: segmenter.encode(picture).colors, sum(f.bytes for f in models)


def _library(job: dict[str, Any], folder: Path) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    import torch

    from bench.rivals.export import library_net, plain_onnx, torch_way
    from gen2seg_export.reference import reference_colors, reference_input
    from gen2seg_runtime.bundle import Bundle

    manifest = Bundle.open(job["bundle"]).manifest
    net = library_net(job["backbone"], job.get("architecture"), job.get("vae"))
    if job["way"] == "plain ONNX":
        run = plain_onnx(net, reference_input(_picture(), manifest.input)[0], folder)
        size = sum(path.stat().st_size for path in folder.iterdir())
        del net
    else:
        run = torch_way(net, "bf16" in job["way"], "compile" in job["way"])
        size = sum(p.numel() * p.element_size() for p in net.parameters())

    def call(picture: np.ndarray) -> np.ndarray:
        x, content = reference_input(picture, manifest.input)
        with torch.inference_mode():
            return reference_colors(run(x), content, manifest.output)

    return call, size


if __name__ == "__main__":
    print(json.dumps(_measure(json.loads(sys.argv[1]))))
