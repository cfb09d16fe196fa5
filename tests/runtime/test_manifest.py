"""The manifest: strict reading, unknown fields kept, nothing unreadable written."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from gen2seg_runtime.errors import BundleSchemaError, BundleWarning
from gen2seg_runtime.manifest import (
    MAX_MANIFEST_BYTES,
    GoldenRecord,
    Manifest,
    ModelSpec,
    checked_path,
)

from .conftest import manifest_dict

FILES = {"model.onnx": ("model", b"graph"), "goldens/a.png": ("golden", b"a")}


def parse(change: Callable[[dict[str, Any]], None] | None = None) -> Manifest:
    data = manifest_dict(FILES)
    if change:
        change(data)
    return Manifest.from_json(json.dumps(data))


def set_at(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = data
        for part in parents:
            place = place[int(part)] if part.isdigit() else place[part]
        place[last] = value

    return change


def test_round_trip():
    manifest = parse()
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.input.resize.size == 128
    assert manifest.file("model.onnx").role == "model"
    with pytest.raises(KeyError):
        manifest.file("other")


def test_optional_sections_have_defaults():
    def drop(data: dict[str, Any]) -> None:
        for key in ("instances", "precision", "folded", "goldens", "verification", "resources", "created_by"):
            del data[key]

    manifest = parse(drop)
    assert manifest.instances.distance == 40.0
    assert manifest.precision.compute == "float32"


def test_unknown_fields_are_kept_with_a_warning():
    def extend(data: dict[str, Any]) -> None:
        data["schema"] = "gen2seg.bundle/1.7"
        data["novelty"] = [1]
        data["input"]["resize"]["tiles"] = {"a": 1}

    with pytest.warns(BundleWarning) as caught:
        manifest = parse(extend)
    assert sorted(str(w.message).split(":")[0] for w in caught) == [
        "bundle.json.input.resize.tiles",
        "bundle.json.novelty",
    ]
    assert manifest.extra == {"novelty": [1]}
    with pytest.warns(BundleWarning):
        written = json.loads(manifest.to_json())
    assert written["novelty"] == [1]
    assert written["input"]["resize"]["tiles"] == {"a": 1}


WRONG = {
    "schema": [None, "gen2seg.bundle/2.0", "gen2seg.bundle/1", "other/1.0", 1],
    "name": ["", "a b", 3, "../x"],
    "weights.state": ["finetuned", None],
    "weights.sha256": ["ABC", "0" * 63],
    "weights.parameters": [-1, 1.5, True],
    "licence.use_limits": ["none", [1]],
    "licence": [None, []],
    "model.path": ["/model.onnx", "../model.onnx", "a//b", "", "a\\b", "C:x", "bundle.json", 3, "other.onnx"],
    "model.opset": [0, "18"],
    "input.layout": ["NHWC"],
    "input.color_order": ["GRB"],
    "input.scale": [0, -1, "255", True, float(10**301)],
    "input.mean": [[0.5], [0.5, 0.5, "x"], None],
    "input.std": [[0.5, 0.5, 0.0]],
    "input.resize.rule": ["shortest_side", "fixed"],
    "input.resize.size": [0, 1 << 17],
    "input.resize.enlarge_below": [129, -1],
    "input.pad.multiple": [0],
    "input.pad.mode": ["zeros"],
    "input.dynamic": [1, False],
    "input.buckets": [[[0, 32]], [[32]], 3, [[33, 32]], [[True, 32]]],
    "output.normalization": ["softmax"],
    "output.range": [None, [255, 0], [0]],
    "output.gamma": [0, "x"],
    "prompt.mode": ["magic"],
    "prompt.threshold": [256, 1.5],
    "prompt.connected": ["yes"],
    "instances.background": [-1, 500, "x", True],
    "instances.min_area": [0],
    "precision.wide_nodes": [[1]],
    "folded": [[]],
    "files": [None, [], [1]],
    "files.0.bytes": [-1, "5"],
    "files.0.sha256": ["0" * 65],
    "files.0.role": ["weights"],
    "files.1.path": ["model.onnx", "MODEL.ONNX", "goldens/../x", "/etc/passwd"],
    "goldens": [
        {},
        [{"image": "goldens/b.png", "colors": "goldens/a.png", "max_difference": 1}],
        [{"image": "goldens/a.png", "colors": "goldens/a.png", "max_difference": 256}],
    ],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in WRONG for value in WRONG[field]])
def test_wrong_value_is_refused_by_name(field: str, value: Any):
    with pytest.raises(BundleSchemaError) as caught:
        parse(set_at(field, value))
    assert "bundle.json" in str(caught.value)


def test_messages_name_field_expectation_and_finding():
    with pytest.raises(BundleSchemaError, match=r"input\.resize\.size: expected an integer .*, found 'big'"):
        parse(set_at("input.resize.size", "big"))
    with pytest.raises(BundleSchemaError, match=r"reads major 1.*gen2seg\.bundle/9\.0"):
        parse(set_at("schema", "gen2seg.bundle/9.0"))


@pytest.mark.parametrize("key", ["schema", "name", "weights", "licence", "model", "input", "output", "prompt", "files"])
def test_missing_field_is_refused(key: str):
    with pytest.raises(BundleSchemaError, match=key):
        parse(lambda data: data.pop(key))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"a": 1, "a": 2}',
        '{"a": NaN}',
        '{"a": Infinity}',
        "[" * 100_000,
        b"\xff\xfe{}",
        "\ud800",
        '{"schema": "gen2seg.bundle/1.0"',
        " " * (MAX_MANIFEST_BYTES + 1),
    ],
    ids=range(12),
)
def test_no_strict_json_is_refused(text: str | bytes):
    with pytest.raises(BundleSchemaError):
        Manifest.from_json(text)


def test_fixed_size_graph():
    def fixed(data: dict[str, Any]) -> None:
        data["input"]["dynamic"] = False
        data["input"]["resize"]["rule"] = "fixed"
        data["input"]["buckets"] = [[64, 96]]

    assert parse(fixed).input.buckets == ((64, 96),)


def test_unreadable_manifest_is_not_written():
    manifest = parse()
    for broken in (
        dataclasses.replace(manifest, model=ModelSpec(path="../x")),
        dataclasses.replace(manifest, folded={"a": object()}),
        dataclasses.replace(manifest, folded={"a": float("nan")}),
        dataclasses.replace(manifest, goldens=(GoldenRecord(image="no.png", colors="no.png"),)),
    ):
        with pytest.raises(BundleSchemaError):
            broken.to_json()


def test_paths():
    assert checked_path("a/b-c_d.e") == "a/b-c_d.e"
    for bad in ("a/./b", "a/", "/a", "a\nb", "x" * 501):
        with pytest.raises(ValueError, match="inside the bundle"):
            checked_path(bad)
