"""The bundle's folder: graphs, artifacts, goldens and the manifest that describes them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from gen2seg_export.model import ExportModel
from gen2seg_export.onnx_graph import OPSET
from gen2seg_export.parts import file_facts
from gen2seg_export.tolerances import loosest, tolerance_name
from gen2seg_runtime.manifest import (
    MANIFEST_NAME,
    FileRecord,
    GoldenRecord,
    Manifest,
    ModelSpec,
    PrecisionSpec,
    StageSpec,
)

_VERSIONS = ("gen2seg", "torch", "onnx", "onnxscript", "onnxruntime")
_ABSENT = "0"
_OPTIONAL_VERSIONS = ("diffusers", "transformers", "timm", "openvino", "nncf", "tensorrt", "tensorrt-rtx", "triton")


def draft_manifest(model: ExportModel, stages: Sequence[StageSpec], *, name: str) -> Manifest:
    """Everything that the manifest says before it is verified: no files, goldens or measurements yet.

    Args:
        model: without need of its networks.
        stages: as they lie in the bundle.
    """
    return Manifest(
        name=name,
        backbone=model.backbone,
        version=package_versions()["gen2seg"],
        weights=model.weights,
        licence=model.licence,
        model=ModelSpec(path=stages[0].path, opset=OPSET),
        input=replace(model.input, name=stages[0].input),
        output=replace(model.output, name=stages[-1].output),
        prompt=model.prompt,
        instances=model.instances,
        precision=_overall(stages),
        stages=tuple(stages),
        folded=dict(model.folded),
        files=(),
        created_by=package_versions(),
    )


def _overall(stages: Sequence[StageSpec]) -> PrecisionSpec:
    """The narrowest of the stages, for those who look no further."""
    row = loosest([tolerance_name(stage.precision) for stage in stages])
    chosen = next(stage.precision for stage in stages if tolerance_name(stage.precision) == row)
    return PrecisionSpec(weights=chosen.weights, compute=chosen.compute)


def write_manifest(
    root: Path,
    manifest: Manifest,
    goldens: Sequence[GoldenRecord],
    known: Mapping[str, Mapping[str, Any]] | None = None,
) -> Manifest:
    """Write the manifest with a record of every other file in `root`; returns what was written.

    Args:
        known: path in the bundle -> its size and SHA-256, where somebody has read the file already.
    """
    records = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name != MANIFEST_NAME:
            facts = (known or {}).get(name) or file_facts(path)
            records.append(FileRecord(path=name, role=_role(name, manifest), **facts))
    full = replace(manifest, files=tuple(records), goldens=tuple(goldens))
    (root / MANIFEST_NAME).write_text(full.to_json(), encoding="utf-8")
    return full


def _role(name: str, manifest: Manifest) -> str:
    if name in {stage.path for stage in manifest.stages}:
        return "model"
    folder = name.partition("/")[0]
    return {"goldens": "golden", "kernels": "kernel"}.get(folder, "model_data" if folder == name else "artifact")


def bundle_bytes(root: Path) -> int:
    """Size of all files of a bundle together."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def cost_json(model: ExportModel) -> dict[str, Any]:
    """Parameters, bytes and operations of the reference's networks and of the exported chain."""
    sides = {"before": model.before, "after": model.after}
    return {side: asdict(cost) | {"size": list(cost.size)} for side, cost in sides.items() if cost is not None}


def package_versions() -> dict[str, str]:
    """Versions of what an export depends on, as far as it is installed."""
    optional = {package: version for package in _OPTIONAL_VERSIONS if (version := _version(package)) != _ABSENT}
    return {package: _version(package) for package in _VERSIONS} | optional


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return _ABSENT  # also of a checkout that is not installed
