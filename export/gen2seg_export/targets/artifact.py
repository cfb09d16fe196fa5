"""What a target leaves in a bundle, and the key that says what it was made from."""

import hashlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from gen2seg_export.external_data import external_files
from gen2seg_export.targets.errors import TargetError

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Artifact:
    """Files made from one stage's graph.

    Attributes:
        target: "openvino", "tensorrt_rtx" or "tensorrt".
        stage: the stage's name.
        paths: every file, the one that a backend opens first.
        key: SHA-256 over what went in: graph, builder version, devices, shapes, flags.
        log: the builder's own log, one of `paths`; None where it writes none.
        notes: what the user should know.
        facts: JSON for the manifest: key's parts, sha256 of the files, seconds, peak memory, checks.
    """

    target: str
    stage: str
    paths: tuple[Path, ...]
    key: str
    log: Path | None = None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def graph_digest(path: Path) -> str:
    """SHA-256 over the ONNX file and its external data, in the order in which the graph names them.

    Raises:
        TargetError: a file is missing or unreadable.
    """
    digest = hashlib.sha256()
    try:
        names = external_files(onnx.load(path, load_external_data=False))
        for part in (path, *(path.parent / name for name in names)):
            with part.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
    except OSError as error:
        raise TargetError(f"{path}: cannot be read: {error}") from error
    return digest.hexdigest()


@contextmanager
def build_folder(out_dir: Path) -> Iterator[Path]:
    """A hidden folder inside `out_dir` (made if missing); it is gone afterwards, however the block ends."""
    made = not out_dir.exists()
    out_dir.mkdir(exist_ok=True)
    folder = out_dir / f".build.{secrets.token_hex(6)}.tmp"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if made and not any(out_dir.iterdir()):
            out_dir.rmdir()
