"""An Encoding as one PNG: the colours are its pixels, everything else is JSON in an iTXt chunk.

Any viewer shows the colours; the chunk is called "gen2seg" and holds
{"schema": "gen2seg.encoding/1.0", "size": [H, W], "bundle_id": ..., "bundle_name": ...,
 "prompt": {...}, "instances": {...}} with the records as in a bundle's manifest.
"""

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from gen2seg_runtime import strict_json
from gen2seg_runtime.errors import EncodingFormatError, ImageReadError
from gen2seg_runtime.files import atomic_write
from gen2seg_runtime.images import pixel_limit
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
    info = PngImagePlugin.PngInfo()
    info.add_itxt(CHUNK, json.dumps(header, ensure_ascii=False, allow_nan=False))
    buffer = io.BytesIO()
    Image.fromarray(data.colors).save(buffer, "PNG", pnginfo=info)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def read_encoding(path: str | os.PathLike[str]) -> EncodingData:
    """Read what `write_encoding` wrote.

    Raises:
        ImageReadError: the file is missing or cannot be read.
        EncodingFormatError: it is no PNG, damaged, not a saved encoding or one of another major schema.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ImageReadError(f"{path}: cannot be read: {error}") from error
    try:
        with Image.open(io.BytesIO(raw), formats=["PNG"]) as image:
            image.load()
            text = image.info.get(CHUNK)
            mode = image.mode
            colors = np.array(image)
    # a damaged PNG shows as whatever its parser stumbles over
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise EncodingFormatError(f"{path}: not an intact PNG: {error}") from error
    if not isinstance(text, str):
        raise EncodingFormatError(f"{path}: a PNG, but not one that Encoding.save wrote (no {CHUNK!r} chunk)")
    if mode != "RGB":
        raise EncodingFormatError(f"{path}: expected RGB pixels, found mode {mode}; was it edited?")
    return _parse(text, colors, str(path))


def _parse(text: str, colors: np.ndarray, where: str) -> EncodingData:
    data = strict_json.parse(text, where, EncodingFormatError)
    strict_json.check_schema(data, where, SCHEMA, EncodingFormatError)
    reader = strict_json.Reader(data, where, EncodingFormatError)
    reader.text("schema")
    result = EncodingData(
        colors=colors,
        size=reader.custom("size", f"[height, width] of at most {pixel_limit():,} pixels", _size),
        bundle_id=reader.text("bundle_id"),
        bundle_name=reader.text("bundle_name"),
        prompt=PromptSpec.read(reader.section("prompt")),
        instances=InstanceSpec.read(reader.section("instances")),
    )
    reader.rest()
    return result


def _size(value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(value)
    for side in value:
        if isinstance(side, bool) or not isinstance(side, int) or side < 1:
            raise ValueError(side)
    if value[0] * value[1] > pixel_limit():  # masks are made at this size: a damaged file must not fill the memory
        raise ValueError(value)
    return value[0], value[1]
