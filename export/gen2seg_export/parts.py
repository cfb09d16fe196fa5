"""The work folder beside an output: finished parts of an export, so that a second run goes on where one ended.

    OUTPUT.parts/lock              held by the run that uses the folder
    OUTPUT.parts/unet.graph/       one part: its files, and
    OUTPUT.parts/unet.graph/done.json   what they were made from and their digests

A part appears whole or not at all, whenever the process may die, and is taken again only if it was made from the
same things and every digest still holds. The folder goes away when the bundle is written.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gen2seg_export.errors import WorkFolderError
from gen2seg_runtime.files import atomic_directory

DONE = "done.json"
BUNDLE = "bundle"  # where the bundle is put together, from second names of the parts' files
_CHUNK = 1 << 20


class Parts:
    """The work folder of one output. Use it inside `hold`."""

    def __init__(self, output: Path):
        self.root = output.parent / f"{output.name}.parts"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other runs out; leftovers of runs that were killed go first, and an empty folder goes in the end.

        Raises:
            WorkFolderError: another run holds it, or it cannot be made.
        """
        try:
            self.root.mkdir(exist_ok=True)
            lock = os.open(self.root / "lock", os.O_CREAT | os.O_RDWR, 0o666)
        except OSError as error:
            raise WorkFolderError(f"{self.root}: cannot be used as work folder: {error}") from error
        try:
            _lock(lock, self.root)
            for leftover in (*self.root.glob(".*.tmp"), self.root / BUNDLE):
                shutil.rmtree(leftover, ignore_errors=True)
            try:
                yield
            finally:
                if self.root.is_dir() and all(path.name == "lock" for path in self.root.iterdir()):
                    self.remove()
        finally:
            os.close(lock)

    def remove(self) -> None:
        """Delete the whole folder."""
        shutil.rmtree(self.root, ignore_errors=True)

    def part(
        self, name: str, made_from: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any] | None]
    ) -> tuple[Path, dict[str, Any], bool]:
        """A part, taken again or made.

        Args:
            name: of its folder.
            made_from: JSON values; another content makes the part anew.
            make: fills an empty folder and may return JSON facts to keep beside the files.
        Returns:
            (the folder, the facts, whether it was made by an earlier run).
        """
        folder = self.root / name
        key = digest_json(made_from)
        facts = self._finished(folder, key)
        if facts is not None:
            return folder, facts, True
        with atomic_directory(folder, overwrite=True) as root:
            made = dict(make(root) or {})
            files = {path.relative_to(root).as_posix(): file_facts(path) for path in _files(root)}
            (root / DONE).write_text(json.dumps({"key": key, "files": files, "facts": made}), encoding="utf-8")
        return folder, made, False

    @staticmethod
    def _finished(folder: Path, key: str) -> dict[str, Any] | None:
        try:
            done = json.loads((folder / DONE).read_text(encoding="utf-8"))
            if done["key"] != key:
                return None
            here = {path.relative_to(folder).as_posix() for path in _files(folder)} - {DONE}
            if here != set(done["files"]):
                return None
            if any(file_facts(folder / name) != facts for name, facts in done["files"].items()):
                return None
            return dict(done["facts"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not finished, or not ours: it is made anew


def file_facts(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, read once in pieces."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}


def digest_json(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; where the file system cannot, copy it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _lock(handle: int, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: two runs on one output are then the user's own care
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise WorkFolderError(f"{folder}: another export to this output is running") from error
