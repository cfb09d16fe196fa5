"""Number formats: a plan measured on calibration inputs, and the graph written by it.

    report = apply(Path("unet.onnx"), Path("unet-fp16.onnx"), "fp16", calibration)

`docs/precision.md` says which form runs where.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen2seg_export.errors import ExportError
from gen2seg_export.precision.formats import FORMATS, PRECISIONS, get_format
from gen2seg_export.precision.graph import Graph, open_graph
from gen2seg_export.precision.pairwise import pairwise_norms
from gen2seg_export.precision.plan import PrecisionPlan, WideNode, make_plan
from gen2seg_export.precision.ranges import measure_ranges
from gen2seg_export.precision.stored import write_stored_float16
from gen2seg_export.precision.typed import write_typed
from gen2seg_export.precision.writer import write_graph
from gen2seg_runtime.manifest import PrecisionSpec

__all__ = ["FORMATS", "PRECISIONS", "PrecisionPlan", "PrecisionReport", "WideNode", "apply"]

FORMS = ("typed", "stored")
# Ranges move little from picture to picture, and the probed run costs about three plain ones.
RANGE_SAMPLES = 2


@dataclass(frozen=True)
class PrecisionReport:
    """What was written for one stage.

    Attributes:
        precision: "fp32", "fp16", "bf16" or "int8".
        weights, compute: formats as the manifest names them.
        paths: the ONNX file and, where there is one, its data file.
        plan: None where nothing was measured (fp32, stored float16).
        notes: what the user should know, in full sentences.
    """

    precision: str
    weights: str
    compute: str
    paths: tuple[Path, ...]
    plan: PrecisionPlan | None = None
    notes: tuple[str, ...] = ()

    @property
    def wide_nodes(self) -> tuple[str, ...]:
        return self.plan.names() if self.plan is not None else ()

    def spec(self) -> PrecisionSpec:
        """The manifest's record of this stage."""
        plan = self.plan.to_json() if self.plan is not None else {}
        return PrecisionSpec(weights=self.weights, compute=self.compute, wide_nodes=self.wide_nodes, plan=plan)


def apply(
    stage_onnx: Path,
    out: Path,
    precision: str,
    calibration: Sequence[np.ndarray] = (),
    *,
    form: str = "typed",
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> PrecisionReport:
    """Write a stage's graph in another precision; its inputs and outputs stay float32.

    Args:
        stage_onnx: the float32 graph, with or without external data.
        out: the file to write; external data go beside it as `<name>.data`. May not be `stage_onnx`.
        precision: "fp32": copied; "fp16" and "bf16": by a measured plan; "int8": the graph for the backends
            without int8, as fp16 in the stored form: the quantized network is made by the target "openvino".
        calibration: inputs (N, C, H, W) float32 of this stage; the first `RANGE_SAMPLES` give the ranges.
        form: "typed": each node in its own format, for GPUs and for CPUs that run it; "stored": only the
            weights are float16 and the arithmetic stays float32 (fp16 only).
        threads: of ONNX Runtime while measuring.
    Raises:
        ExportError: an unknown precision or form, no calibration input, a graph that cannot be read, a
            float32 network that overflows by itself, a weight out of range.
        OutputError: a file cannot be written.
    """
    if precision not in PRECISIONS:
        raise ExportError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if form not in FORMS or (form == "stored" and precision == "bf16"):
        raise ExportError(f"form must be 'typed', or 'stored' for fp16 and int8; got {form!r} for {precision}")
    if out.absolute() == stage_onnx.absolute():
        raise ExportError(f"{out}: the converted graph would replace the float32 graph it is read from")
    graph = open_graph(stage_onnx)
    if precision == "fp32":
        paths = write_graph(graph, out, graph.nodes, lambda _tensor, _load: None, str, opset=0)
        return PrecisionReport(precision, "float32", "float32", paths)
    if precision == "int8" or form == "stored":
        pairwise_norms(graph.model)  # ONNX Runtime runs this form
        note = "weights are stored as float16, the ONNX graph computes in float32"
        return PrecisionReport(precision, "float16", "float32", write_stored_float16(graph, out), notes=(note,))
    return _apply_plan(graph, out, precision, calibration[:RANGE_SAMPLES], threads, progress)


def _apply_plan(
    graph: Graph,
    out: Path,
    precision: str,
    samples: Sequence[np.ndarray],
    threads: int | None,
    progress: Callable[[str], None] | None,
) -> PrecisionReport:
    narrow = get_format(precision)
    ranges = measure_ranges(graph, samples, narrow, threads=threads, progress=progress)
    plan = make_plan(graph, ranges, narrow)
    paths = write_typed(graph, plan, out)
    notes = [f"{len(plan.wide)} of {len(ranges)} nodes stay float32"]
    if precision == "bf16":
        notes.append("ONNX Runtime has no bfloat16 arithmetic on CPUs: OpenVINO or TensorRT runs this graph")
    return PrecisionReport(precision, narrow.name, narrow.name, paths, plan, tuple(notes))
