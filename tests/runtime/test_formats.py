"""Files that other programs read: PNG label maps, COCO run lengths, pictures to look at."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from gen2seg_runtime import formats
from gen2seg_runtime.errors import ImageError, ImageReadError, OutputError
from gen2seg_runtime.instances import Instances, find_instances

MASKS = {
    "empty": np.zeros((5, 7), bool),
    "full": np.ones((5, 7), bool),
    "starts with one": np.eye(6, 9, dtype=bool),
    "ends with one": np.eye(6, 6, dtype=bool)[:, ::-1][::-1],
    "one pixel": np.ones((1, 1), bool),
    "row": np.random.default_rng(0).random((1, 5000)) > 0.5,
    "column": np.random.default_rng(1).random((5000, 1)) > 0.5,
    "noise": np.random.default_rng(2).random((123, 77)) > 0.5,
    "long runs": np.add.outer(np.arange(1500), np.arange(1100)) % 2000 > 900,
}


@pytest.mark.parametrize("name", list(MASKS))
def test_pycocotools_reads_and_writes_the_same_runs(name: str):
    mask = MASKS[name]
    ours = formats.encode_rle(mask)
    theirs: Any = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert ours["size"] == list(mask.shape)
    assert ours["counts"] == theirs["counts"].decode()
    np.testing.assert_array_equal(coco_mask.decode(ours).astype(bool), mask)  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(formats.decode_rle(ours), mask)
    np.testing.assert_array_equal(formats.decode_rle(theirs), mask)


@pytest.mark.parametrize("counts", ["", "1", "o", "zz", "é", "0m1", "6O"])
def test_damaged_runs_are_refused(counts: str):
    with pytest.raises(ImageError):
        formats.decode_rle({"size": [5, 7], "counts": counts})


def test_runs_by_hand():
    mask = np.array([[0, 1], [0, 1], [1, 0]], bool)
    # down the columns: 0 0 1 | 1 1 0 -> 2 zeros, 3 ones, 1 zero
    assert formats.encode_rle(mask) == {"size": [3, 2], "counts": "231"}


def found(squares: np.ndarray) -> Instances:
    return find_instances(squares)


def test_coco_holds_a_hierarchy():
    colors = np.zeros((50, 70, 3), np.uint8)
    colors[10:40, 10:60] = (180, 40, 40)
    colors[10:40, 35:60, 2] += 30
    found = find_instances(colors, hierarchy=True)
    annotations = formats.instances_to_coco(found, first_id=11)
    assert [annotation["parent"] for annotation in annotations] == [None, 11, 11]
    for annotation, record in zip(annotations, [*found.records, *found.nested], strict=True):
        mask: Any = coco_mask.decode(annotation["segmentation"])
        np.testing.assert_array_equal(mask.astype(bool), found.mask(record.id))


def test_coco_document(tmp_path: Path, squares: np.ndarray):
    first, second = found(squares), found(squares[:, ::-1])
    formats.write_coco(tmp_path / "a.json", [("a.png", first), ("b.png", second)])
    document = json.loads((tmp_path / "a.json").read_text())
    assert [image["file_name"] for image in document["images"]] == ["a.png", "b.png"]
    assert [a["id"] for a in document["annotations"]] == [1, 2, 3, 4]
    assert [a["image_id"] for a in document["annotations"]] == [1, 1, 2, 2]
    for result, annotations in ((first, document["annotations"][:2]), (second, document["annotations"][2:])):
        for record, annotation in zip(result.records, annotations, strict=True):
            mask: Any = coco_mask.decode(annotation["segmentation"])
            np.testing.assert_array_equal(mask.astype(bool), result.mask(record.id))
            assert annotation["area"] == record.area == coco_mask.area(annotation["segmentation"])
            assert annotation["bbox"] == coco_mask.toBbox(annotation["segmentation"]).tolist()
            assert annotation["category_id"] == document["categories"][0]["id"]
            assert annotation["score"] == record.score


def test_label_png_round_trip(tmp_path: Path):
    labels = np.array([[0, 1, 255], [256, 40_000, 65_535]], np.int32)
    formats.write_label_png(tmp_path / "a.png", labels)
    back = formats.read_label_png(tmp_path / "a.png")
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, labels)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "I;16"
    for bad in (labels + 1, labels - 1):
        with pytest.raises(OutputError, match=r"0\.\.65535"):
            formats.write_label_png(tmp_path / "b.png", bad)
    assert not (tmp_path / "b.png").exists()


def test_label_png_of_other_kinds(tmp_path: Path):
    Image.fromarray(np.array([[0, 7]], np.uint8)).save(tmp_path / "grey.png")
    assert formats.read_label_png(tmp_path / "grey.png").tolist() == [[0, 7]]
    Image.new("RGB", (2, 2)).save(tmp_path / "rgb.png")
    with pytest.raises(ImageError, match="mode RGB"):
        formats.read_label_png(tmp_path / "rgb.png")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    for name in ("cut.png", "missing.png"):
        with pytest.raises(ImageReadError, match=name):
            formats.read_label_png(tmp_path / name)


def test_mask_and_edge_png(tmp_path: Path):
    formats.write_mask_png(tmp_path / "m.png", np.array([[True, False]]))
    assert np.asarray(Image.open(tmp_path / "m.png")).tolist() == [[255, 0]]
    formats.write_edges_png(tmp_path / "e.png", np.array([[0.0, 0.5, 1.0]], np.float32))
    assert np.asarray(Image.open(tmp_path / "e.png")).tolist() == [[0, 128, 255]]
    for bad in (np.zeros((2, 2), np.float32), np.zeros((2, 2, 4), np.uint8), np.zeros(3, np.uint8)):
        with pytest.raises(ImageError, match="a PNG takes"):
            formats.write_png(tmp_path / "x.png", bad)


def test_label_colors_are_stable_and_distinct():
    labels = np.array([[0, 1, 2, 3]])
    colors = formats.colorize_labels(labels)
    assert colors.dtype == np.uint8
    assert colors[0, 0].tolist() == [0, 0, 0]
    assert tuple(colors[0, 2]) == formats.label_color(2)
    np.testing.assert_array_equal(formats.colorize_labels(np.array([[3, 3, 1]]))[0, 2], colors[0, 1])
    np.testing.assert_array_equal(
        formats.colorize_labels(np.array([[2, 2**40, -1]]))[0, ::2], [colors[0, 2], [0, 0, 0]]
    )
    assert formats.colorize_labels(np.zeros((0, 4), np.int32)).shape == (0, 4, 3)
    many = formats.colorize_labels(np.arange(1, 13)[None])[0].astype(int)
    gaps = np.abs(many[:, None] - many[None]).sum(axis=2) + 999 * np.eye(12, dtype=int)
    assert gaps.min() > 40


def test_overlay():
    image = np.full((5, 5, 3), 100, np.uint8)
    labels = np.zeros((5, 5), np.int32)
    labels[1:4, 1:4] = 1
    color = np.array(formats.label_color(1))
    result = formats.overlay(image, labels, 0.25)
    assert result[0, 0].tolist() == [100, 100, 100]
    assert result[2, 2].tolist() == np.rint(75 + 0.25 * color).astype(int).tolist()
    assert result[1, 1].tolist() == color.tolist()  # outline
    assert image[2, 2, 0] == 100
    with pytest.raises(ImageError, match="at the size of the labels"):
        formats.overlay(image[:4], labels)
    with pytest.raises(ImageError, match="alpha"):
        formats.overlay(image, labels, 1.5)
