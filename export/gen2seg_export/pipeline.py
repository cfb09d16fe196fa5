"""Checkpoint in, verified bundle out."""

import gc
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gen2seg_export.bundle_writer import bundle_bytes, cost_json, draft_manifest, package_versions, write_manifest
from gen2seg_export.cases import Case, References, calibration_cases, picture_folder, plan_cases
from gen2seg_export.control import ControlReport, control_case, negative_control
from gen2seg_export.errors import EngineMissingError, ExportError, ParityError
from gen2seg_export.goldens import limited_goldens, write_goldens
from gen2seg_export.graph_check import check_float32_graph
from gen2seg_export.kernels import add_kernels
from gen2seg_export.model import ExportModel, Stage
from gen2seg_export.parity import ParityReport, verify_bundle
from gen2seg_export.parts import BUNDLE, Parts, digest_json
from gen2seg_export.registry import check_choices, get_family, load_part, open_model
from gen2seg_export.resources import measure_resources
from gen2seg_export.sizes import settle_input
from gen2seg_export.stages import (
    StageFiles,
    StagePlan,
    code_digest,
    finish_stage,
    is_typed,
    link_files,
    plan_stage,
    write_stage_graph,
)
from gen2seg_runtime.backends import usable_backends
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.files import check_output_directory, publish_directory
from gen2seg_runtime.manifest import GoldenRecord, Manifest

Progress = Callable[[str, str], None]  # (step, detail)
INT8_FALLBACK = "bf16"


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how it was judged.

    Attributes:
        parity: of the backends that "auto" takes.
        others: of each other backend that can run the bundle here.
        notes: what the user should be told.
    """

    path: Path
    bytes: int
    manifest: Manifest
    parity: ParityReport
    others: tuple[ParityReport, ...]
    control: ControlReport
    forced: bool
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        manifest = self.manifest
        return {
            "path": str(self.path),
            "bytes": self.bytes,
            "model_bytes": sum(f.bytes for f in manifest.files if f.role in ("model", "model_data")),
            "name": manifest.name,
            "backbone": manifest.backbone,
            "state": manifest.weights.state,
            "parameters": manifest.weights.parameters,
            "precision": {"weights": manifest.precision.weights, "compute": manifest.precision.compute},
            "stages": [stage.name for stage in manifest.stages],
            "forced": self.forced,
            "notes": list(self.notes),
            "verification": dict(manifest.verification),
            "resources": dict(manifest.resources),
        }


@dataclass(frozen=True)
class _Job:
    """What the steps share."""

    parts: Parts
    tell: Progress
    threads: int | None
    max_bytes: int | None


def export_bundle(
    output: str | os.PathLike[str],
    *,
    backbone: str = "tiny",
    checkpoint: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    random_weights: bool = False,
    architecture: Mapping[str, Any] | None = None,
    allow_pickle: bool = False,
    vae: str | None = None,
    text_embedding: str | os.PathLike[str] | None = None,
    precision: str = "fp32",
    targets: Sequence[str] = ("onnx",),
    target_options: Mapping[str, Mapping[str, Any]] | None = None,
    sizes: Sequence[tuple[int, int]] = (),
    dynamic: bool = False,
    settings: Mapping[str, float] | None = None,
    name: str | None = None,
    images: str | os.PathLike[str] | None = None,
    max_images: int | None = None,
    max_bytes: int | None = None,
    force: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Export a network, verify the result through the runtime, and only then let it appear at `output`.

    Finished parts lie in `OUTPUT.parts` until then; a run that was broken off is continued from there.

    Args:
        output: the bundle's folder; its parent must exist.
        backbone: which network, a key of `registry.FAMILIES`.
        checkpoint: a folder or a hub id; None takes the backbone's published weights where there are some.
        base: sd2: a folder or hub id that gives the parts which the checkpoint lacks.
        random_weights: seeded random weights; the bundle then says "untrained".
        architecture: settings of the network for random weights (a checkpoint brings its own).
        allow_pickle: read pickled weights where there are no safetensors.
        vae: the VAE variant, for backbones that have one: "full", "taesd" or a folder.
        text_embedding: sd2: a safetensors file with the empty prompt's embedding, in place of a text encoder.
        precision: "fp32", "fp16", "bf16" or "int8".
        targets: what is made beside the ONNX graphs: "openvino", "tensorrt", "tensorrt-rtx".
        target_options: target -> further options of its builder.
        sizes: (height, width) buckets that pictures are fitted into; empty leaves the backbone's own.
        dynamic: any size in place of buckets.
        settings: values for `BundleDefaults` (size, enlarge_below, distance, ...), for backbones that take them.
        name: of the bundle; None takes the backbone's.
        images: folder of real pictures to verify on as well; None takes GEN2SEG_DATA where that is a folder.
        max_images: how many pictures are run; None: as the network's cost suggests.
        max_bytes: the largest size of all files together; None sets no limit.
        force: write the bundle even where it fails the gate, and record that in its manifest.
        overwrite: replace a folder that exists.
        threads: for the runtime while verifying; None leaves the choice to it.
        progress: called with (step, detail) as the work goes on.
    Returns:
        What was written and how it was judged.
    Raises:
        UnsupportedBackboneError, NotAvailableError: there is no exporter for it, or this build lacks a part.
        CheckpointError: the checkpoint is missing or is not what the backbone needs.
        BundleDefaultsError: a value of `settings`, or of the checkpoint's defaults, is unknown or out of range.
        ExportError: contradicting arguments, a network that cannot be exported, a bundle above `max_bytes`.
        ParityError: the bundle or the negative control fails the gate and `force` is off; no bundle then.
        OutputExistsError, OutputError: `output` exists, or cannot be written.
        EngineMissingError: an engine for the target "tensorrt" cannot be built here. The bundle is written all the
            same, verified, with the command for the device in `engines/STAGE.trtexec.sh`.
    """
    tell = progress or (lambda _step, _detail: None)
    family = get_family(backbone)
    chosen = check_choices(precision, targets)
    target = check_output_directory(output, overwrite)
    tell("load", "random weights" if random_weights else str(checkpoint or "published weights"))
    model = open_model(
        backbone,
        checkpoint=checkpoint,
        base=base,
        random_weights=random_weights,
        architecture=architecture,
        allow_pickle=allow_pickle,
        vae=vae,
        text_embedding=text_embedding,
        # None leaves the backbone its usual buckets; an empty tuple means any size.
        sizes=tuple(sizes) if sizes or dynamic else None,
        settings=settings or None,
    )
    model = replace(model, input=settle_input(model.input, sizes, dynamic))
    cases = plan_cases(model.input, model.after, picture_folder(images), max_images)
    job = _Job(Parts(target), tell, threads, max_bytes)
    with job.parts.hold():
        plans, references, calibration = _refer(job, model, cases, precision, chosen, target_options or {})
        # From here on nobody else may hold the networks: the largest one has gigabytes.
        networks, model = list(model.stages), replace(model, stages=(), reference=_gone)
        graphs = _write_graphs(job, plans, networks)
        stages, checks, problems = _finish_stages(job, plans, graphs, cases, calibration, references)
        root = _assemble(job, stages, chosen)
        notes = [*model.warnings, *(note for stage in stages for note in stage.notes)]
        manifest = draft_manifest(model, [stage.spec for stage in stages], name=name or family.bundle_name)
        goldens = write_goldens(root, cases, references)
        manifest = write_manifest(root, manifest, goldens)
        _check_size(root, max_bytes)
        reports = _verify(job, root, cases, references)
        tell("control", "perturbed weights must fail")
        control = negative_control(root, manifest, job.parts.root, control_case(cases), references, threads)
        problems += [failure for report in reports for failure in report.failures]
        problems += control.failures
        forced = _gate(problems, reports[0], control, force)
        tell("measure", "latency and memory")
        manifest = replace(
            manifest,
            verification={
                **reports[0].to_json(),
                "passed": not problems,
                "failures": problems,
                "others": [report.to_json() for report in reports[1:]],
                "float32_graphs": checks,
                "negative_control": control.to_json(),
                "forced": forced,
            },
            resources={**measure_resources(root, threads), "cost": cost_json(model)},
        )
        trained = manifest.weights.state == "trained"
        manifest = _finish(root, manifest, limited_goldens(goldens, reports, trained))
        size = _check_size(root, max_bytes)
        tell("publish", str(output))
        publish_directory(root, target, overwrite)
        job.parts.remove()
    report = ExportReport(Path(output), size, manifest, reports[0], tuple(reports[1:]), control, forced, tuple(notes))
    missing = [reason for stage in stages for reason in stage.missing]
    if missing:
        raise EngineMissingError(
            f"{output} is written and verified, but without {len(missing)} of the engines asked for: "
            f"{'; '.join(missing)} (also in {output}/engines/*.trtexec.sh)",
            report,
        )
    return report


def _refer(
    job: _Job,
    model: ExportModel,
    cases: Sequence[Case],
    precision: str,
    targets: tuple[str, ...],
    target_options: Mapping[str, Mapping[str, Any]],
) -> tuple[list[StagePlan], References, list[Case]]:
    """A plan for each stage, and the references for all cases and for calibration, while the networks are there.

    Returns:
        (plans, references, the cases to calibrate on: none where nothing is measured).
    """
    last = len(model.stages) - 1
    plans = []
    for index, stage in enumerate(model.stages):
        job.tell("digest", stage.name)
        plan = plan_stage(stage, index == 0, index == last, model.input, precision, targets)
        plans.append(replace(plan, target_options=target_options))
    made_by = [package_versions(), code_digest()]
    key = digest_json([model.backbone, model.weights.sha256, [plan.digest for plan in plans], made_by])
    references = References(job.parts.root / "references", key, model.output)
    measured = precision == "int8" or is_typed(precision, targets) or "openvino" in targets
    calibration = calibration_cases(model.input, model.after, precision) if measured else []
    references.compute([*cases, *calibration], model.reference, lambda case: job.tell("reference", case))
    name = digest_json([references.digest(case) for case in calibration])
    return [replace(plan, calibration=name) for plan in plans], references, calibration


def _write_graphs(job: _Job, plans: Sequence[StagePlan], networks: list[Stage]) -> list[Path]:
    """The float32 graph of each stage; `networks` is emptied: each one goes as soon as its graph is there."""
    graphs = []
    for plan in plans:
        gc.collect()
        stage = networks.pop(0)
        job.tell("graph", f"{plan.name}, opset {plan.spec.opset}")
        graph, reused = write_stage_graph(job.parts, plan, stage.module)
        if reused:
            job.tell("graph", f"{plan.name}, taken from an earlier run")
        graphs.append(graph)
        del stage
    gc.collect()
    return graphs


def _gone(_picture: Any) -> Mapping[str, Any]:
    raise RuntimeError("the reference networks have been let go")


def _finish_stages(
    job: _Job,
    plans: Sequence[StagePlan],
    graphs: Sequence[Path],
    cases: Sequence[Case],
    calibration: Sequence[Case],
    references: References,
) -> tuple[list[StageFiles], dict[str, Any], list[str]]:
    """Each stage in its precision and with its artifacts; figures and failures of the float32 graphs.

    Raises:
        Int8RefusedError: int8 was asked for and no stage gains from it.
    """
    names = [plan.name for plan in plans]
    stages, checks, problems = [], {}, []
    refused: list[ExportError] = []
    for plan, graph in zip(plans, graphs, strict=True):
        if plan.precision != "fp32":
            job.tell("check", f"float32 graph of {plan.name}")
            check = check_float32_graph(job.parts, plan, graph, control_case(cases), references, job.threads)
            checks[plan.name] = check[0]
            problems += check[1]
        job.tell("convert", f"{plan.name} to {plan.precision}, {', '.join(plan.targets)}")
        inputs = lambda stage=plan.name: references.inputs(calibration, stage, names)  # noqa: E731
        detail = lambda line, stage=plan.name: job.tell("convert", f"{stage}: {line}")  # noqa: E731
        try:
            stages.append(finish_stage(job.parts, plan, graph, inputs, detail))
        except _int8_refused() as error:
            # Chosen stage by stage: what gains nothing from int8 computes in the next best format.
            refused.append(error)
            stage = finish_stage(job.parts, replace(plan, precision=INT8_FALLBACK), graph, inputs, detail)
            note = f"{plan.name}: {INT8_FALLBACK} in place of int8: {error}"
            stages.append(replace(stage, notes=(note, *stage.notes)))
    if len(refused) == len(plans):
        raise refused[0]
    return stages, checks, problems


def _int8_refused() -> type[ExportError]:
    return load_part("gen2seg_export.targets").Int8RefusedError


def _assemble(job: _Job, stages: Sequence[StageFiles], targets: Sequence[str]) -> Path:
    """The bundle's folder, inside the work folder, with every file that comes from a stage."""
    root = job.parts.root / BUNDLE
    root.mkdir()
    job.tell("write", "graphs, goldens, manifest")
    link_files(root, stages)
    add_kernels(job.parts, root, targets)
    return root


def _verify(job: _Job, root: Path, cases: Sequence[Case], references: References) -> list[ParityReport]:
    """The bundle in the backends that "auto" takes, then in each other one that can run it here."""
    reports: list[ParityReport] = []
    bundle = Bundle.open(root)
    made_for = {"onnxruntime", *(name for stage in bundle.manifest.stages for name in stage.artifacts)}
    for backend in ("auto", *(name for name in usable_backends(bundle) if name in made_for)):
        if backend in {report.backend for report in reports}:
            continue
        reports.append(
            verify_bundle(
                root,
                cases,
                references,
                backend=backend,
                threads=job.threads,
                progress=lambda case, name=backend: job.tell("verify", f"{case} ({name})"),
            )
        )
    return reports


def _check_size(root: Path, max_bytes: int | None) -> int:
    size = bundle_bytes(root)
    if max_bytes is not None and size > max_bytes:
        raise ExportError(f"the bundle has {size:,} bytes, at most {max_bytes:,} were asked for")
    return size


def _gate(problems: Sequence[str], parity: ParityReport, control: ControlReport, force: bool) -> bool:
    """Whether the bundle goes on only because of `force`; raises where it does not go on."""
    if problems and not force:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ParityError(
            f"the bundle fails the gate and was not written: {'; '.join(problems[:3])}{more}", parity, control
        )
    return bool(problems)


def _finish(root: Path, manifest: Manifest, goldens: Sequence[GoldenRecord]) -> Manifest:
    """Write the final manifest, and open the bundle once more as a user would."""
    known = {record.path: {"bytes": record.bytes, "sha256": record.sha256} for record in manifest.files}
    manifest = write_manifest(root, manifest, goldens, known)
    Bundle.open(root)
    return manifest
