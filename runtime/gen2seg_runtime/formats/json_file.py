"""JSON documents in files: compact, written whole; read with a limit on their size."""

import json
import os
from typing import Any

from gen2seg_runtime import strict_json
from gen2seg_runtime.errors import ImageError, ImageReadError
from gen2seg_runtime.files import as_path, atomic_write, check_regular

MAX_BYTES = 1 << 30


def write_json(path: str | os.PathLike[str], document: dict[str, Any]) -> None:
    """Write a JSON document.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_write(path) as file:
        file.write(json.dumps(document, separators=(",", ":"), allow_nan=False).encode())


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ImageReadError: the file is missing or cannot be read.
        ImageError: it is above 1 GiB or no strict JSON object.
    """
    return strict_json.parse(read_text(path), str(path), ImageError)


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file; errors as `read_json`."""
    path = as_path(path, ImageReadError)
    try:
        check_regular(path, ImageReadError)
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"{path}: larger than {MAX_BYTES:,} bytes")
        data = path.read_bytes()
    except OSError as error:
        if isinstance(error, ImageReadError):
            raise
        raise ImageReadError(f"{path}: cannot be read: {error}") from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ImageError(f"{path}: not UTF-8 text: {error}") from error
