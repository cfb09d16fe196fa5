"""OpenVINO IR from a stage's graph: the plan's formats kept, or quantized to int8."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from gen2seg_export.parts import digest_json, file_facts
from gen2seg_export.targets.artifact import Artifact, build_folder, graph_digest
from gen2seg_export.targets.child import run_in_child
from gen2seg_export.targets.errors import TargetError, TargetUnavailableError

BUILDER = "gen2seg_export.targets.openvino_build:build_ir"
MIN_PSNR = 35.0  # dB, of a quantized stage against its float32 self


def build(
    graph: Path,
    out_dir: Path,
    *,
    stage: str,
    shapes: Sequence[Sequence[int]],
    precision: str,
    calibration: Sequence[np.ndarray] = (),
    wide_nodes: Sequence[str] = (),
    compress: bool = False,
    min_psnr: float = MIN_PSNR,
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Artifact:
    """Write `<stage>.xml` and `<stage>.bin`.

    Args:
        graph: the ONNX file in the precision asked for; the float32 one for "int8".
        shapes: one size (N, C, H, W) is written into the IR; several, or none, leave the sizes as the graph has them.
        precision: the facts' `inference_precision` says which precision the runtime must ask for.
        calibration: inputs of the stage, for int8.
        wide_nodes: names of ONNX nodes that stay float in int8 (beside the stage's first and last products).
        compress: store float32 weights as float16 (fp32 graphs only; rounded once, computed in float32).
        min_psnr: least PSNR of an int8 stage against its float32 self on held-out calibration inputs, dB.
    Raises:
        Int8RefusedError: the quantized stage is slower here than the best float one, or below `min_psnr`.
        TargetUnavailableError: openvino (or nncf, for int8) is missing.
        TargetError: OpenVINO refuses the graph, a shape does not fit, int8 without calibration inputs.
    """
    if precision == "int8" and len(calibration) < 2:
        raise TargetError(f"int8 needs at least two calibration inputs (one is held out), got {len(calibration)}")
    try:
        import openvino
    except ImportError as error:
        raise TargetUnavailableError("the target openvino needs: pip install 'gen2seg[openvino]'") from error
    asked = {
        "precision": precision,
        "shapes": [list(shape) for shape in shapes],
        "wide_nodes": sorted(wide_nodes),
        "compress": compress,
    }
    with build_folder(out_dir) as folder, tempfile.TemporaryDirectory() as inputs:
        samples = _save_inputs(calibration if precision == "int8" else (), Path(inputs))
        job = {
            **asked,
            "graph": str(graph),
            "xml": str(folder / f"{stage}.xml"),
            "calibration": [str(path) for path in samples],
            "min_psnr": min_psnr,
            "threads": threads,
        }
        result = run_in_child(BUILDER, job, progress)
        parts = {
            **asked,
            "graph": graph_digest(graph),
            "version": openvino.__version__,
            "calibration": _digest_of(samples),
            "nncf": result.get("nncf"),
        }
        made = [folder / f"{stage}.xml", folder / f"{stage}.bin"]
        facts = {
            "target": "openvino",
            "stage": stage,
            "precision": precision,
            "key": digest_json(parts),
            "made_from": parts,
            "sha256": {path.name: file_facts(path)["sha256"] for path in made},
            **{name: result[name] for name in ("inference_precision", "figures", "seconds", "peak_memory_bytes")},
        }
        paths = tuple(path.replace(out_dir / path.name) for path in made)
    return Artifact("openvino", stage, paths, facts["key"], None, tuple(result["notes"]), facts)


def _save_inputs(arrays: Sequence[np.ndarray], folder: Path) -> list[Path]:
    paths = []
    for number, array in enumerate(arrays):
        paths.append(folder / f"{number}.npy")
        np.save(paths[-1], np.asarray(array, np.float32), allow_pickle=False)
    return paths


def _digest_of(paths: Sequence[Path]) -> str | None:
    if not paths:
        return None
    return digest_json([file_facts(path)["sha256"] for path in paths])
