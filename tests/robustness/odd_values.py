"""Arguments that callers hand over by mistake: arrays of odd types and layouts, points, boxes, numbers, paths."""

import math
import random
from pathlib import Path
from typing import Any

import numpy as np

_DTYPES = [
    *("bool", "u1", "i1", "u2", ">u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", ">f4", "f8", ">f8", "g"),
    *("c8", "c16", "O", "S3", "U2", "M8[s]", "V4"),
]
_SHAPES = [(), (0,), (3,), (5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4), (5, 7, 2), (1, 1), (1, 1, 3), (0, 4), (4, 0, 3)]
_SHAPES += [(2, 5, 7, 3), (1, 90), (90, 1, 3), (3, 5, 7), (2000, 1000)]
_NUMBERS = [0, 1, -1, 2**31, 2**64, 10**400, 0.5, -0.0, 1e-320, 1e308, math.nan, math.inf, -math.inf]
_OTHERS: list[Any] = [None, True, "", "abc", b"", b"abc", [], (), {}, set(), [[]], [1, [2, 3]], object(), int, len]


class Hostile:
    """Answers nothing."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("no array")

    def __len__(self) -> int:
        raise TypeError("no length")

    def __fspath__(self) -> str:
        raise TypeError("no path")


def array(rng: random.Random) -> np.ndarray:
    """Any type, shape, byte order and layout; at times extreme or no finite numbers."""
    kind = np.dtype(rng.choice(_DTYPES))
    shape = rng.choice(_SHAPES)
    size = math.prod(shape)
    if kind.kind == "O":
        result = np.empty(shape, object)
        if shape:
            result[...] = rng.choice(_NUMBERS)
    else:
        result = np.frombuffer(bytearray(rng.randbytes(max(1, size * kind.itemsize))), kind, count=size).reshape(shape)
    if kind.kind in "fc" and rng.random() < 0.6:
        fill = rng.choice([0.0, 1.0, -5e-324, 1e-40, 6e-8, 6e4, 3e38, math.nan, math.inf])
        with np.errstate(all="ignore"):
            result = np.where(np.arange(size).reshape(shape) % 3 == 0, fill, 0).astype(kind)
    layout = rng.randrange(6)
    if layout == 0:
        result = np.asfortranarray(result)
    elif layout == 1 and result.ndim:
        result = result[::-1]
    elif layout == 2 and result.ndim > 1:
        result = result[:, ::-2]
    elif layout == 3 and result.ndim > 1:
        result = result.swapaxes(0, 1)
    elif layout == 4 and result.ndim and size:
        result = np.broadcast_to(result[:1], shape)
    elif layout == 5:
        result.flags.writeable = False
    if rng.random() < 0.05 and kind.kind in "uif":
        return np.ma.masked_array(result, mask=np.ones(result.shape, bool))
    return result


def number(rng: random.Random) -> Any:
    kinds = (np.float32, np.float64, np.array)
    with np.errstate(all="ignore"):
        value = rng.choice(_NUMBERS)
        return value if rng.random() < 0.7 or abs(value) > 1e300 else rng.choice(kinds)(value)


def anything(rng: random.Random) -> Any:
    what = rng.randrange(4)
    if what == 0:
        return array(rng)
    if what == 1:
        return number(rng)
    if what == 2:
        return Hostile()
    return rng.choice(_OTHERS)


def points(rng: random.Random) -> Any:
    if rng.random() < 0.3:
        return anything(rng)
    return [
        tuple(_coordinate(rng) for _ in range(rng.choice((2, 2, 2, 1, 3)))) for _ in range(rng.choice((1, 1, 2, 3)))
    ]


def labels(rng: random.Random) -> Any:
    if rng.random() < 0.5:
        return rng.choice((None, [1], [0], [1, 0], [0, 0], [1, 0, 1], [2], [math.nan], ["1"], [True], [[1]]))
    return anything(rng)


def box(rng: random.Random) -> Any:
    if rng.random() < 0.3:
        return anything(rng)
    return [_coordinate(rng) for _ in range(rng.choice((4, 4, 4, 3, 5)))]


def options(rng: random.Random) -> dict[str, Any]:
    names = ("distance", "connected", "sigma", "threshold", "unknown", "background", "min_area")
    return {name: anything(rng) if rng.random() < 0.4 else number(rng) for name in rng.sample(names, rng.randrange(3))}


def mode(rng: random.Random) -> Any:
    return rng.choice((None, None, "metric", "metric", "reference", "Metric", 5, [], {}))


def path(rng: random.Random, folder: Path) -> Any:
    names = ("missing.png", "a" * 300, "a\0b", "", ".", "..", "\ud800", "missing/deep.png", "folder")
    if rng.random() < 0.3:
        return anything(rng)
    if rng.random() < 0.1:
        return Path("/dev/null")
    return folder / rng.choice(names)


def _coordinate(rng: random.Random) -> Any:
    return rng.choice(_NUMBERS) if rng.random() < 0.3 else rng.choice((rng.randrange(-2, 40), rng.uniform(-2, 40)))
