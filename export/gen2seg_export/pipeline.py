"""Checkpoint in, verified bundle out."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gen2seg.backbones import get_backbone
from gen2seg.backbones.defaults import BundleDefaults
from gen2seg_export.backbones import get_export_spec
from gen2seg_export.bundle_writer import bundle_bytes, draft_manifest, write_manifest, write_model
from gen2seg_export.control import ControlReport, negative_control
from gen2seg_export.errors import ExportError, ParityError
from gen2seg_export.goldens import measured_goldens, write_goldens
from gen2seg_export.onnx_graph import GraphSpec, export_graph, store_weights_float16
from gen2seg_export.parity import ParityReport, verify_bundle
from gen2seg_export.resources import measure_resources
from gen2seg_export.samples import control_scenes, golden_scenes, real_samples, verification_scenes
from gen2seg_export.source import Source, load_source, random_source
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.files import atomic_directory
from gen2seg_runtime.manifest import GoldenRecord, Manifest

DATA_VARIABLE = "GEN2SEG_DATA"
REAL_PICTURES = 12

Progress = Callable[[str, str], None]  # (stage, detail)


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how it was judged."""

    path: Path
    bytes: int
    manifest: Manifest
    parity: ParityReport
    control: ControlReport
    forced: bool

    def to_json(self) -> dict[str, Any]:
        manifest = self.manifest
        return {
            "path": str(self.path),
            "bytes": self.bytes,
            "model_bytes": manifest.file(manifest.model.path).bytes,
            "name": manifest.name,
            "backbone": manifest.backbone,
            "state": manifest.weights.state,
            "parameters": manifest.weights.parameters,
            "precision": {"weights": manifest.precision.weights, "compute": manifest.precision.compute},
            "forced": self.forced,
            "verification": dict(manifest.verification),
            "resources": dict(manifest.resources),
        }


def export_bundle(
    output: str | os.PathLike[str],
    *,
    backbone: str = "tiny",
    checkpoint: str | os.PathLike[str] | None = None,
    random_weights: bool = False,
    architecture: Mapping[str, Any] | None = None,
    fp16: bool = False,
    height: int | None = None,
    width: int | None = None,
    settings: Mapping[str, float] | None = None,
    name: str | None = None,
    images: str | os.PathLike[str] | None = None,
    max_images: int = REAL_PICTURES,
    max_bytes: int | None = None,
    force: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Export a network, verify the result through the runtime, and only then let it appear at `output`.

    Args:
        output: the bundle's folder; its parent must exist.
        backbone: which network.
        checkpoint: a folder with config.json and model.safetensors; or:
        random_weights: seeded random weights; the bundle then says "untrained".
        architecture: settings of the network for random weights (a checkpoint brings its own).
        fp16: store the weights as float16; the graph computes in float32 either way.
        height, width: fix the size, both multiples of the stride; None leaves it free.
        settings: values for `BundleDefaults` (size, enlarge_below, distance, ...); they win over the
            checkpoint's own `metadata.bundle_defaults`.
        name: of the bundle; None takes the backbone's.
        images: folder of real pictures to verify on as well; None takes GEN2SEG_DATA where that is a folder.
        max_images: how many of them.
        max_bytes: the largest size of all files together; None sets no limit.
        force: write the bundle even where it fails the gate, and record that in its manifest.
        overwrite: replace a folder that exists.
        threads: for the runtime while verifying; None leaves the choice to it.
        progress: called with (stage, detail) as the work goes on.
    Returns:
        What was written and how it was judged.
    Raises:
        UnsupportedBackboneError: this version has no exporter for it.
        CheckpointError: the checkpoint is missing or is not what the backbone needs.
        BundleDefaultsError: a value of `settings`, or of the checkpoint's defaults, is unknown or out of range.
        ExportError: contradicting arguments, a network that cannot be exported, a bundle above `max_bytes`.
        ParityError: the bundle or the negative control fails the gate and `force` is off; no bundle then.
        OutputExistsError, OutputError: `output` exists, or cannot be written.
    """
    tell = progress or (lambda _stage, _detail: None)
    spec = get_export_spec(backbone)
    network = get_backbone(backbone)
    graph = GraphSpec(stride=network.stride, size=_fixed_size(height, width))

    with atomic_directory(output, overwrite=overwrite) as root:
        tell("load", "random weights" if random_weights else str(checkpoint))
        source = _open_source(backbone, checkpoint, random_weights, architecture)
        defaults = _defaults(network.defaults, source, settings or {})

        tell("export", f"{source.parameters:,} parameters to ONNX opset {graph.opset}")
        model = export_graph(source.module, graph)
        if fp16:
            tell("round", "weights to float16")
            model = store_weights_float16(model)

        tell("write", "model, goldens, manifest")
        manifest = draft_manifest(network, spec, source, graph, defaults, float16=fp16, name=name)
        write_model(root, model)
        goldens = write_goldens(root, source.module, golden_scenes(), manifest.input)
        write_manifest(root, manifest, goldens)
        _check_size(root, max_bytes)

        samples = verification_scenes()
        folder = _picture_folder(images)
        if folder is not None:
            samples += real_samples(folder, max_images)
        parity = verify_bundle(
            root, source.module, samples, threads=threads, progress=lambda case: tell("verify", case)
        )
        tell("control", "perturbed weights must fail")
        control = negative_control(model, manifest, source.module, control_scenes(), threads)
        forced = _gate(parity, control, force)

        tell("measure", "latency and memory")
        manifest = replace(
            manifest,
            verification={**parity.to_json(), "negative_control": control.to_json(), "forced": forced},
            resources=measure_resources(root, threads),
        )
        manifest = _finish(root, manifest, goldens, threads)
        size = _check_size(root, max_bytes)
    return ExportReport(Path(output), size, manifest, parity, control, forced)


def _fixed_size(height: int | None, width: int | None) -> tuple[int, int] | None:
    if height is None and width is None:
        return None
    if height is None or width is None:
        raise ExportError(f"height and width go together, got height {height} and width {width}")
    return height, width


def _open_source(
    backbone: str,
    checkpoint: str | os.PathLike[str] | None,
    random_weights: bool,
    architecture: Mapping[str, Any] | None,
) -> Source:
    if random_weights == (checkpoint is not None):
        raise ExportError("give either a checkpoint folder or random weights, and not both")
    if checkpoint is not None:
        if architecture is not None:
            raise ExportError("a checkpoint brings its own architecture; the argument is for random weights")
        return load_source(backbone, Path(checkpoint))
    return random_source(backbone, architecture)


def _defaults(usual: BundleDefaults, source: Source, settings: Mapping[str, float]) -> BundleDefaults:
    own = source.metadata.get("bundle_defaults", {})
    if not isinstance(own, Mapping):
        raise ExportError(f"metadata.bundle_defaults must be a table, got {own!r}")
    return usual.updated({**own, **settings})


def _picture_folder(images: str | os.PathLike[str] | None) -> Path | None:
    """The folder asked for (it must exist), else the data folder where there is one."""
    if images is not None:
        return Path(images)
    data = os.environ.get(DATA_VARIABLE)
    return Path(data) if data and Path(data).is_dir() else None


def _check_size(root: Path, max_bytes: int | None) -> int:
    size = bundle_bytes(root)
    if max_bytes is not None and size > max_bytes:
        raise ExportError(f"the bundle has {size:,} bytes, at most {max_bytes:,} were asked for")
    return size


def _gate(parity: ParityReport, control: ControlReport, force: bool) -> bool:
    """Whether the bundle goes on only because of `force`; raises where it does not go on."""
    problems = list(parity.failures)
    problems += [f"negative control: noise on {name} went unseen" for name in control.unseen]
    if not control.perturbed:
        problems.append("negative control: the graph has no weight to perturb")
    if problems and not force:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ParityError(
            f"the bundle fails the gate and was not written: {'; '.join(problems[:3])}{more}", parity, control
        )
    return bool(problems)


def _finish(root: Path, manifest: Manifest, goldens: list[GoldenRecord], threads: int | None) -> Manifest:
    """Write the final manifest, and open the bundle once more as a user would."""
    manifest = write_manifest(root, manifest, measured_goldens(root, goldens, threads))
    Bundle.open(root)
    return manifest
