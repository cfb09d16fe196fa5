"""Seeded damage to valid files: bytes, PNG chunks with their checksums put right, and JSON documents."""

import copy
import json
import math
import random
import struct
import zlib
from typing import Any

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_EXTREMES = (0, 1, 2, 127, 255, 32_767, 65_535, 65_536, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
ODD_JSON: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1 << 31,
    1 << 64,
    10**400,
    1e308,
    -1e-320,
    math.nan,
    math.inf,
    "",
    "é" * 3000,
    "../../etc/passwd",
    "\x00",
    "\ud800",
    [],
    {},
    [[]],
    [None] * 5,
    [1e9, 1e9],
    {"a": {"b": []}},
)


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    """One to three kinds of damage anywhere in a file."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        _DAMAGE[rng.randrange(len(_DAMAGE))](result, rng)
    return bytes(result)


def _place(data: bytearray, rng: random.Random) -> int:
    """Anywhere, headers more often than their share."""
    limit = len(data) if rng.random() < 0.5 else min(len(data), 80)
    return rng.randrange(limit) if limit else 0


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        if data:
            data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _fill(data: bytearray, rng: random.Random) -> None:
    start = _place(data, rng)
    count = min(rng.randint(1, 40), len(data) - start)
    value = rng.choice((0, 255, None))
    data[start : start + count] = bytes(rng.randrange(256) if value is None else value for _ in range(count))


def _number(data: bytearray, rng: random.Random) -> None:
    """An extreme value where a length, an offset or a side may stand."""
    order, (kind, size) = rng.choice("<>"), rng.choice((("I", 4), ("H", 2), ("Q", 8)))
    start = _place(data, rng)
    if start + size <= len(data):
        data[start : start + size] = struct.pack(order + kind, rng.choice(_EXTREMES) % (1 << 8 * size))


def _insert(data: bytearray, rng: random.Random) -> None:
    start = _place(data, rng)
    data[start:start] = rng.randbytes(rng.randint(1, 60))


def _drop(data: bytearray, rng: random.Random) -> None:
    start = _place(data, rng)
    del data[start : start + rng.randint(1, 60)]


def _repeat(data: bytearray, rng: random.Random) -> None:
    start = _place(data, rng)
    part = bytes(data[start : start + rng.randint(1, 400)])
    data[start:start] = part * rng.randint(1, 5)


_DAMAGE = (_truncate, _flip, _fill, _number, _insert, _drop, _repeat)


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, content) of each chunk of an intact PNG."""
    chunks, place = [], len(_PNG_MAGIC)
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks


def png_file(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, each with the right length and checksum."""
    parts = [struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks]
    return _PNG_MAGIC + b"".join(parts)


def damage_png(data: bytes, rng: random.Random) -> bytes:
    """Damage that the checksums of the chunks do not show."""
    chunks = png_chunks(data)
    index = rng.randrange(len(chunks))
    kind, content = chunks[index]
    what = rng.randrange(6)
    if what == 0:  # a header that promises another picture
        sides = [rng.choice((1, 3, 20_000, 60_000, (1 << 31) - 1, rng.randrange(1 << 32))) for _ in range(2)]
        depth, color, interlace = rng.choice((1, 2, 4, 8, 16, 7)), rng.choice((0, 2, 3, 4, 6, 5)), rng.randrange(3)
        header = struct.pack(">IIBBBBB", sides[0], sides[1], depth, color, 0, 0, interlace)
        chunks[0] = (b"IHDR", header if rng.random() < 0.5 else header[:8] + chunks[0][1][8:])
    elif what == 1:
        chunks[index] = (kind, damage_bytes(content, rng))
    elif what == 2:
        del chunks[index]
    elif what == 3:
        chunks.insert(rng.randrange(len(chunks) + 1), (kind, content))
    elif what == 4:  # text that unpacks to far more than its chunk
        text = zlib.compress(bytes(rng.choice((10, 1 << 24))))
        chunks.insert(1, rng.choice(((b"zTXt", b"a\0\0" + text), (b"iTXt", b"gen2seg\0\1\0\0\0" + text))))
    else:
        unpacked = zlib.decompress(b"".join(c for k, c in chunks if k == b"IDAT"))
        more = unpacked * rng.choice((0, 1, 200)) + rng.randbytes(rng.randrange(50))
        chunks = [c for c in chunks if c[0] not in (b"IDAT", b"IEND")]
        chunks += [(b"IDAT", zlib.compress(more)), (b"IEND", b"")]
    return png_file(chunks)


def damage_json(document: Any, rng: random.Random) -> str:
    """The text of a document with one to three values, keys or characters changed."""
    changed = json.loads(json.dumps(document))
    for _ in range(rng.choice((1, 1, 2, 3))):
        changed = _change(changed, rng)
    text = json.dumps(changed)
    what = rng.randrange(12)
    if what == 0:
        return text[: rng.randrange(len(text) + 1)]
    if what == 1:
        place = rng.randrange(len(text) + 1)
        return text[:place] + rng.choice(('"', "}", ",", "\\u0000", "\\ud800", "9" * 5000, "[" * 50_000)) + text[place:]
    if what == 2:  # a key twice
        return text.replace("{", '{"schema": 1, "schema": 2, ', 1)
    return text


def _change(value: Any, rng: random.Random) -> Any:
    """One change somewhere below `value`, deep places as likely as high ones."""
    inner = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not inner or rng.random() < 0.1:
        if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.5:
            return rng.choice(
                (-value, value + 1, value * 1000, value / 2 if abs(value) < 1e300 else 0.5, repr(value)[:9])
            )
        return copy.deepcopy(rng.choice(ODD_JSON))
    key = rng.choice(inner)
    what = rng.random()
    if what < 0.1:
        del value[key]
    elif what < 0.15 and isinstance(value, dict):
        value[str(key) + "x"] = value.pop(key)
    elif what < 0.2 and isinstance(value, list):
        value.append(copy.deepcopy(value[key]))
    else:
        value[key] = _change(value[key], rng)
    return value
