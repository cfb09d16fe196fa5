"""The negative control: a bundle with one wrong weight must not pass the gate that the right one passed."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from gen2seg_export.bundle_writer import write_manifest
from gen2seg_export.cases import Case, References
from gen2seg_export.external_data import external_files
from gen2seg_export.ir_weights import ir_weights, perturb_ir_weight
from gen2seg_export.onnx_graph import large_weights, perturb_weight, save_graph
from gen2seg_export.parts import link_or_copy
from gen2seg_export.tolerances import TOLERANCES, stage_tolerance_name
from gen2seg_runtime.backends import open_backend
from gen2seg_runtime.backends.registry import DEFAULT_BACKEND
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.difference import stage_difference
from gen2seg_runtime.errors import NetworkOutputError
from gen2seg_runtime.manifest import Manifest, StageSpec

# In standard deviations of the tensor's own values. Large for a weight, small for a gate: a transposed or
# misplaced tensor, the mistake exporters make, is off by about the root of 2.
STRENGTH = 0.5
# For int8 with random weights, which is judged against an eighth of the range of its output: the output varies by a
# third of that, so that noise of half the weights' deviation stays below the limit. The gate still sees that mistake.
COARSE_STRENGTH = math.sqrt(2)


@dataclass(frozen=True)
class ControlReport:
    """Which weights ("stage: tensor") were perturbed one at a time, and which of these faults the gate did not see.

    `strengths`: of the noise on each, in standard deviations of the weight.
    """

    perturbed: tuple[str, ...]
    unseen: tuple[str, ...]
    strengths: tuple[float, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """In words; empty where every planted fault was seen."""
        if not self.perturbed:
            return ("negative control: the graph has no weight to perturb",)
        return tuple(f"negative control: noise on {name} went unseen" for name in self.unseen)

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "what": "one weight tensor perturbed by so many of its standard deviations must fail the gate",
            "perturbed": list(self.perturbed),
            "strengths": [round(strength, 3) for strength in self.strengths],
            "unseen": list(self.unseen),
        }


def negative_control(
    root: Path,
    manifest: Manifest,
    work: Path,
    case: Case,
    references: References,
    threads: int | None = None,
) -> ControlReport:
    """Perturb the first large weight of the first stage and the last one of the last, each in a bundle of its own.

    What is perturbed is what "auto" runs here: the IR's weights where the stage prefers OpenVINO and has IR, else the
    graph's. Not a weight in between: a network may make so little use of a deep layer that noise on it changes less
    than the order of sums does, and that is no fault of the gate. Only the stage with the fault is run, on what the
    PyTorch network gives it. A bundle for it shares every file with the right one but the one with the fault: the
    graph, into which the perturbed tensor goes, or a copy of the IR's weights.

    Args:
        root: the right bundle.
        manifest: its manifest, with the file records.
        work: a folder on the same file system for the wrong ones.
        case: the input.
    """
    ends = ((manifest.chain[0], 0), (manifest.chain[-1], -1))
    trained = manifest.weights.state == "trained"
    perturbed, unseen, strengths = [], [], []
    for stage, place in ends:
        strength = control_strength(stage, trained)
        plant = _plant_in_ir if stage.backend == "openvino" and "openvino" in stage.artifacts else _plant_in_graph
        wrong = work / "control"
        shutil.rmtree(wrong, ignore_errors=True)
        try:
            wrong.mkdir()
            name, lone = plant(root, wrong, stage, place, strength)
            label = f"{stage.name}: {name}"
            if not name or label in perturbed:
                continue
            perturbed.append(label)
            strengths.append(strength)
            _write_manifest(wrong, manifest, lone)
            if _passes(wrong, stage, case, references, threads, trained):
                unseen.append(label)
        finally:
            shutil.rmtree(wrong, ignore_errors=True)
    return ControlReport(tuple(perturbed), tuple(unseen), tuple(strengths))


def _plant_in_graph(root: Path, wrong: Path, stage: StageSpec, place: int, strength: float) -> tuple[str, StageSpec]:
    """The stage's graph with one weight perturbed: (its name, "" if there is none; the stage alone)."""
    model = onnx.load(root / stage.path, load_external_data=False)
    names = large_weights(model)
    lone = replace(stage, artifacts={}, facts={}, backend=None)
    if not names:
        return "", lone
    outside = external_files(model)
    perturb_weight(model, names[place], strength, root)
    for name in outside:
        link_or_copy(root / name, wrong / name)
    save_graph(model, wrong / stage.path)
    return names[place], lone


def _plant_in_ir(root: Path, wrong: Path, stage: StageSpec, place: int, strength: float) -> tuple[str, StageSpec]:
    """As `_plant_in_graph`, in the IR; the graph itself stays as it is."""
    xml, binary = (next(p for p in stage.artifacts["openvino"] if p.endswith(end)) for end in (".xml", ".bin"))
    weights = ir_weights(root / xml)
    kept = {"openvino": stage.facts.get("openvino", {})}
    lone = replace(stage, artifacts={"openvino": (xml, binary)}, facts=kept)
    if not weights:
        return "", lone
    beside = external_files(onnx.load(root / stage.path, load_external_data=False))
    for name in (stage.path, xml, *beside):
        link_or_copy(root / name, wrong / name)
    shutil.copyfile(root / binary, wrong / binary)
    perturb_ir_weight(wrong / binary, weights[place], strength)
    return f"{weights[place].name} ({weights[place].element})", lone


def _write_manifest(wrong: Path, manifest: Manifest, stage: StageSpec) -> None:
    """The manifest of a bundle of the one stage."""
    changed = replace(
        manifest,
        model=replace(manifest.model, path=stage.path),
        input=replace(manifest.input, name=stage.input),
        output=replace(manifest.output, name=stage.output),
        stages=(stage,),
        goldens=(),
        verification={},
    )
    write_manifest(wrong, changed, [])


def _passes(
    wrong: Path, stage: StageSpec, case: Case, references: References, threads: int | None, trained: bool
) -> bool:
    chain = open_backend(Bundle.open(wrong), "auto", threads)
    expected = references.stages(case)
    names = list(expected)
    [x] = references.inputs([case], stage.name, names)
    try:
        got = chain.run(x)
    except NetworkOutputError:
        return False
    wanted = expected[stage.name]
    row = TOLERANCES[_judged_as(stage)]
    found = stage_difference(got, wanted, trained)
    return not row.stage_failures(stage.name, found, float(np.ptp(wanted)))


def control_strength(stage: StageSpec, trained: bool) -> float:
    """How much noise the gate has to see on a weight of the stage, in standard deviations of the weight."""
    return COARSE_STRENGTH if not trained and _judged_as(stage) == "int8" else STRENGTH


def _judged_as(stage: StageSpec) -> str:
    """The row of `TOLERANCES` for the stage in what "auto" runs here."""
    return stage_tolerance_name(stage, stage.backend or DEFAULT_BACKEND)


def control_case(cases: Sequence[Case]) -> Case:
    """The input for the control: the smallest picture."""
    return min((case for case in cases if case.image is not None), key=lambda case: case.x.size)
