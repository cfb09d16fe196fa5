"""An Encoding as one PNG: the colours are its pixels, everything else is JSON in an iTXt chunk.

Any viewer shows the colours; the chunk is called "gen2seg" and holds
{"schema": "gen2seg.encoding/1.0", "size": [H, W], "bundle_id": ..., "bundle_name": ...,
 "prompt": {...}, "instances": {...}} with the records as in a bundle's manifest.
"""

import io
import json
import os
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np
from PIL import Image

from gen2seg_runtime import strict_json
from gen2seg_runtime.errors import EncodingFormatError, ImageError, ImageReadError
from gen2seg_runtime.files import SteadyReader, as_path, atomic_write, check_regular
from gen2seg_runtime.images import load_picture, pixel_limit
from gen2seg_runtime.manifest import InstanceSpec, PromptSpec, record_to_dict

SCHEMA = "gen2seg.encoding/1.0"
CHUNK = "gen2seg"


@dataclass(frozen=True)
class EncodingData:
    """What a saved encoding holds; `colors` is (h, w, 3) uint8, `size` (H, W) of the picture."""

    colors: np.ndarray
    size: tuple[int, int]
    bundle_id: str
    bundle_name: str
    prompt: PromptSpec
    instances: InstanceSpec


def write_encoding(path: str | os.PathLike[str], data: EncodingData) -> None:
    """Write the PNG, whatever the file is called.

    Raises:
        OutputError: it cannot be written.
    """
    header = {
        "schema": SCHEMA,
        "size": list(data.size),
        "bundle_id": data.bundle_id,
        "bundle_name": data.bundle_name,
        "prompt": record_to_dict(data.prompt),
        "instances": record_to_dict(data.instances),
    }
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_itxt(CHUNK, json.dumps(header, ensure_ascii=False, allow_nan=False))
    buffer = io.BytesIO()
    Image.fromarray(data.colors).save(buffer, "PNG", pnginfo=info)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def read_encoding(path: str | os.PathLike[str], max_pixels: int | None = None) -> EncodingData:
    """Read what `write_encoding` wrote.

    Args:
        max_pixels: of the colours and of the picture, see `gen2seg_runtime.images.pixel_limit`.
    Raises:
        ImageReadError: the file is missing or cannot be read.
        EncodingFormatError: it is no PNG, damaged, not a saved encoding, one of another major schema or too large.
    """
    limit = pixel_limit(max_pixels)
    path = as_path(path, ImageReadError)
    try:
        check_regular(path, ImageReadError)
        with SteadyReader(path) as file:
            image = _load(file, str(path), limit)
    except OSError as error:
        if isinstance(error, ImageReadError):
            raise
        raise ImageReadError(f"{path}: cannot be read: {error}") from error
    text, mode, colors = image.info.get(CHUNK), image.mode, np.array(image)
    if not isinstance(text, str):
        raise EncodingFormatError(f"{path}: a PNG, but not one that Encoding.save wrote (no {CHUNK!r} chunk)")
    if mode != "RGB":
        raise EncodingFormatError(f"{path}: expected RGB pixels, found mode {mode}; was it edited?")
    return _parse(text, colors, str(path), limit)


def _load(file: BinaryIO, name: str, limit: int) -> Image.Image:
    try:
        return load_picture(file, name, limit, formats=["PNG"])
    except (ImageError, ImageReadError) as error:
        raise EncodingFormatError(f"{name}: not an intact PNG: {error}") from error


def _parse(text: str, colors: np.ndarray, where: str, limit: int) -> EncodingData:
    data = strict_json.parse(text, where, EncodingFormatError)
    strict_json.check_schema(data, where, SCHEMA, EncodingFormatError)
    reader = strict_json.Reader(data, where, EncodingFormatError)
    reader.text("schema")
    result = EncodingData(
        colors=colors,
        size=reader.custom("size", f"[height, width] of at most {limit:,} pixels", partial(_size, limit)),
        bundle_id=reader.text("bundle_id"),
        bundle_name=reader.text("bundle_name"),
        prompt=PromptSpec.read(reader.section("prompt")),
        instances=InstanceSpec.read(reader.section("instances")),
    )
    reader.rest()
    return result


def _size(limit: int, value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(value)
    for side in value:
        if isinstance(side, bool) or not isinstance(side, int) or side < 1:
            raise ValueError(side)
    if value[0] * value[1] > limit:  # masks are made at this size: a damaged file must not fill the memory
        raise ValueError(value)
    return value[0], value[1]
