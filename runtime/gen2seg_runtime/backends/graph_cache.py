"""Optimised graphs kept between processes, so that opening a bundle again need not optimise its graph again.

ONNX Runtime folds constants, fuses nodes and lays weights out for this processor each time a session is made. With
GEN2SEG_GRAPH_CACHE=on what comes of that for a graph without external weights is kept in a folder of the user, under a
name made from all that decides it: the digest of the graph, ONNX Runtime's version and build, the level of
optimisation, and the processor's features. A session made from it computes the same to the bit.

It is off unless asked for: it pays where a graph has many nodes and few weights. What is kept must be read and digested
again, and with float16 weights it is twice the size (docs/robustness.md has the figures).

The folder is the user's own and not the bundle's: what lies in a bundle is checked against its manifest before any
parser sees it, and a manifest cannot know what this machine will make of a graph. Each file ends with a digest of
its content; one that is damaged, belongs to another user or may be written by others is made anew. Where the folder
cannot be written nothing is kept. GEN2SEG_GRAPH_CACHE may also name another folder.
"""

import hashlib
import logging
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gen2seg_runtime.errors import BackendError, OutputError
from gen2seg_runtime.files import atomic_write
from gen2seg_runtime.machine import MACHINE

VARIABLE = "GEN2SEG_GRAPH_CACHE"
ON, OFF = "on", "off"
MOST_BYTES = 1 << 29
FOLDER_BYTES = 2 << 30  # beyond that the files not used for longest go
# The digest at the end is to a protobuf parser a field it does not know (number 1000, 32 bytes): nothing is copied.
_FIELD = bytes((0xC2, 0x3E, 32))
_TAIL = len(_FIELD) + 32
_MAKING = ".making-"
_STALE = 24 * 3600.0  # seconds; nobody makes a graph for so long
_log = logging.getLogger(__name__)


def cache_folder() -> Path | None:
    """Where optimised graphs are kept; None: nowhere.

    Raises:
        BackendError: GEN2SEG_GRAPH_CACHE is neither "on" nor "off" nor an absolute path.
    """
    named = os.environ.get(VARIABLE, "")
    if named in ("", OFF):
        return None
    if named != ON:
        if not Path(named).is_absolute():
            raise BackendError(f"{VARIABLE} must be {ON!r}, {OFF!r} or an absolute path, got {named!r}")
        return Path(named)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "") or os.path.join(os.path.expanduser("~"), ".cache")  # noqa: PTH111, PTH118
    return Path(base) / "gen2seg" / "graphs" if os.path.isabs(base) else None  # noqa: PTH117


def graph_key(digest: str, library: str, level: str) -> str:
    """The name of a graph's optimised form: SHA-256 over all that decides it, in hex.

    Args:
        digest: SHA-256 of the graph, in hex.
        library: version and build of ONNX Runtime.
        level: of optimisation.
    """
    features = " ".join(sorted(MACHINE.cpu_features())) or MACHINE.cpu_name()
    parts = (digest, library, level, sys.platform, features)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def open_optimized(
    graph: bytes,
    key: Callable[[], str],
    plain: Callable[[str | None], Any],
    kept: Callable[[bytes], Any],
) -> Any:
    """A session of a graph, by its kept form where there is one; else that form is made and kept.

    Args:
        graph: its bytes.
        key: gives `graph_key`; asked only where graphs are kept.
        plain: makes a session from the graph, and where a path is given writes the optimised graph there.
        kept: makes a session from an optimised graph.
    Returns:
        What `plain` or `kept` returned.
    Raises:
        what `plain` raises; BackendError as `cache_folder`.
    """
    folder = cache_folder()
    if folder is None or len(graph) > MOST_BYTES:
        return plain(None)
    path = folder / f"{key()}.graph"
    content = _read(path)
    if content is not None:
        try:
            return kept(content)
        except Exception as error:  # the library's errors share no base class; the graph itself is still there
            _log.warning("%s: the library refuses the kept graph, which is made anew: %s", path, error)
    from tempfile import TemporaryDirectory

    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = TemporaryDirectory(prefix=_MAKING, dir=folder, ignore_cleanup_errors=True)
    except OSError as error:
        _log.info("%s: optimised graphs cannot be kept here: %s", folder, error)
        return plain(None)
    with place as making:
        written = Path(making) / "graph.onnx"
        try:
            session = plain(str(written))
        except Exception as error:  # of no common class; where the graph itself is at fault the next line says so
            _log.info("%s: the optimised graph cannot be written here: %s", folder, error)
            return plain(None)
        _keep(path, written)
    return session


def _read(path: Path) -> bytes | None:
    """The optimised graph in a file that is whole and the user's own; None where there is none such."""
    try:
        with path.open("rb") as file:
            if not _own(os.fstat(file.fileno())):
                _log.warning("%s: belongs to somebody else or may be written by others; not used", path)
                return None
            data = file.read()
    except OSError:
        return None
    if data[-_TAIL:] != _FIELD + hashlib.sha256(memoryview(data)[:-_TAIL]).digest():
        _log.warning("%s: damaged, made anew", path)
        return None
    with suppress(OSError):
        os.utime(path)  # so that what is used stays
    return data


def _own(status: os.stat_result) -> bool:
    if not stat.S_ISREG(status.st_mode):
        return False
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _keep(path: Path, written: Path) -> None:
    try:
        content = written.read_bytes()
        with atomic_write(path) as file:
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.write(_FIELD + hashlib.sha256(content).digest())
        _prune(path)
    except (OSError, OutputError) as error:  # a full disk must not keep the session from working
        _log.info("%s: the optimised graph was not kept: %s", path, error)


def _prune(newest: Path) -> None:
    """Remove what killed processes left, and the files not used for longest until the folder is within its bound."""
    for left in newest.parent.glob(f"{_MAKING}*"):
        if time.time() - left.stat().st_mtime > _STALE:
            shutil.rmtree(left, ignore_errors=True)
    files = [(item.stat().st_mtime, item.stat().st_size, item) for item in newest.parent.glob("*.graph")]
    total = sum(size for _, size, _ in files)
    for _, size, item in sorted(files):
        if total <= FOLDER_BYTES:
            return
        if item != newest:
            item.unlink(missing_ok=True)
            total -= size
