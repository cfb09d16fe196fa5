"""What a stage's graph becomes for one kind of machine: OpenVINO IR, TensorRT-RTX and TensorRT engines.

    artifact = build("tensorrt-rtx", Path("unet.onnx"), root / "engines", stage="unet",
                     shapes=[(1, 4, 60, 80)], precision="fp16")

Importing this package loads none of the libraries; each builder runs in a process of its own.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from gen2seg_export.precision.formats import PRECISIONS
from gen2seg_export.targets.artifact import Artifact
from gen2seg_export.targets.errors import EngineCheckError, Int8RefusedError, TargetError, TargetUnavailableError

__all__ = [
    "TARGETS",
    "Artifact",
    "EngineCheckError",
    "Int8RefusedError",
    "TargetError",
    "TargetUnavailableError",
    "build",
]

# name on the command line -> module with `build`; the target "onnx" is the graph itself and needs no builder
TARGETS = {
    "openvino": "gen2seg_export.targets.openvino",
    "tensorrt-rtx": "gen2seg_export.targets.tensorrt_rtx",
    "tensorrt": "gen2seg_export.targets.tensorrt",
}


def build(
    name: str,
    stage_onnx: Path,
    out_dir: Path,
    *,
    stage: str,
    shapes: Sequence[Sequence[int]],
    precision: str,
    calibration: Sequence[np.ndarray] = (),
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> Artifact:
    """Build one target from one stage's graph; nothing is left in `out_dir` if it fails.

    Args:
        name: a key of `TARGETS`.
        stage_onnx: the graph in its final precision (`gen2seg_export.precision.apply`, form "typed"); for
            precision "int8" the float32 graph.
        out_dir: where the files go; made if missing, its parent must exist.
        stage: names the files.
        shapes: input sizes (N, C, H, W) to build for.
        precision: "fp32", "fp16", "bf16" or "int8".
        calibration: inputs of the stage, for int8.
        progress: called with one line at a time.
        options: of the target's own `build`: `turing`, `sms`, `level`; `wide_nodes`, `min_psnr`, `compress`, `threads`.
    Raises:
        TargetError: an unknown name, precision or shape; the library refuses the graph.
        TargetUnavailableError: the library cannot be loaded here.
        EngineCheckError: an engine is wider than its graph.
        Int8RefusedError: int8 is slower here, or too far from float32.
    """
    if name not in TARGETS:
        raise TargetError(f"unknown target {name!r}; known: onnx, {', '.join(TARGETS)}")
    if precision not in PRECISIONS:
        raise TargetError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if name == "openvino":
        options["calibration"] = calibration
    builder = import_module(TARGETS[name]).build
    return builder(stage_onnx, out_dir, stage=stage, shapes=shapes, precision=precision, progress=progress, **options)
