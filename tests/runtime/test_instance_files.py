"""Label maps through every file format and back, and damaged files."""

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gen2seg_runtime import formats
from gen2seg_runtime.errors import Gen2SegError, ImageError, ImageReadError, MissingLibraryError
from gen2seg_runtime.instances import Instances, describe

LABELS = hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=10), elements=st.integers(0, 4))


def make(labels: np.ndarray) -> Instances:
    count = int(labels.max())
    scores = np.linspace(0.25, 1, count)
    return describe(labels, scores, np.arange(3 * count).reshape(count, 3).astype(float))


def from_coco(path: Path) -> np.ndarray:
    document = json.loads(path.read_text())
    image = document["images"][0]
    labels = np.zeros((image["height"], image["width"]), np.int32)
    for annotation in document["annotations"]:
        labels[formats.decode_rle(annotation["segmentation"])] = annotation["id"]
    return labels


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    "png": formats.read_label_png,
    "coco": from_coco,
    "geojson": formats.read_geojson,
    "svg": formats.read_svg,
    "labelme": formats.read_labelme,
    "npz": lambda path: formats.read_npz(path).labels,
}


@pytest.mark.parametrize("kind", list(formats.FORMATS))
def test_labels_come_back_exactly(kind: str, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp(kind) / f"a{formats.FORMATS[kind].suffix}"

    @settings(max_examples=40, deadline=None)
    @given(LABELS)
    def check(labels: np.ndarray):
        found = make(labels)
        formats.FORMATS[kind].write(path, found, "a.png")
        np.testing.assert_array_equal(READERS[kind](path), found.labels)

    check()


@pytest.fixture
def found() -> Instances:
    labels = np.zeros((12, 15), np.int32)
    labels[1:9, 1:9] = 1
    labels[3:5, 3:6] = 0  # a hole
    labels[6:8, 6:8] = 2  # another instance in it
    labels[10:12, 10:15] = 3
    labels[0, 14] = 3  # a second part
    return make(labels)


def test_npz_keeps_the_records(found: Instances, tmp_path: Path):
    formats.write_npz(tmp_path / "a.npz", found)
    back = formats.read_npz(tmp_path / "a.npz")
    assert back.records == found.records
    assert not back.labels.flags.writeable
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:  # plain NumPy reads it
        np.testing.assert_array_equal(arrays["box"], [record.box for record in found.records])


def test_geojson_is_as_the_standard_says(found: Instances):
    document = json.loads(json.dumps(formats.geojson_document(found)))
    assert document["type"] == "FeatureCollection"
    for feature, record in zip(document["features"], found.records, strict=True):
        assert feature["id"] == record.id
        assert feature["properties"]["area"] == record.area
        for polygon in feature["geometry"]["coordinates"]:
            assert all(ring[0] == ring[-1] and len(ring) >= 5 for ring in polygon)
    parts = [len(feature["geometry"]["coordinates"]) for feature in document["features"]]
    holes = [sum(len(p) - 1 for p in f["geometry"]["coordinates"]) for f in document["features"]]
    assert parts == [1, 2, 1]
    assert holes == [2, 0, 0]


def test_geojson_of_other_programs(tmp_path: Path):
    empty = '{"id": 9, "geometry": {"type": "Polygon", "coordinates": []}}'
    one = '{"id": 4, "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1.9, 0], [1.9, 1], [0, 1], [0, 0]]]}}'
    (tmp_path / "a").write_text(FEATURE % f"{empty}, {one}")
    assert formats.read_geojson(tmp_path / "a").tolist() == [[4, 4, 0], [0, 0, 0], [0, 0, 0]]


def test_labelme_takes_masks_for_holes_only(found: Instances):
    shapes = formats.labelme_document(found, "a.png", "cell")["shapes"]
    assert [(s["shape_type"], s["group_id"], s["label"]) for s in shapes] == [
        ("mask", 1, "cell"),
        ("polygon", 2, "cell"),
        ("polygon", 2, "cell"),
        ("polygon", 3, "cell"),
    ]
    assert shapes[0]["points"] == [[1, 1], [8, 8]]


def test_labelme_of_other_programs(tmp_path: Path):
    shapes = [
        {"label": "a", "shape_type": "polygon", "points": [[0, 0], [4, 0], [4, 2], [0, 2]], "group_id": None},
        {"label": "b", "shape_type": "rectangle", "points": [[3, 3], [1, 2]], "group_id": 7},
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"shapes": shapes, "imageHeight": 3, "imageWidth": 5, "imageData": None}))
    assert formats.read_labelme(path).tolist() == [[8, 8, 8, 8, 0], [8, 8, 8, 8, 0], [0, 7, 7, 0, 0]]


def test_svg_is_xml_with_a_path_for_each_instance(found: Instances):
    text = formats.svg_text(found)
    assert text.count("<path ") == len(found.records)
    assert 'viewBox="0 0 15 12"' in text
    assert "M1,1H9V9H1Z" in text


def labelme(shapes: str) -> str:
    return f'{{"shapes": {shapes}, "imageHeight": 3, "imageWidth": 3}}'


FEATURE = '{"type": "FeatureCollection", "size": [3, 3], "features": [%s]}'
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="3" height="3">%s</svg>'
BROKEN = [
    ("geojson", "{"),
    ("geojson", '{"type": "FeatureCollection"}'),
    ("geojson", '{"type": "FeatureCollection", "size": [3, 0], "features": []}'),
    ("geojson", '{"type": "FeatureCollection", "size": [900000, 900000], "features": []}'),
    ("geojson", FEATURE % "3"),
    ("geojson", FEATURE % '{"id": 1, "geometry": {"type": "Point", "coordinates": [1, 2]}}'),
    ("geojson", FEATURE % '{"id": 1, "geometry": {"type": "Polygon", "coordinates": [[[1, 2]]]}}'),
    ("geojson", FEATURE % '{"id": 0, "geometry": {"type": "Polygon", "coordinates": [[[1,2],[1,2],[2,2]]]}}'),
    ("geojson", FEATURE % '{"id": 1, "geometry": {"type": "MultiPolygon", "coordinates": [{}]}}'),
    ("labelme", labelme("3")),
    ("labelme", '{"shapes": []}'),
    ("labelme", labelme('[{"shape_type": "circle", "points": [[1,1],[2,2]]}]')),
    ("labelme", labelme('[{"shape_type": "polygon", "points": "abc"}]')),
    ("labelme", labelme('[{"shape_type": "mask", "points": [[0,0],[1,1]], "mask": "!"}]')),
    ("labelme", labelme('[{"shape_type": "mask", "points": [[0,0],[1,1]]}]')),
    ("labelme", labelme('[{"shape_type": "mask", "points": [[0,0]]}]')),
    ("labelme", labelme('[{"shape_type": "rectangle", "points": [[0,0]], "group_id": true}]')),
    ("svg", "<svg"),
    ("svg", '<!DOCTYPE a [<!ENTITY b "c">]><svg/>'),
    ("svg", "<svg/>"),
    ("svg", SVG % '<path id="instance-1" d="M0,0L1,1Z"/>'),
    ("svg", SVG % '<path id="instance-0" d="M0,0H1V1H0Z"/>'),
    ("svg", SVG % '<path id="x" d="M0,0H1V1H0Z"/>'),
    ("svg", SVG % '<path id="instance-1"/>'),
    ("npz", "no archive"),
]


@pytest.mark.parametrize(("kind", "text"), BROKEN, ids=range(len(BROKEN)))
def test_broken_files_give_typed_errors(kind: str, text: str, tmp_path: Path):
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises((ImageError, ImageReadError), match="broken"):
        READERS[kind](path)
    with pytest.raises(ImageReadError, match="missing"):
        READERS[kind](tmp_path / "missing")


@pytest.mark.parametrize("kind", ["geojson", "svg", "labelme", "npz"])
def test_cut_and_scratched_files_give_typed_errors_or_labels(kind: str, found: Instances, tmp_path: Path):
    path = tmp_path / "a"
    formats.FORMATS[kind].write(path, found, "a.png")
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(60):
        damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            labels = READERS[kind](path)
        except Gen2SegError:
            continue
        assert labels.ndim == 2


def test_npz_with_pickles_or_wrong_arrays_is_refused(found: Instances, tmp_path: Path):
    path = tmp_path / "a.npz"
    np.savez(path, labels=np.array([{}], object))
    with pytest.raises(ImageError, match="labels"):
        formats.read_npz(path)
    formats.write_npz(path, found)
    with np.load(path) as arrays:
        good = dict(arrays)
    for change in (
        {"labels": found.labels + 1},
        {"labels": found.labels.ravel()},
        {"box": good["box"][:1]},
        {"area": np.int64(3)},
        {"score": good["score"].astype(np.float32)},
    ):
        np.savez(path, **{**good, **change})
        with pytest.raises(ImageError, match=next(iter(change))):
            formats.read_npz(path)
    with zipfile.ZipFile(path, "w") as archive:  # a header that promises more than there is
        archive.writestr("labels.npy", b"\x93NUMPY\x01\x00\x76\x00" + b" " * 118)
    with pytest.raises(ImageError, match="labels"):
        formats.read_npz(path)


def test_supervision_missing_is_a_typed_error(found: Instances, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingLibraryError, match="pip install supervision"):
        formats.to_supervision(found)


def check_detections(detections: Any, found: Instances) -> None:
    assert detections.xyxy.tolist() == [list(record.box) for record in found.records]
    for mask, record in zip(detections.mask, found.records, strict=True):
        np.testing.assert_array_equal(mask, found.mask(record.id))
    np.testing.assert_allclose(detections.confidence, [record.score for record in found.records])
    assert detections.tracker_id.tolist() == [5, 6, 7]
    assert detections.data["color"].tolist() == [list(record.color) for record in found.records]


def test_supervision_detections_through_a_stand_in(found: Instances, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))  # pyright: ignore
    check_detections(formats.to_supervision(found, [5, 6, 7]), found)


def test_supervision_detections(found: Instances):
    pytest.importorskip("supervision", reason="supervision is not installed")
    detections = formats.to_supervision(found, [5, 6, 7])
    check_detections(detections, found)
    assert len(detections[detections.area > 30]) == 1
    assert len(formats.to_supervision(make(np.zeros((3, 4), np.int32)))) == 0
