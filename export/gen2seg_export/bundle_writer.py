"""The bundle's folder: the graph, the goldens and the manifest that describes them."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import onnx

from gen2seg.backbones import Backbone
from gen2seg.backbones.defaults import BundleDefaults
from gen2seg_export.backbones import ExportSpec
from gen2seg_export.onnx_graph import GraphSpec
from gen2seg_export.source import Source
from gen2seg_runtime.manifest import (
    MANIFEST_NAME,
    FileRecord,
    GoldenRecord,
    InputSpec,
    InstanceSpec,
    LicenceInfo,
    Manifest,
    ModelSpec,
    OutputSpec,
    PadSpec,
    PrecisionSpec,
    PromptSpec,
    ResizeSpec,
    WeightsInfo,
)

MODEL_FILE = "model.onnx"
CODE_LICENCE = "Apache-2.0"
NO_TRAINING = "No trained weights: the colours mean nothing."


def draft_manifest(
    backbone: Backbone,
    spec: ExportSpec,
    source: Source,
    graph: GraphSpec,
    defaults: BundleDefaults,
    *,
    float16: bool,
    name: str | None = None,
) -> Manifest:
    """Everything that the manifest says before anything is written: no files, goldens or measurements yet."""
    versions = {package: _version(package) for package in ("gen2seg", "torch", "onnx", "onnxruntime")}
    return Manifest(
        name=name or spec.bundle_name,
        backbone=backbone.name,
        version=versions["gen2seg"],
        weights=WeightsInfo(
            state=source.state,
            source=source.description,
            sha256=source.sha256,
            parameters=source.parameters,
        ),
        licence=LicenceInfo(
            code=CODE_LICENCE,
            weights=spec.licence,
            use_limits=spec.use_limits,
            attribution=spec.attribution if source.state == "trained" else NO_TRAINING,
        ),
        model=ModelSpec(path=MODEL_FILE, opset=graph.opset),
        input=_input_spec(backbone, graph, defaults),
        output=OutputSpec(name=graph.output_name, normalization=backbone.normalization),
        prompt=PromptSpec(mode=backbone.prompt_mode, distance=defaults.distance),
        instances=InstanceSpec(
            distance=defaults.instance_distance, background=defaults.background, min_area=defaults.min_area
        ),
        precision=PrecisionSpec(weights="float16" if float16 else "float32", compute="float32"),
        files=(),
        created_by=versions,
    )


def _input_spec(backbone: Backbone, graph: GraphSpec, defaults: BundleDefaults) -> InputSpec:
    fixed = graph.size is not None
    return InputSpec(
        name=graph.input_name,
        scale=255.0,
        mean=backbone.mean,
        std=backbone.std,
        resize=ResizeSpec(
            rule="fixed" if fixed else "longest_side",
            size=max(graph.size) if graph.size else defaults.size,
            enlarge_below=0 if fixed else defaults.enlarge_below,
        ),
        pad=PadSpec(multiple=graph.stride),
        dynamic=not fixed,
        buckets=(graph.size,) if graph.size else (),
    )


def write_model(root: Path, model: onnx.ModelProto) -> None:
    """Write the graph into the bundle's folder."""
    (root / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))


def write_manifest(root: Path, manifest: Manifest, goldens: Sequence[GoldenRecord]) -> Manifest:
    """Write the manifest with a record of every other file in `root`; returns what was written."""
    full = replace(manifest, files=tuple(_file_records(root)), goldens=tuple(goldens))
    (root / MANIFEST_NAME).write_text(full.to_json(), encoding="utf-8")
    return full


def bundle_bytes(root: Path) -> int:
    """Size of all files of a bundle together."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def _file_records(root: Path) -> list[FileRecord]:
    records = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not path.is_file() or name == MANIFEST_NAME:
            continue
        content = path.read_bytes()
        records.append(
            FileRecord(
                path=name,
                role="model" if name == MODEL_FILE else "golden",
                bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
            )
        )
    return records


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "0"  # a checkout that is not installed
