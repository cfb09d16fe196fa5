"""Hypothesis looks for arguments that the public calls meet with anything but a typed error or a valid result."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gen2seg_runtime import Encoding, Gen2SegError, Manifest, read_image
from gen2seg_runtime.formats import decode_rle, read_geojson, read_labelme, read_svg
from gen2seg_runtime.strict_json import parse
from tests.runtime.conftest import manifest_dict, painting_graph

pytestmark = pytest.mark.filterwarnings("ignore")
quick = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

HEIGHT, WIDTH = 19, 27
numbers = st.one_of(
    st.integers(), st.floats(), st.sampled_from([math.nan, math.inf, 10**400, -0.5, WIDTH - 0.5, HEIGHT - 0.5])
)
near = st.floats(-1, WIDTH + 1) | st.integers(-1, WIDTH + 1)
arrays = hnp.arrays(
    hnp.scalar_dtypes() | hnp.byte_string_dtypes(), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)
)
anything = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5), st.binary(max_size=5), arrays)
nested = st.recursive(anything, lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner), max_leaves=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def encoding() -> Encoding:
    colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colors[3:12, 4:15] = (200, 30, 30)
    return Encoding(colors, (HEIGHT, WIDTH), bundle_id="0" * 64, bundle_name="by hand")


@quick
@given(source=arrays)
def test_pictures(source: np.ndarray):
    try:
        picture = read_image(source)
    except Gen2SegError:
        return
    assert picture.dtype == np.uint8
    assert picture.shape == (*source.shape[:2], 3)


@quick
@given(value=hnp.arrays(st.sampled_from(["f2", "f4", "f8", ">f4", ">f8"]), (3, 4)))
def test_grey_floats_keep_their_order(value: np.ndarray):
    try:
        picture = read_image(value)[..., 0].astype(int)
    except Gen2SegError:
        assert not np.isfinite(value).all()
        return
    order = np.argsort(value, axis=None, kind="stable")
    assert (np.diff(picture.ravel()[order]) >= 0).all()
    unit = value.min() >= 0 and value.max() <= 1
    if not unit and value.max() > value.min():
        assert (picture.min(), picture.max()) == (0, 255)


@quick
@given(points=nested | st.lists(st.tuples(near, near), max_size=3), labels=nested, mode=anything)
def test_prompts(encoding: Encoding, points: Any, labels: Any, mode: Any):
    for call in (
        lambda: encoding.mask(points, labels=labels),
        lambda: encoding.mask(points, mode=mode),
        lambda: encoding.mask_box(points),
        lambda: encoding.mask_like(points),
        lambda: encoding.refine(points, labels).mask,
    ):
        try:
            mask = call()
        except Gen2SegError:
            continue
        assert mask.shape == (HEIGHT, WIDTH)
        assert mask.dtype == bool


@quick
@given(prompts=nested, labels=nested)
def test_many_prompts(encoding: Encoding, prompts: Any, labels: Any):
    try:
        masks = encoding.masks(prompts, labels)
    except Gen2SegError:
        return
    assert masks.shape == (len(prompts), HEIGHT, WIDTH)


@quick
@given(values=st.dictionaries(st.sampled_from(["distance", "sigma", "threshold", "connected"]), anything, max_size=2))
def test_options(encoding: Encoding, values: dict[str, Any]):
    for mode in ("metric", "reference"):
        try:
            mask = encoding.mask([(5, 5)], mode=mode, **values)
        except Gen2SegError:
            continue
        assert mask.dtype == bool


@quick
@given(data=st.data())
def test_manifests(data: st.DataObject):
    document = manifest_dict({"model.onnx": ("model", painting_graph().SerializeToString())})
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = document
        while isinstance(place, dict) and place:
            key = data.draw(st.sampled_from(sorted(place)))
            if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
                place[key] = data.draw(json_values)
                break
            place = place[key]
    try:
        manifest = Manifest.from_json(json.dumps(document))
    except Gen2SegError:
        return
    assert Manifest.from_json(manifest.to_json()) == manifest


@quick
@given(text=st.text(max_size=40) | json_values.map(json.dumps))
def test_texts(tmp_path: Path, text: str):
    path = tmp_path / "a"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for read in (read_geojson, read_labelme, read_svg, Encoding.load):
        with pytest.raises(Gen2SegError):
            read(path)
    try:
        parse(text, "text", Gen2SegError)
    except Gen2SegError:
        return


@quick
@given(size=nested, counts=st.text(st.characters(min_codepoint=44, max_codepoint=115), max_size=30) | anything)
def test_run_lengths(size: Any, counts: Any):
    for rle in ({"size": size, "counts": counts}, {"size": [4, 5], "counts": counts}):
        try:
            mask = decode_rle(rle)
        except Gen2SegError:
            continue
        assert mask.dtype == bool
