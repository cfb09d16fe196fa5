"""Valid files of every kind that the runtime reads: what the damaged ones are made from."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gen2seg_runtime import Encoding
from gen2seg_runtime.formats import FORMATS, encode_rle
from gen2seg_runtime.instances import Instances
from tests.runtime.conftest import manifest_dict, painting_graph


@dataclass(frozen=True)
class Seeds:
    """Contents of valid files: pictures by suffix, results by format, a bundle, and what they were made from."""

    pictures: list[tuple[str, bytes]]
    results: dict[str, bytes]
    encoding_file: bytes
    graph: bytes
    manifest: dict[str, Any]
    rle: dict[str, Any]
    encoding: Encoding
    found: Instances


def make_seeds(folder: Path) -> Seeds:
    """All of them, always the same; `folder` takes temporary files."""
    rng = np.random.default_rng(5)
    colors = np.zeros((24, 33, 3), np.uint8)
    colors[3:15, 2:14] = (220, 30, 30)
    colors[6:10, 5:9] = 0  # a hole
    colors[10:22, 18:31] = (30, 200, 60)
    encoding = Encoding(colors, (24, 33), bundle_id="0" * 64, bundle_name="painter")
    found = encoding.instances()
    results = {}
    for name, kind in FORMATS.items():
        path = folder / f"seed{kind.suffix}"
        kind.write(path, found, "photo.jpg")
        results[name] = path.read_bytes()
    encoding.save(folder / "seed.enc.png")
    graph = painting_graph().SerializeToString()
    return Seeds(
        pictures=_pictures(rng),
        results=results,
        encoding_file=(folder / "seed.enc.png").read_bytes(),
        graph=graph,
        manifest=manifest_dict({"model.onnx": ("model", graph)}),
        rle=encode_rle(found.labels == 1),
        encoding=encoding,
        found=found,
    )


def _pictures(rng: np.random.Generator) -> list[tuple[str, bytes]]:
    rgb = Image.fromarray(rng.integers(0, 256, (21, 34, 3), np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (21, 34), np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        ("png", _saved(rgb, "PNG")),
        ("png", _saved(deep, "PNG")),
        ("png", _saved(rgb.quantize(16), "PNG", transparency=3)),
        ("png", _saved(rgb.convert("RGBA"), "PNG")),
        ("png", _saved(rgb.convert("1"), "PNG", exif=exif)),
        ("jpg", _saved(rgb, "JPEG", exif=exif)),
        ("jpg", _saved(rgb, "JPEG", progressive=True)),
        ("jpg", _saved(rgb.convert("CMYK"), "JPEG")),
        ("tif", _saved(rgb, "TIFF")),
        ("tif", _saved(deep, "TIFF", compression="tiff_lzw")),
        ("tif", _saved(rgb, "TIFF", compression="tiff_adobe_deflate")),
        ("tif", _saved(rgb, "TIFF", compression="jpeg")),
        ("tif", _saved(Image.fromarray(rng.normal(size=(21, 34)).astype(np.float32)), "TIFF")),
        ("gif", _saved(rgb.quantize(16), "GIF")),
        ("bmp", _saved(rgb, "BMP")),
        ("ppm", _saved(rgb, "PPM")),
        ("webp", _saved(rgb, "WEBP", lossless=True)),
        ("jp2", _saved(rgb, "JPEG2000")),
        ("ico", _saved(rgb.resize((16, 16)), "ICO")),
        ("tga", _saved(rgb, "TGA")),
        ("pcx", _saved(rgb, "PCX")),
        ("sgi", _saved(rgb, "SGI")),
        ("im", _saved(rgb, "IM")),
        ("icns", _saved(rgb.resize((32, 32)), "ICNS")),
        ("avif" if "AVIF" in Image.SAVE else "png", _saved(rgb, "AVIF" if "AVIF" in Image.SAVE else "PNG")),
    ]


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def repacked(archive: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    """An archive whose members were changed, with the right checksums."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return buffer.getvalue()


def json_of(data: bytes) -> Any:
    return json.loads(data)
