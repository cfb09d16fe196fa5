"""Open a bundle: a folder with bundle.json, the model and its goldens.

Nothing of a bundle reaches a parser (ONNX, PNG) before its size and SHA-256 were compared with the
manifest. What `read` hands on (graphs, goldens) are the very bytes that were compared, so that a file
changed between check and use cannot slip in. Weights may be larger than the memory: `buffer` maps them from
the very file that was digested and keeps that mapping, so that another file put in its place cannot slip in
either; only somebody who may write into the file itself could still change what is read, as they could
change a program's own files. Symbolic links inside a bundle are refused. Hard links are not: package
installers link wheel content from their caches, and a hard link cannot point outside what the digest
pins.
"""

import hashlib
import mmap
import os
import posixpath
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from gen2seg_runtime.errors import BundleError, BundleIntegrityError, BundleIOError, BundleSchemaError
from gen2seg_runtime.files import as_path
from gen2seg_runtime.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, FileRecord, Manifest, StageSpec

DEFAULT_BUNDLE = "gen2seg-tiny"
_CHUNK = 1 << 20
_MAPPED_ROLES = ("model_data", "artifact")  # large, and mapped by `buffer` in place of read


def default_bundle_path() -> Path:
    """The folder of the bundle that comes with this package.

    Raises:
        BundleError: this installation holds none.
    """
    path = Path(__file__).parent / "models" / DEFAULT_BUNDLE
    if not (path / MANIFEST_NAME).is_file():
        raise BundleError(
            f"this installation has no embedded model ({DEFAULT_BUNDLE}); pass the path of a bundle "
            "or install the gen2seg wheel again"
        )
    return path


class Bundle:
    """A verified bundle. Make one with `Bundle.open`.

    Attributes:
        root: the folder, absolute.
        manifest: what bundle.json says.
        id: SHA-256 of bundle.json, which pins every other file.
    """

    def __init__(self, root: Path, manifest: Manifest, bundle_id: str):
        self.root = root
        self.manifest = manifest
        self.id = bundle_id
        self._graphs: dict[str, bytes] = {}
        self._maps: dict[str, memoryview] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None) -> Self:
        """Open a bundle and verify every file that its manifest lists, in one pass over each.

        Args:
            path: the bundle's folder; None: the one that comes with this package.
        Raises:
            BundleSchemaError: bundle.json cannot be understood, see `Manifest.from_json`.
            BundleIntegrityError: a listed file is missing, a link, of another size or digest.
            BundleIOError: the folder or a file cannot be read.
            BundleError: no path was given and no bundle is embedded.
        """
        root = (default_bundle_path() if path is None else as_path(path, BundleIOError)).absolute()
        try:
            present = root.is_dir()
        except OSError as error:  # a name that is too long, a folder above that may not be searched
            raise BundleIOError(f"{root}: cannot be opened: {error}") from error
        if not present:
            raise BundleIOError(f"{root}: no such bundle folder")
        with _open_inside(root, MANIFEST_NAME) as file:
            text = file.read(MAX_MANIFEST_BYTES + 1)
        if len(text) > MAX_MANIFEST_BYTES:
            raise BundleSchemaError(f"{root / MANIFEST_NAME}: larger than {MAX_MANIFEST_BYTES} bytes")
        manifest = Manifest.from_json(text, str(root / MANIFEST_NAME))
        bundle = cls(root, manifest, hashlib.sha256(text).hexdigest())
        for record in manifest.files:
            bundle._verify(record)
        return bundle

    def release(self) -> None:
        """Let go of graphs and mapped files once a backend has its own; they are verified again if needed."""
        self._graphs.clear()
        self._maps.clear()

    def read(self, path: str) -> bytes:
        """The content of a listed file: exactly the bytes that were compared with its digest.

        Raises:
            BundleIntegrityError: the manifest does not list it, or it is not the file it lists.
            BundleIOError: it cannot be read.
        """
        if path in self._graphs:
            return self._graphs[path]
        record = self._record(path)
        with _open_inside(self.root, path) as file:
            self._check_size(record, file)
            data = _read(file, record.bytes + 1, self.root / path)  # one more than promised: a file that grows shows
        self._check_digest(record, hashlib.sha256(data).hexdigest())
        return data

    def buffer(self, path: str) -> memoryview:
        """The content of a listed file as read-only bytes, mapped and not copied (see the head of this file).

        Raises:
            as `read`.
        """
        if path not in self._maps:
            self._maps[path] = self._map(self._record(path))
        return self._maps[path]

    def external_data(self, stage: StageSpec) -> dict[str, memoryview]:
        """External weights (role "model_data") beside a stage's graph: name in the graph -> `buffer`."""
        folder = posixpath.dirname(stage.path)
        records = [record for record in self.manifest.files if record.role == "model_data"]
        return {posixpath.relpath(record.path, folder or "."): self.buffer(record.path) for record in records}

    def _record(self, path: str) -> FileRecord:
        try:
            return self.manifest.file(path)
        except KeyError:
            raise BundleIntegrityError(f"{self.root}: {path!r} is not listed in {MANIFEST_NAME}") from None

    def _verify(self, record: FileRecord) -> None:
        if record.role == "model":
            self._graphs[record.path] = self.read(record.path)
        elif record.role in _MAPPED_ROLES:
            self.buffer(record.path)
        else:
            with _open_inside(self.root, record.path) as file:
                _exhaust(self._verified_chunks(record, file))

    def _map(self, record: FileRecord) -> memoryview:
        with _open_inside(self.root, record.path) as file:
            _exhaust(self._verified_chunks(record, file))
            if record.bytes == 0:  # what cannot be mapped
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def _verified_chunks(self, record: FileRecord, file: BinaryIO) -> Iterator[bytes]:
        digest = hashlib.sha256()
        self._check_size(record, file)
        # At most one byte more than promised: a file growing under us must not fill the memory.
        left = record.bytes + 1
        while left and (chunk := _read(file, min(_CHUNK, left), self.root / record.path)):
            digest.update(chunk)
            left -= len(chunk)
            yield chunk
        self._check_digest(record, digest.hexdigest())

    def _check_size(self, record: FileRecord, file: BinaryIO) -> None:
        size = os.fstat(file.fileno()).st_size
        if size != record.bytes:
            raise BundleIntegrityError(
                f"{self.root / record.path}: {size} bytes, the manifest says {record.bytes}; "
                "the file is truncated or was changed: fetch or export the bundle again"
            )

    def _check_digest(self, record: FileRecord, digest: str) -> None:
        if digest != record.sha256:
            raise BundleIntegrityError(
                f"{self.root / record.path}: its SHA-256 is {digest}, the manifest says "
                f"{record.sha256}; the file was changed: fetch or export the bundle again"
            )


def _exhaust(chunks: Iterator[bytes]) -> None:
    for _ in chunks:
        pass


def _read(file: BinaryIO, count: int, name: Path) -> bytes:
    try:
        return file.read(count)
    except OSError as error:
        raise BundleIOError(f"{name}: cannot be read: {error}") from error


def _open_inside(root: Path, path: str) -> BinaryIO:
    """Open a regular file under `root`; no part of its path below `root` may be a link."""
    place = root
    try:
        for part in path.split("/"):
            place = place / part
            if place.is_symlink():
                raise BundleIntegrityError(f"{place}: is a symbolic link; a bundle holds plain files only")
        if not stat.S_ISREG(place.lstat().st_mode):
            raise BundleIntegrityError(f"{place}: is not a regular file")
        # O_NOFOLLOW: the name could have become a link since; O_NONBLOCK: or a pipe that never answers.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        return os.fdopen(os.open(place, flags), "rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleIntegrityError(f"{root / path}: missing from the bundle") from error
    except OSError as error:
        raise BundleIOError(f"{place}: cannot be opened: {error}") from error
