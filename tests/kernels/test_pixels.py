"""Pictures to planes and planes to colours: the C passes equal the plain definition to the bit."""

import numpy as np
import pytest

from gen2seg_kernels.native import load_native
from gen2seg_kernels.pixels import cpu, reference

pytestmark = pytest.mark.skipif(load_native() is None, reason="the extension is not built here")


@pytest.mark.parametrize(
    ("size", "padded"), [((1, 1), (1, 1)), ((1, 1), (3, 4)), ((7, 13), (8, 32)), ((33, 300), (33, 301))]
)
def test_planes_equal_the_definition(size: tuple[int, int], padded: tuple[int, int]):
    rng = np.random.default_rng(3)
    table = rng.normal(size=(3, 256)).astype(np.float32)
    rgb = rng.integers(0, 256, (*size, 3), np.uint8)
    for source in (rgb, rgb[..., ::-1], np.asfortranarray(rgb), rgb[::-1]):
        expected = reference.picture_to_planes(source, table, padded)
        np.testing.assert_array_equal(cpu.picture_to_planes(source, table, padded), expected)


@pytest.mark.parametrize("bounds", [(0.0, 255.0), (-1.0, 1.0), (-0.3, 7.1), (1e-30, 1e30)])
@pytest.mark.parametrize("size", [(1, 1), (7, 13), (5, 700)], ids=str)
def test_colors_equal_the_definition(size: tuple[int, int], bounds: tuple[float, float]):
    rng = np.random.default_rng(4)
    low, high = bounds
    planes = (low + (high - low) * rng.uniform(-0.2, 1.2, (3, *size))).astype(np.float32)
    planes.flat[:: max(1, planes.size // 5)] = (low + (high - low) * np.arange(256) / 255)[
        : -(-planes.size // max(1, planes.size // 5))
    ]
    np.testing.assert_array_equal(
        cpu.planes_to_colors(planes, low, high), reference.planes_to_colors(planes, low, high)
    )
    crop = planes[:, : size[0] // 2 + 1, : size[1] // 2 + 1]
    for source in (crop, crop[:, ::-1], crop[..., ::-1]):
        expected = reference.planes_to_colors(source, low, high)
        np.testing.assert_array_equal(cpu.planes_to_colors(source, low, high), expected)


def test_every_level_of_the_usual_range_is_kept():
    planes = np.repeat(np.arange(256, dtype=np.float32)[None, None], 3, axis=0)
    colors = cpu.planes_to_colors(planes, 0.0, 255.0)
    np.testing.assert_array_equal(colors, np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 299, 899])
def test_what_is_not_finite_gives_none(bad: float, place: int, monkeypatch: pytest.MonkeyPatch):
    planes = np.zeros((3, 1, 300), np.float32)
    planes.flat[place] = bad
    assert cpu.planes_to_colors(planes, 0.0, 1.0) is None
    monkeypatch.setattr(cpu, "load_native", lambda: None)
    assert cpu.planes_to_colors(planes, 0.0, 1.0) is None


def test_the_extension_refuses_what_does_not_fit():
    native = load_native()
    assert native is not None
    rgb, table, planes = np.zeros((4, 5, 3), np.uint8), np.zeros((3, 256), np.float32), np.zeros((3, 4, 5), np.float32)
    wrong_planes = (planes[:2], planes[:, :3].copy(), planes.astype(np.float64), planes.astype(np.int32))
    for target in wrong_planes:
        with pytest.raises(ValueError, match="fit"):
            native.picture_to_planes(rgb, table, target)
        with pytest.raises(ValueError, match="fit"):
            native.planes_to_colors(target, 0.0, 1.0, rgb)
    with pytest.raises(ValueError, match="fit"):
        native.picture_to_planes(rgb, table[:2].copy(), planes)
    with pytest.raises(ValueError, match="fit"):
        native.planes_to_colors(planes[..., ::-1], 0.0, 1.0, rgb)
