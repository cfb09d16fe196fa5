"""One stage on its way into the bundle: float32 graph, the graph in its precision, artifacts for backends.

Each step is a part of the work folder (`parts.Parts`): made once, taken again by the next run.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from torch import nn

import gen2seg.backbones
from gen2seg_export.bundle_writer import package_versions
from gen2seg_export.errors import ExportError
from gen2seg_export.model import Stage
from gen2seg_export.onnx_graph import GraphSpec, check_graph, data_name, save_graph, write_graph
from gen2seg_export.parts import Parts, link_or_copy
from gen2seg_export.precision.pairwise import pairwise_norms
from gen2seg_export.registry import GPU_TARGETS, load_part
from gen2seg_export.targets.child import run_in_child
from gen2seg_export.tolerances import TOLERANCES, tolerance_name
from gen2seg_runtime.manifest import InputSpec, PrecisionSpec, StageSpec

CHOOSER = "gen2seg_export.targets.cpu_choice:measure_candidates"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class StagePlan:
    """What is to be made of one stage.

    Attributes:
        spec: how its graph meets the outside.
        digest: of its weights and structure, see `module_digest`.
        shapes: input sizes (N, C, H, W) to build engines for; empty where any size may come.
        precision, targets: as asked for, see `registry`.
        target_options: target -> further options of its builder.
        calibration: names the inputs that are measured on; empty where nothing is.
    """

    name: str
    spec: GraphSpec
    digest: str
    shapes: tuple[tuple[int, int, int, int], ...]
    precision: str
    targets: tuple[str, ...]
    file: str = "model.onnx"  # the graph's name in the bundle
    target_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    calibration: str = ""

    @property
    def graph_key(self) -> dict[str, Any]:
        """What the float32 graph is made from."""
        spec = {
            "names": [self.spec.input_name, self.spec.output_name],
            "channels": self.spec.channels,
            "stride": self.spec.stride,
            "size": self.spec.size,
            "opset": self.spec.opset,
            "least": self.spec.least,
        }
        made_by = {"versions": package_versions(), "code": code_digest()}
        return {"weights": self.digest, "spec": spec, "file": self.file, **made_by}


@dataclass(frozen=True)
class StageFiles:
    """A finished stage: its record for the manifest, and path in the bundle -> file in the work folder.

    Attributes:
        missing: for each engine that cannot be built here: why, and the command that builds it on the device.
    """

    spec: StageSpec
    files: Mapping[str, Path]
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def plan_stage(
    stage: Stage, first: bool, last: bool, spec: InputSpec, precision: str, targets: tuple[str, ...]
) -> StagePlan:
    """The plan of one stage for the sizes that the manifest's input names.

    Raises:
        ExportError: the picture's stride is no multiple of the stage's scale, or a size does not fit.
    """
    stride, rest = divmod(spec.pad.multiple, stage.in_scale)
    if rest:
        raise ExportError(
            f"stage {stage.name!r} works at 1/{stage.in_scale} of the picture, whose sides are multiples of "
            f"{spec.pad.multiple}: these must be multiples of {stage.in_scale}"
        )
    sizes = [(height // stage.in_scale, width // stage.in_scale) for height, width in spec.buckets]
    # A network made for several buckets may lean on what their sides have in common.
    sides = [side for size in sizes for side in size] if len(sizes) > 1 else []
    stride = gcd(*sides) if sides else stride
    graph = GraphSpec(
        input_name="image" if first else f"{stage.name}_input",
        output_name="colors" if last else f"{stage.name}_output",
        channels=stage.in_channels,
        stride=stride,
        size=sizes[0] if len(sizes) == 1 and not spec.dynamic else None,
        least=min(sides) // stride if sides else stage.free_least,
    )
    shapes = tuple((1, stage.in_channels, *size) for size in sizes)
    file = "model.onnx" if first and last else f"{stage.name}.onnx"
    return StagePlan(stage.name, graph, module_digest(stage.module), shapes, precision, targets, file)


def module_digest(module: nn.Module) -> str:
    """SHA-256 over the structure, the settings, the names and the numbers of a network."""
    digest = hashlib.sha256(repr(module).encode())
    for name, part in module.named_modules():
        own = {key: _setting(value) for key, value in vars(part).items() if not key.startswith("_")}
        digest.update(f"{name} {type(part).__qualname__} {sorted(own.items())}".encode())
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(np.ascontiguousarray(tensor.detach().numpy()).data)
    return digest.hexdigest()


def _setting(value: Any) -> str:
    """What a module keeps beside its tensors (epsilons, factors, limits), in the same words in every process."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return str(sorted((str(key), _setting(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return str([_setting(item) for item in value])
    return getattr(value, "__qualname__", type(value).__qualname__)


def code_digest() -> str:
    """SHA-256 over the code of exporter and backbones: what another version of it made is not taken again."""
    digest = hashlib.sha256()
    for root in (Path(__file__).parent, Path(gen2seg.backbones.__file__).parent):
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def write_stage_graph(parts: Parts, plan: StagePlan, module: nn.Module) -> tuple[Path, bool]:
    """The float32 graph of a stage: (its file, whether an earlier run made it)."""

    def make(root: Path) -> None:
        graph = root / plan.file
        write_graph(module, plan.spec, graph)
        model = onnx.load(graph, load_external_data=False)
        pairwise_norms(model)
        save_graph(model, onnxruntime_form(graph))
        check_graph(onnxruntime_form(graph))

    folder, _, reused = parts.part(f"{plan.name}.float32", plan.graph_key, make)
    return folder / plan.file, reused


def onnxruntime_form(graph: Path) -> Path:
    """The form of a stage's float32 graph for ONNX Runtime, beside it and with the same file of weights."""
    return graph.with_name(f"pairwise-{graph.name}")


def finish_stage(
    parts: Parts, plan: StagePlan, graph: Path, calibration: Callable[[], Sequence[np.ndarray]], tell: Tell
) -> StageFiles:
    """The stage in its precision, and what its targets make of it.

    Args:
        graph: of `write_stage_graph`.
        calibration: gives inputs of the stage; called only where something is measured.
        tell: called with one line at a time.
    Raises:
        Int8RefusedError: int8 is not worth it for this stage.
        ExportError: the precision or a target refuses the stage, or is not available.
    """
    narrow, precision, notes = _narrowed(parts, plan, graph, calibration, tell)
    files = {narrow.name: narrow, data_name(narrow): narrow.with_name(data_name(narrow))}
    files = {name: path for name, path in files.items() if path.is_file()}
    if plan.precision == "fp32":
        files[graph.name] = onnxruntime_form(graph)
    artifacts: dict[str, tuple[str, ...]] = {}
    facts: dict[str, Any] = {}
    missing: list[str] = []
    for target in plan.targets:
        if target == "onnx":
            continue
        made = _built(parts, plan, target, graph if plan.precision == "int8" else narrow, calibration, tell)
        if made.get("refused"):
            raise load_part("gen2seg_export.targets").Int8RefusedError(made["refused"])
        backend, inside, where = target.replace("-", "_"), made["paths"], made["folder"]
        place = "openvino" if target == "openvino" else "engines"
        files |= {f"{place}/{name}": where / name for name in inside}
        if made["opens"]:
            artifacts[backend] = tuple(f"{place}/{name}" for name in inside)
        if made["facts"]:
            facts[backend] = made["facts"]
        notes += made["notes"]
        missing += made.get("missing", [])
    preferred = "onnxruntime" if plan.precision != "fp32" or artifacts else None
    if plan.precision == "int8":
        preferred = "openvino"  # it is that or refused
    elif "openvino" in artifacts:
        xml = next(files[path] for path in artifacts["openvino"] if path.endswith(".xml"))
        chosen = _cpu_choice(parts, plan, files[narrow.name], xml, precision, calibration, tell)
        preferred, hint = chosen["backend"], chosen["hint"]
        facts["openvino"] = {**facts["openvino"], "inference_precision": hint, "chosen": chosen}
    spec = StageSpec(
        name=plan.name,
        path=narrow.name,
        input=plan.spec.input_name,
        output=plan.spec.output_name,
        precision=precision,
        artifacts=artifacts,
        facts=facts,
        backend=preferred,
    )
    return StageFiles(spec, files, tuple(notes), tuple(missing))


def _cpu_choice(
    parts: Parts,
    plan: StagePlan,
    graph: Path,
    xml: Path,
    precision: PrecisionSpec,
    calibration: Callable[[], Sequence[np.ndarray]],
    tell: Tell,
) -> dict[str, Any]:
    """Backend and precision hint that run this stage best here, with the figures that say so."""
    row = TOLERANCES[tolerance_name(precision)]
    least_psnr = max(row.stage_psnr, row.color_psnr)

    def make(root: Path) -> Mapping[str, Any]:
        sample = root / "sample.npy"
        np.save(sample, calibration()[0], allow_pickle=False)
        job = {
            "xml": str(xml),
            "graph": str(graph),
            "bfloat16": precision.compute == "bfloat16",
            "sample": str(sample),
            "least_psnr": least_psnr,
        }
        try:
            return run_in_child(CHOOSER, job, tell)
        finally:
            sample.unlink()

    key = {**plan.graph_key, "precision": plan.precision, "targets": plan.targets, "calibration": plan.calibration}
    _, facts, _ = parts.part(f"{plan.name}.{plan.precision}.choice", key, make)
    return facts


def is_typed(precision: str, targets: Sequence[str]) -> bool:
    """Whether each node of the graph gets a format of its own; else, in fp16, only the weights are stored as such.

    Cards take the formats from the graph; a CPU gains from float16 only that the file is half as large.
    """
    return precision == "bf16" or (precision == "fp16" and bool(GPU_TARGETS & set(targets)))


def _narrowed(
    parts: Parts, plan: StagePlan, graph: Path, calibration: Callable[[], Sequence[np.ndarray]], tell: Tell
) -> tuple[Path, PrecisionSpec, list[str]]:
    if plan.precision == "fp32":
        return graph, PrecisionSpec(), []
    precision = load_part("gen2seg_export.precision")
    form = "typed" if is_typed(plan.precision, plan.targets) else "stored"

    def make(root: Path) -> Mapping[str, Any]:
        inputs = calibration() if form == "typed" else ()
        report = precision.apply(graph, root / graph.name, plan.precision, inputs, form=form, progress=tell)
        spec = report.spec()
        return {
            "weights": spec.weights,
            "compute": spec.compute,
            "wide_nodes": list(spec.wide_nodes),
            "plan": dict(spec.plan),
            "notes": list(report.notes),
        }

    key = {**plan.graph_key, "precision": plan.precision, "form": form, "calibration": plan.calibration}
    folder, facts, reused = parts.part(f"{plan.name}.{plan.precision}", key, make)
    if reused:
        tell(f"{plan.precision} graph taken from an earlier run")
    spec = PrecisionSpec(
        weights=facts["weights"],
        compute=facts["compute"],
        wide_nodes=tuple(facts["wide_nodes"]),
        plan=facts["plan"],
    )
    return folder / graph.name, spec, [f"{plan.name}: {note}" for note in facts["notes"]]


def _built(
    parts: Parts,
    plan: StagePlan,
    target: str,
    graph: Path,
    calibration: Callable[[], Sequence[np.ndarray]],
    tell: Tell,
) -> dict[str, Any]:
    """What a target leaves: `folder`, `paths` in it, whether a backend `opens` them, `facts`, `notes`."""
    targets = load_part("gen2seg_export.targets")
    options = dict(plan.target_options.get(target, {}))

    def make(root: Path) -> Mapping[str, Any]:
        inputs = calibration() if plan.precision == "int8" else ()
        try:
            artifact = targets.build(
                target,
                graph,
                root,
                stage=plan.name,
                shapes=plan.shapes,
                precision=plan.precision,
                calibration=inputs,
                progress=tell,
                **options,
            )
        except targets.Int8RefusedError as error:
            # Kept like a result: the next run need not quantize again to learn it.
            return {"paths": [], "opens": False, "facts": {}, "notes": [], "refused": str(error)}
        except targets.TargetUnavailableError as error:
            if not error.paths:
                raise
            # No library here, but the command that makes the engine on the device.
            return {
                "paths": [path.name for path in error.paths],
                "opens": False,
                "facts": {},
                "notes": [],
                "missing": [str(error)],
            }
        return {
            "paths": [path.relative_to(root).as_posix() for path in artifact.paths],
            "opens": True,
            "facts": dict(artifact.facts),
            "notes": [f"{plan.name}: {note}" for note in artifact.notes],
        }

    asked = {"precision": plan.precision, "shapes": plan.shapes, "target": target, "options": options}
    key = {**plan.graph_key, **asked, "calibration": plan.calibration}
    folder, facts, reused = parts.part(f"{plan.name}.{plan.precision}.{target}", key, make)
    if reused:
        tell(f"{target} taken from an earlier run")
    return {**facts, "folder": folder}


def link_files(root: Path, stages: Sequence[StageFiles]) -> None:
    """Put the files of all stages into a bundle's folder, without copying where the file system can."""
    for stage in stages:
        for name, path in stage.files.items():
            link_or_copy(path, root / name)
