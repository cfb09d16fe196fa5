"""Write a file or a folder so that nobody ever sees half of it.

Both context managers write beside the target under a hidden temporary name and rename on success.
When the block raises, or the process is interrupted, what was there before is still there.
"""

import io
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from gen2seg_runtime.errors import Gen2SegError, OutputError, OutputExistsError

_SMALL_READ = 1 << 16
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux


class SteadyReader(io.BufferedReader):
    """A file read in pieces no larger than the file.

    Parsers ask for as many bytes as a damaged header says, and Python sets that much memory aside first.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _SMALL_READ:
            size = max(0, min(size, self._size - self.tell()))
        return super().read(size)


def as_path(value: Any, error: type[Gen2SegError]) -> Path:
    """A path argument (str, bytes or os.PathLike) as a Path.

    Raises:
        error: another type, or characters that no file name can have.
    """
    try:
        text = os.fsdecode(value)
        raw = os.fsencode(text)
    except (TypeError, ValueError) as problem:
        raise error(f"a path is a string or os.PathLike, got {type(value).__name__}: {problem}") from problem
    if b"\0" in raw:
        raise error(f"{text!r}: a path cannot hold a zero character")
    return Path(text)


def check_regular(path: Path, error: type[Gen2SegError]) -> None:
    """Raises `error` unless the path is a regular file: a pipe or a device would never end."""
    if not path.exists():
        raise error(f"{path}: no such file")
    if not path.is_file():
        raise error(f"{path}: not a regular file")


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` when the block ends without an error.

    Args:
        path: the file to write; its folder must exist. An existing regular file is replaced,
            a symbolic link to one is followed.
    Yields:
        A writable binary file object.
    Raises:
        OutputError: the folder is missing or not writable, or `path` is a folder or a device
            (replacing /dev/null would break the machine).
    """
    target = _output_file(path)
    temporary = _temporary_sibling(target)
    try:
        # 0o666 under the user's umask: mkstemp's 0o600 would make results unreadable for others.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise OutputError(f"{target}: cannot write here: {error}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """As `atomic_write`, for libraries that open files by name: the path of a file to write, with the suffix of
    `path`, which replaces `path` when the block ends without an error.

    Raises:
        as `atomic_write`; and OutputError if the block wrote no file.
    """
    target = _output_file(path)
    temporary = _temporary_sibling(target).with_suffix(target.suffix)
    try:
        yield temporary
        try:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{target}: nothing was written: {error}") from error
        _replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


@contextmanager
def atomic_directory(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Fill a temporary folder that becomes `path` when the block ends without an error.

    Args:
        path: the folder to make; its parent must exist.
        overwrite: replace an existing folder (its old content is deleted after the new one is in
            place). A file, a symbolic link, the working folder and its parents are never replaced.
    Yields:
        The path of an empty temporary folder beside `path`.
    Raises:
        OutputExistsError: `path` exists and `overwrite` is false.
        OutputError: the parent is missing or not writable, or `path` may not be replaced.
    """
    target = check_output_directory(path, overwrite)
    temporary = _temporary_sibling(target)
    try:
        temporary.mkdir()
    except OSError as error:
        raise OutputError(f"{target}: cannot write here: {error}") from error
    try:
        yield temporary
        publish_directory(temporary, target, overwrite)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def publish_directory(source: Path, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Rename a finished folder to `path`, on the same file system, after its content is safely on disk.

    Raises:
        as `atomic_directory`.
    """
    target = check_output_directory(path, overwrite)
    _sync_tree(source)
    _swap_in(source, target)
    _sync_folder(target.parent)


def check_output_directory(path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """The absolute form of `path`, if a folder may be put there; to be asked before long work.

    Raises:
        as `atomic_directory`.
    """
    target = Path(os.path.abspath(as_path(path, OutputError)))  # noqa: PTH100 - resolve() would follow a link we must see
    _check_parent(target)
    _check_replaceable(target, overwrite)
    return target


def _output_file(path: str | os.PathLike[str]) -> Path:
    target = Path(os.path.realpath(as_path(path, OutputError)))
    _check_parent(target)
    if target.exists() and not target.is_file():
        raise OutputError(f"{target}: exists and is not a regular file; choose another name")
    return target


def _temporary_sibling(target: Path) -> Path:
    return target.parent / f".{target.name[:80]}.{secrets.token_hex(6)}.tmp"


def _check_parent(target: Path) -> None:
    try:
        target.lstat()  # a name that is too long shows itself here, as an OSError that is no FileNotFoundError
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise OutputError(f"{target}: cannot write here: {error}") from error
    if not target.parent.is_dir():
        raise OutputError(f"{target}: the folder {target.parent} does not exist")


def _check_replaceable(target: Path, overwrite: bool) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise OutputExistsError(f"{target}: exists and is not a folder; choose another name")
    if not target.exists():
        return
    if not overwrite:
        raise OutputExistsError(f"{target}: exists already; remove it, choose another name or ask to overwrite")
    if target == Path.cwd() or target in Path.cwd().parents:
        raise OutputError(f"{target}: holds the working folder and is never overwritten")


def _replace(temporary: Path, target: Path) -> None:
    try:
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be replaced: {error}") from error


def _swap_in(temporary: Path, target: Path) -> None:
    """Rename `temporary` to `target`; a folder already there is put back if that fails."""
    if not target.exists():
        _replace(temporary, target)
        return
    if _exchange(temporary, target):
        shutil.rmtree(temporary, ignore_errors=True)
        return
    old = _temporary_sibling(target)
    _replace(target, old)
    try:
        _replace(temporary, target)
    except BaseException:
        old.replace(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step, so that a process killed here leaves no moment without the second; False where the
    system cannot (Linux' renameat2 with RENAME_EXCHANGE)."""
    if sys.platform != "linux":
        return False
    import ctypes

    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    return rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0


def _sync_tree(folder: Path) -> None:
    """Ask the system to put every file of `folder` on disk, so that the rename cannot outrun them."""
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if file.is_file() and not file.is_symlink():
                with file.open("rb") as handle, suppress(OSError):
                    os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    # Not every system lets a folder be opened; the rename is then only as durable as it makes it.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
