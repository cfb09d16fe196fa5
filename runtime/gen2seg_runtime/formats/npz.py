"""NumPy archives: labels and records in arrays, nothing pickled."""

import io
import os
import struct
import tokenize
import zipfile
import zlib
from typing import Any

import numpy as np

from gen2seg_runtime.errors import ImageError, ImageReadError
from gen2seg_runtime.files import as_path, atomic_write, check_regular
from gen2seg_runtime.formats.shapes import check_size
from gen2seg_runtime.instances import InstanceRecord, Instances

# name -> (type, sides after the number of instances)
_ARRAYS = {
    "area": (np.int64, ()),
    "box": (np.int64, (4,)),
    "score": (np.float64, ()),
    "color": (np.uint8, (3,)),
    "center": (np.int64, (2,)),
}
# What the readers of archives and of array headers stumble over in damaged files.
_DAMAGE = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    tokenize.TokenError,
    SyntaxError,
    ValueError,
    TypeError,
    RuntimeError,
    OverflowError,
    EOFError,
)


def write_npz(path: str | os.PathLike[str], instances: Instances) -> None:
    """Write labels (H, W) int32 and, for instance i + 1 in row i: area, box, score, color and center.

    Raises:
        OutputError: the file cannot be written.
    """
    records = instances.records
    arrays: dict[str, Any] = {"labels": instances.labels}
    for name, (kind, sides) in _ARRAYS.items():
        arrays[name] = np.array([getattr(record, name) for record in records], kind).reshape(len(records), *sides)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def read_npz(path: str | os.PathLike[str]) -> Instances:
    """Read what `write_npz` wrote.

    Raises:
        ImageReadError: the file cannot be read or is no archive.
        ImageError: it lacks an array, one has another type or shape, or the picture is too large.
    """
    path = as_path(path, ImageReadError)
    where = str(path)
    try:
        check_regular(path, ImageReadError)
        with zipfile.ZipFile(path) as archive:
            labels = _read(archive, "labels", np.dtype(np.int32), where, 0)
            # No instance is smaller than a pixel: what claims to hold more is not read.
            columns = {
                name: _read(archive, name, np.dtype(kind), where, labels.size) for name, (kind, _) in _ARRAYS.items()
            }
    except (ImageError, ImageReadError):
        raise
    except _DAMAGE as error:
        raise ImageReadError(f"{where}: cannot be read as an archive: {error}") from error
    count = len(columns["area"])
    for name, (_, sides) in _ARRAYS.items():
        if columns[name].shape != (count, *sides):
            raise ImageError(f"{where}: {name} has the shape {columns[name].shape}, expected (instances, {sides})")
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) <= count:
        raise ImageError(f"{where}: labels must run from 0 to {count}, found {labels.min()}..{labels.max()}")
    if not np.isfinite(columns["score"]).all():
        raise ImageError(f"{where}: score holds NaN or infinity")
    labels.flags.writeable = False
    records = [
        InstanceRecord(
            id=i + 1,
            area=int(columns["area"][i]),
            box=_four(columns["box"][i]),
            score=float(columns["score"][i]),
            color=_three(columns["color"][i]),
            center=(int(columns["center"][i, 0]), int(columns["center"][i, 1])),
        )
        for i in range(count)
    ]
    return Instances(labels, records)


def _read(archive: zipfile.ZipFile, name: str, kind: np.dtype, where: str, most: int) -> np.ndarray:
    """One array, its header checked before memory is set aside for it; of at most `most` rows unless it is labels."""
    try:
        with archive.open(f"{name}.npy") as file:
            version = np.lib.format.read_magic(file)
            reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, fortran, found = reader(file)
            if found != kind or fortran:
                raise ImageError(f"{where}: {name} is {found}, expected {kind} row by row")
            if any(side < 0 for side in shape):
                raise ImageError(f"{where}: {name} has the shape {shape}")
            if name == "labels":
                if len(shape) != 2:
                    raise ImageError(f"{where}: labels must be (H, W), found {shape}")
                check_size(*shape, where)
            elif shape[1:] != _ARRAYS[name][1] or not shape or shape[0] > most:
                raise ImageError(f"{where}: {name} has the shape {shape}")
            size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
            data = file.read(size)
            if len(data) != size or file.read(1):
                raise ImageError(f"{where}: {name} holds another number of bytes than its header says")
    except ImageError:
        raise
    except (*_DAMAGE, KeyError) as error:
        raise ImageError(f"{where}: no intact array {name!r}: {error}") from error
    return np.frombuffer(bytearray(data), kind).reshape(shape)


def _four(row: np.ndarray) -> tuple[int, int, int, int]:
    return int(row[0]), int(row[1]), int(row[2]), int(row[3])


def _three(row: np.ndarray) -> tuple[int, int, int]:
    return int(row[0]), int(row[1]), int(row[2])
