"""The bundle's side of an examination: its manifest, and whether its files are there; digests are left to `inspect`."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gen2seg_runtime.backends.checks import CANNOT, REBUILD, Obstacle
from gen2seg_runtime.backends.engine_files import engine_files
from gen2seg_runtime.bundle import default_bundle_path
from gen2seg_runtime.doctor.report import Note
from gen2seg_runtime.errors import Gen2SegError
from gen2seg_runtime.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest, StageSpec

MIB = 1 << 20


def read_manifest(path: str | os.PathLike[str] | None) -> tuple[Path, Manifest | None, list[Obstacle]]:
    """The bundle's folder and manifest, or why there is none; no other file is read.

    Args:
        path: the bundle's folder; None: the embedded one.
    """
    try:
        root = Path(default_bundle_path() if path is None else path).absolute()
    except Gen2SegError as error:
        return Path(), None, [Obstacle("G2S-E001", CANNOT, str(error))]
    try:
        with (root / MANIFEST_NAME).open("rb") as file:
            manifest = Manifest.from_json(file.read(MAX_MANIFEST_BYTES + 1), str(root / MANIFEST_NAME))
    except OSError as error:
        return root, None, [Obstacle("G2S-E001", CANNOT, f"{root}: no bundle: {error.strerror or error}")]
    except Gen2SegError as error:
        return root, None, [Obstacle("G2S-E001", REBUILD, str(error))]
    return root, manifest, list(_wrong_files(root, manifest))


def _wrong_files(root: Path, manifest: Manifest) -> Iterator[Obstacle]:
    for record in manifest.files:
        path = root
        for part in record.path.split("/"):
            path = path / part
            if path.is_symlink():
                yield Obstacle("G2S-E002", REBUILD, f"{path}: is a link; a bundle holds plain files only")
                break
        else:
            try:
                status = path.stat()
            except OSError:
                yield Obstacle("G2S-E002", REBUILD, f"{path}: missing; fetch or export the bundle again")
                continue
            if not stat.S_ISREG(status.st_mode) or status.st_size != record.bytes:
                found = f"{status.st_size} bytes" if stat.S_ISREG(status.st_mode) else "no plain file"
                yield Obstacle(
                    "G2S-E002", REBUILD, f"{path}: {found}, the manifest says {record.bytes}; fetch or export it again"
                )


def describe(root: Path, manifest: Manifest) -> dict[str, Any]:
    """What the report tells of a bundle."""
    licence = manifest.licence
    return {
        "path": str(root),
        "name": f"{manifest.name} {manifest.version}",
        "weights": f"{manifest.weights.state}, {manifest.weights.parameters:,} parameters",
        "licence": licence.weights,
        "stages": [
            f"{stage.name} ({stage.precision.compute}; {'; '.join(_made_for(stage)) or 'ONNX only'})"
            for stage in manifest.chain
        ],
        "size": f"{sum(record.bytes for record in manifest.files) / MIB:.0f} MiB",
        "memory when exported": _measured(manifest),
    }


def bundle_notes(manifest: Manifest) -> Iterator[Note]:
    """What to know of a bundle, wherever it runs."""
    if manifest.weights.state == "untrained":
        yield Note("G2S-W101", "the weights are random: its masks mean nothing")
    for limit in manifest.licence.use_limits:
        yield Note("G2S-W102", limit)


def memory_needed(manifest: Manifest) -> int:
    """Bytes of main memory: the peak measured when it was exported, else what its graphs and weights take."""
    measured = manifest.resources.get("peak_memory_bytes")
    if isinstance(measured, int) and not isinstance(measured, bool) and measured > 0:
        return measured
    return sum(record.bytes for record in manifest.files if record.role in ("model", "model_data"))


def artifact_bytes(manifest: Manifest, backend: str) -> int:
    """Bytes of all files made for a backend."""
    paths = {path for stage in manifest.chain for path in stage.artifacts.get(backend, ())}
    return sum(record.bytes for record in manifest.files if record.path in paths)


def _made_for(stage: StageSpec) -> Iterator[str]:
    """What a stage has for single backends: "tensorrt_rtx 1.7.1.116 for sm_80 sm_86"."""
    for name in sorted(stage.artifacts):
        engines = engine_files(name, stage)
        version = next((engine.version for engine in engines if engine.version), None)
        sms = " ".join(f"sm_{sm}" for engine in engines for sm in engine.sms)
        yield f"{name}{f' {version}' if version else ''}{f' for {sms}' if sms else ''}"


def _measured(manifest: Manifest) -> str:
    peak = manifest.resources.get("peak_memory_bytes")
    return f"{peak / MIB:.0f} MiB at its peak" if isinstance(peak, int) else "not measured"
