"""The float32 graph of each stage against the reference, before any narrower form is made of it.

A bundle in a narrow format may hide a fault of the graph behind its own rounding. Here nothing is rounded, and the
limits for float32 hold.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gen2seg_export.cases import Case, References
from gen2seg_export.errors import ExportError
from gen2seg_export.parts import Parts, file_facts
from gen2seg_export.stages import StagePlan
from gen2seg_export.tolerances import TOLERANCES
from gen2seg_runtime.difference import difference


def check_float32_graph(
    parts: Parts, plan: StagePlan, graph: Path, case: Case, references: References, threads: int | None
) -> tuple[dict[str, Any], list[str]]:
    """Run one stage's float32 graph on what the reference gives it.

    Returns:
        (the figures; what is out of the float32 tolerance, in words).
    """

    def make(_root: Path) -> Mapping[str, Any]:
        expected = references.stages(case)
        [x] = references.inputs([case], plan.name, list(expected))
        wanted = expected[plan.name]
        found = difference(_run(graph, x, threads), wanted)
        row = TOLERANCES["float32"]
        failures = row.stage_failures(f"float32 graph of stage {plan.name}", found, float(np.ptp(wanted)))
        return {"figures": {key: float(f"{value:.6g}") for key, value in asdict(found).items()}, "failures": failures}

    # With everything that the graph is made from, its weights beside it among that, and the code that judges.
    key = {**plan.graph_key, "graph": file_facts(graph)["sha256"], "case": references.digest(case)}
    _, facts, _ = parts.part(f"{plan.name}.float32.check", key, make)
    return facts["figures"], facts["failures"]


def _run(graph: Path, x: np.ndarray, threads: int | None) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    try:
        session: Any = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: x})[0]
    except Exception as error:  # its errors share no base class
        raise ExportError(f"onnxruntime refuses {graph.name}: {error}") from error
