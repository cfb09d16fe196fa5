"""The public entries of the runtime, each called once with something broken.

An entry takes a `Case` and returns what came out, after checking that a result that did come out is a valid one;
errors are the harness's business. Entries of files damage a valid file first.
"""

import contextlib
import io
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gen2seg.cli import main
from gen2seg_runtime import Bundle, Encoding, Manifest, Segmenter, read_image
from gen2seg_runtime.errors import BundleIntegrityError
from gen2seg_runtime.formats import (
    decode_rle,
    read_geojson,
    read_label_png,
    read_labelme,
    read_npz,
    read_svg,
    write_label_png,
    write_mask_png,
    write_png,
)
from gen2seg_runtime.instances import find_instances
from gen2seg_runtime.verify import read_float32
from tests.robustness import mutations, odd_values
from tests.robustness.seeds import Seeds, json_of, repacked
from tests.runtime.conftest import manifest_dict


@dataclass
class Case:
    """What an entry draws from: chance, valid files, an opened model, a folder of its own."""

    rng: random.Random
    seeds: Seeds
    segmenter: Segmenter
    folder: Path

    def file(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path


Entry = Callable[[Case], object]


def _damaged(case: Case, suffix: str, data: bytes) -> bytes:
    if suffix == "png" and case.rng.random() < 0.5:
        return mutations.damage_png(data, case.rng)
    return mutations.damage_bytes(data, case.rng)


def _valid_picture(picture: np.ndarray) -> None:
    assert picture.dtype == np.uint8, picture.dtype
    assert picture.ndim == 3, picture.shape
    assert picture.shape[2] == 3, picture.shape
    assert picture.size, picture.shape
    assert picture.flags.c_contiguous


def _valid_labels(labels: np.ndarray) -> None:
    assert labels.dtype == np.int32, labels.dtype
    assert labels.ndim == 2, labels.shape


def _valid_mask(mask: np.ndarray, shape: tuple[int, ...]) -> None:
    assert mask.dtype == bool, mask.dtype
    assert mask.shape == shape, mask.shape


def picture_file(case: Case) -> object:
    suffix, data = case.rng.choice(case.seeds.pictures)
    picture = read_image(case.file(f"a.{suffix}", _damaged(case, suffix, data)))
    _valid_picture(picture)
    return picture


def picture_object(case: Case) -> object:
    """A PIL image that its caller opened: lazily, on damaged bytes, or closed already."""
    suffix, data = case.rng.choice(case.seeds.pictures)
    try:
        image = Image.open(io.BytesIO(_damaged(case, suffix, data)))
    except Exception:  # Pillow's own to refuse
        return None
    if case.rng.random() < 0.2:
        image.close()
    picture = read_image(image)
    _valid_picture(picture)
    return picture


def picture_array(case: Case) -> object:
    picture = read_image(odd_values.array(case.rng))
    _valid_picture(picture)
    return picture


def picture_anything(case: Case) -> object:
    source = odd_values.path(case.rng, case.folder) if case.rng.random() < 0.5 else odd_values.anything(case.rng)
    limit = None if case.rng.random() < 0.5 else odd_values.anything(case.rng)
    picture = read_image(source, max_pixels=limit)
    _valid_picture(picture)
    return picture


def encode(case: Case) -> object:
    what = case.rng.randrange(3)
    if what == 0:
        encoding = case.segmenter.encode(odd_values.array(case.rng))
    elif what == 1:
        batch: Any = case.rng.choice((1, 2, 0, "2", None))
        images = case.rng.choice(([odd_values.array(case.rng)], odd_values.anything(case.rng), []))
        return case.segmenter.encode_batch(images, batch=batch)
    else:
        picture = np.zeros((70, 90, 3), np.uint8)
        tile, overlap = odd_values.number(case.rng), odd_values.anything(case.rng)
        encoding = case.segmenter.encode_tiled(picture, tile=tile, overlap=overlap)
    assert encoding.colors.dtype == np.uint8
    return encoding


def encoding_file(case: Case) -> object:
    rng, data = case.rng, case.seeds.encoding_file
    if rng.random() < 0.5:
        chunks = mutations.png_chunks(data)
        place = next(i for i, chunk in enumerate(chunks) if chunk[0] == b"iTXt")
        head, text = chunks[place][1][:12], chunks[place][1][12:]
        changed = mutations.damage_json(json_of(text), rng)
        chunks[place] = (b"iTXt", head + changed.encode("utf-8", "surrogatepass"))
        data = mutations.png_file(chunks)
    else:
        data = _damaged(case, "png", data)
    encoding = Encoding.load(case.file("a.enc.png", data))
    height, width = encoding.size
    _valid_mask(encoding.mask([(0, 0)]), (height, width))
    _valid_labels(encoding.instances().labels)
    return encoding


def encoding_made(case: Case) -> object:
    good = np.zeros((4, 5, 3), np.uint8)
    colors = good if case.rng.random() < 0.5 else odd_values.array(case.rng)
    size = (4, 5) if case.rng.random() < 0.3 else odd_values.box(case.rng)
    return Encoding(colors, size, bundle_id="a", bundle_name="b")  # type: ignore[arg-type]


def prompt(case: Case) -> object:
    rng, encoding = case.rng, case.seeds.encoding
    mode, options = odd_values.mode(rng), odd_values.options(rng)
    what = rng.randrange(5)
    if what == 0:
        mask: Any = encoding.mask(odd_values.points(rng), odd_values.labels(rng), mode, **options)
    elif what == 1:
        prompts = [odd_values.points(rng) for _ in range(rng.randrange(3))]
        given: Any = rng.choice((prompts, odd_values.anything(rng)))
        labels: Any = rng.choice((None, odd_values.anything(rng), [odd_values.labels(rng)]))
        masks = encoding.masks(given, labels, mode, **options)
        _valid_mask(masks, (len(given), *encoding.size))
        return masks
    elif what == 2:
        mask = encoding.mask_box(odd_values.box(rng), mode, clip=rng.random() < 0.5, **options)
    elif what == 3:
        region = odd_values.anything(rng) if rng.random() < 0.7 else np.ones(encoding.size, bool)
        mask = encoding.mask_like(region, mode, **options)
    else:
        after: Any = rng.choice((None, None, odd_values.anything(rng)))
        label = rng.choice((0, 1, odd_values.anything(rng)))
        point = (rng.randrange(33), rng.randrange(24)) if rng.random() < 0.5 else odd_values.anything(rng)
        mask = encoding.refine(point, label, after, mode, **options).mask
    _valid_mask(mask, encoding.size)
    return mask


def instances(case: Case) -> object:
    rng = case.rng
    if rng.random() < 0.5:
        names = ("distance", "background", "min_area", "fill_holes", "hierarchy", "most")
        values: dict[str, Any] = {k: odd_values.number(rng) for k in names if rng.random() < 0.4}
        if rng.random() < 0.5:
            values["hierarchy"] = True
        found = case.seeds.encoding.instances(**values)
    else:
        found = find_instances(odd_values.array(rng))
    _valid_labels(found.labels)
    return found


def labels_file(case: Case) -> object:
    labels = read_label_png(case.file("a.png", _damaged(case, "png", case.seeds.results["png"])))
    _valid_labels(labels)
    return labels


def npz_file(case: Case) -> object:
    rng, data = case.rng, case.seeds.results["npz"]
    if rng.random() < 0.5:
        victim = rng.choice(("labels", "area", "box", "score", "color", "center"))
        data = repacked(data, lambda name, old: mutations.damage_bytes(old, rng) if name.startswith(victim) else old)
    else:
        data = mutations.damage_bytes(data, rng)
    found = read_npz(case.file("a.npz", data))
    _valid_labels(found.labels)
    return found


def polygons_file(case: Case) -> object:
    name, read = case.rng.choice((("geojson", read_geojson), ("labelme", read_labelme), ("svg", read_svg)))
    data = case.seeds.results[name]
    if name == "svg" or case.rng.random() < 0.3:
        data = mutations.damage_bytes(data, case.rng)
    else:
        data = mutations.damage_json(json_of(data), case.rng).encode("utf-8", "surrogatepass")
    labels = read(case.file(f"a.{name}", data))
    _valid_labels(labels)
    return labels


def run_lengths(case: Case) -> object:
    rng, rle = case.rng, dict(case.seeds.rle)
    what = rng.randrange(4)
    if what == 0:
        rle["counts"] = mutations.damage_bytes(rle["counts"].encode(), rng)
    elif what == 1:
        rle["counts"] = rng.choice(("o" * 3000, "P" * 200_000, "0" * 1000, odd_values.anything(rng)))
    elif what == 2:
        rle["size"] = rng.choice(([1 << 20, 1 << 20], [24, -33], [0, 0], odd_values.anything(rng)))
    else:
        rle = rng.choice(({}, {"size": [24, 33]}, odd_values.anything(rng)))
    mask = decode_rle(rle)
    assert mask.dtype == bool
    return mask


def manifest(case: Case) -> object:
    text: Any = mutations.damage_json(case.seeds.manifest, case.rng)
    if case.rng.random() < 0.3:
        text = mutations.damage_bytes(text.encode("utf-8", "surrogatepass"), case.rng)
    if case.rng.random() < 0.02:
        text = odd_values.anything(case.rng)
    return Manifest.from_json(text)


def bundle(case: Case) -> object:
    """A folder with a damaged manifest, or a damaged, missing or strange graph; run if it opens."""
    rng, root = case.rng, case.folder / "bundle"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    document = manifest_dict({"model.onnx": ("model", case.seeds.graph)})
    graph = root / "model.onnx"
    what = rng.randrange(6)
    text = mutations.damage_json(document, rng) if what < 4 else json.dumps(document)
    if what == 5:
        _strange_file(graph, rng)
    else:
        graph.write_bytes(case.seeds.graph if what < 4 else mutations.damage_bytes(case.seeds.graph, rng))
    (root / "bundle.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    if rng.random() < 0.3:
        return Bundle.open(root)
    picture = rng.choice((np.zeros((9, 14, 3), np.uint8), np.ones((40, 3))))
    encoding = Segmenter.open(root).encode(picture)
    _valid_mask(encoding.mask([(0, 0)]), encoding.size)
    return encoding


def _strange_file(path: Path, rng: random.Random) -> None:
    """What is no regular file, or nothing at all."""
    what = rng.randrange(4)
    if what == 0:
        path.mkdir()
    elif what == 1:
        path.symlink_to("/dev/zero")
    elif what == 2:
        os.mkfifo(path)  # nobody ever writes to it


def opening(case: Case) -> object:
    rng = case.rng
    place = odd_values.path(rng, case.folder)
    what = rng.randrange(3)
    if what == 0:
        return Bundle.open(place)
    if what == 1:
        return Encoding.load(place)
    root = case.segmenter.bundle.root
    arguments: dict[str, Any] = {name: odd_values.anything(rng) for name in ("backend", "threads", "options")}
    return Segmenter.open(root, **{rng.choice(list(arguments)): rng.choice(list(arguments.values()))})


def writing(case: Case) -> object:
    rng = case.rng
    place = odd_values.path(rng, case.folder)
    what = rng.randrange(4)
    if what == 0:
        return case.seeds.encoding.save(place)
    if what == 1:
        return write_png(case.folder / "out.png", odd_values.array(rng))
    if what == 2:
        return write_label_png(case.folder / "out.png", odd_values.array(rng))
    return write_mask_png(place, np.ones((3, 4), bool))


def command_line(case: Case) -> object:
    """The verbs that read files; whatever they meet ends as an exit code."""
    rng, good = case.rng, str(case.segmenter.bundle.root)
    suffix, data = rng.choice(case.seeds.pictures)
    picture = str(case.file(f"a.{suffix}", _damaged(case, suffix, data)))
    root = case.folder / "cli"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    (root / "model.onnx").write_bytes(case.seeds.graph)
    text = mutations.damage_json(case.seeds.manifest, rng)
    (root / "bundle.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    out = str(case.folder / "cli-out")
    arguments = rng.choice(
        [
            ["segment", picture, "--point", rng.choice(("3,4", "900,1", "x")), "--bundle", good, "-o", f"{out}.png"],
            ["instances", picture, "--bundle", good, "-o", out, "--format", "npz", "--format", "svg"],
            ["edges", picture, "--bundle", good, "-o", out],
            ["inspect", str(root)],
            ["verify", str(root)],
            ["doctor", str(root), "--json"],
        ]
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = main(arguments)
    assert code in (0, 1, 2), code
    return code


def stream(case: Case) -> object:
    rng = case.rng
    frames = rng.choice(([odd_values.array(rng)], [odd_values.array(rng)] * 2, odd_values.anything(rng)))
    memory: Any = rng.choice((3, odd_values.anything(rng)))
    with case.segmenter.stream(frames, drop=False, memory=memory) as results:
        return [result.tracked.ids for result in results]


def golden_array(case: Case) -> object:
    buffer = io.BytesIO()
    np.save(buffer, np.ones((1, 3, 4, 5), np.float32))
    try:
        array = read_float32(mutations.damage_bytes(buffer.getvalue(), case.rng))
    except ValueError as error:  # its caller names the file
        raise BundleIntegrityError(str(error)) from error
    assert array.dtype == np.float32
    return array


# Readers of files come more often than the rest: that is where the bytes of strangers go.
ENTRIES: list[Entry] = [
    *[picture_file] * 6,
    *[encoding_file] * 3,
    *[labels_file] * 2,
    *[polygons_file] * 2,
    *[bundle] * 2,
    *[manifest] * 2,
    *[prompt] * 3,
    *[command_line] * 2,
    stream,
    golden_array,
    picture_object,
    picture_array,
    picture_anything,
    encode,
    encoding_made,
    instances,
    npz_file,
    run_lengths,
    opening,
    writing,
]
