"""Large pictures in tiles: one object, one colour, in bounded memory."""

import tracemalloc

import numpy as np
import pytest

from gen2seg_runtime import Encoding, Segmenter
from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.manifest import InputSpec, InstanceSpec, ResizeSpec
from gen2seg_runtime.tiles import encode_tiles, plan_tiles

from .conftest import BundleMaker

SPEC = InputSpec(resize=ResizeSpec(size=100))


def discs(height: int, width: int, step: int = 45) -> np.ndarray:
    """(H, W) labels: a grid of discs on background, some of them touching a bar that runs through all tiles."""
    y, x = np.mgrid[0:height, 0:width]
    labels = np.zeros((height, width), np.int32)
    number = 0
    for cy in range(step // 2, height, step):
        for cx in range(step // 2, width, step):
            number += 1
            labels[(y - cy) ** 2 + (x - cx) ** 2 <= (0.36 * step) ** 2] = number
    labels[height // 2 - 6 : height // 2 + 6] = number + 1
    return labels


def as_picture(truth: np.ndarray) -> np.ndarray:
    """Labels as a picture from which `painter` reads them again."""
    return np.stack([truth // 256, truth % 256, np.zeros_like(truth)], axis=-1).astype(np.uint8)


class Painter:
    """A network that gives each object another colour in every tile, with some noise."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, rgb: np.ndarray) -> Encoding:
        self.sizes.append(rgb.shape[:2])
        truth = rgb[..., 0].astype(int) * 256 + rgb[..., 1]
        numbers, places = np.unique(truth, return_inverse=True)
        # Spread over a lattice, so that the objects of one tile differ; which is which is chance.
        lattice = np.stack(np.meshgrid(*[(70, 130, 190, 245)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        table = self.rng.permutation(lattice)[: len(numbers)].astype(float)
        table[numbers == 0] = 0
        colors = table[places.reshape(truth.shape)] + self.rng.normal(0, 3, rgb.shape)
        return Encoding(np.clip(colors, 0, 255).astype(np.uint8), rgb.shape[:2], bundle_id="0" * 64, bundle_name="p")


def share_found(labels: np.ndarray, truth: np.ndarray) -> float:
    """Share of the true objects that an instance covers with an intersection over union above 0.9."""
    numbers = np.unique(truth[truth > 0])
    good = 0
    for number in numbers:
        mask = truth == number
        best = np.bincount(labels[mask]).argmax()
        other = labels == best
        good += best > 0 and (mask & other).sum() > 0.9 * (mask | other).sum()
    return good / len(numbers)


@pytest.mark.parametrize(("height", "width"), [(251, 333), (90, 400), (270, 64)])
def test_objects_across_tiles_are_one(height: int, width: int):
    truth = discs(height, width)
    painter = Painter()
    plan = plan_tiles((height, width), SPEC, None, 30)
    colors, last = encode_tiles(as_picture(truth), painter, plan, InstanceSpec())
    assert len(painter.sizes) == len(plan.rows) * len(plan.columns) > 1
    assert set(painter.sizes) == {(min(height, 100), min(width, 100))}
    encoding = Encoding(colors, (height, width), bundle_id=last.bundle_id, bundle_name="p")
    assert share_found(encoding.instances().labels, truth) == 1
    bar = encoding.mask([(3, height // 2)], mode="metric")  # one click at one end reaches through all tiles
    assert (bar == (truth == truth.max())).mean() > 0.99
    plain = np.zeros((height, width), np.int32)  # without the reconciliation the bar falls to pieces
    for y0, y1 in plan.rows:
        for x0, x1 in plan.columns:
            plain[y0:y1, x0:x1] = Painter()(as_picture(truth)[y0:y1, x0:x1]).instances().labels
    assert share_found(plain, truth) < 0.9


def test_touching_objects_of_two_tiles_keep_apart():
    truth = np.zeros((60, 170), np.int32)
    truth[10:50, :92] = 1  # seen by the first tile almost alone
    truth[10:50, 92:] = 2

    def paint(rgb: np.ndarray) -> Encoding:  # both tiles paint their larger object in the same colour
        part = rgb[..., 1]
        counts = np.bincount(part.ravel(), minlength=3)
        table = np.zeros((3, 3), np.uint8)
        table[1 + int(counts[2] > counts[1])], table[2 - int(counts[2] > counts[1])] = (200, 60, 60), (60, 200, 90)
        return Encoding(table[part], rgb.shape[:2], bundle_id="0" * 64, bundle_name="p")

    plan = plan_tiles((60, 170), SPEC, 100, 20)
    colors, _ = encode_tiles(as_picture(truth), paint, plan, InstanceSpec())
    encoding = Encoding(colors, (60, 170), bundle_id="0" * 64, bundle_name="p")
    assert share_found(encoding.instances().labels, truth) == 1
    assert len(encoding.instances()) == 2


def test_a_real_network_on_tiles(make_bundle: BundleMaker):
    segmenter = Segmenter.open(make_bundle(), threads=1)
    picture = np.zeros((300, 420, 3), np.uint8)
    picture[20:150, 30:260] = (220, 30, 30)
    picture[150:280, 100:400] = (30, 200, 60)
    encoding = segmenter.encode_tiled(picture, tile=128, overlap=32)
    assert encoding.colors.shape == picture.shape
    assert encoding.size == (300, 420)
    assert [record.area for record in encoding.instances().records] == [130 * 300, 130 * 230]
    assert encoding.mask([(40, 30)]).sum() == 130 * 230
    assert encoding.bundle_id == segmenter.bundle.id
    small = picture[:100, :128]
    np.testing.assert_array_equal(segmenter.encode_tiled(small).colors, segmenter.encode(small).colors)
    again = segmenter.encode_tiled(picture, tile=128, overlap=32)
    np.testing.assert_array_equal(again.colors, encoding.colors)


def test_memory_is_bounded_by_the_picture(make_bundle: BundleMaker):
    segmenter = Segmenter.open(make_bundle(), threads=1)
    y, x = np.mgrid[0:1500, 0:1700]
    picture = np.where(((y // 90 + x // 90) % 2 == 0)[..., None], np.array([200, 60, 50], np.uint8), np.uint8(0))
    segmenter.encode_tiled(picture[:200, :200], tile=128)  # what is loaded once
    tracemalloc.start()
    try:
        encoding = segmenter.encode_tiled(picture, tile=128)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # 10 bytes a pixel with the picture's own copy; a tile's work and strips of a million pixels are the rest.
    assert peak < 10 * 1500 * 1700 + 60e6
    assert encoding.colors.shape == picture.shape


def test_tiles_cover_the_picture_and_overlap():
    for side in (33, 99, 100, 101, 180, 181, 1000, 8192):
        plan = plan_tiles((side, 40), SPEC, 100, 20)
        assert plan.columns == ((0, 40),)
        assert plan.rows[0][0] == 0
        assert plan.rows[-1][1] == side
        assert all(b[0] <= a[1] - min(20, side) for a, b in zip(plan.rows[:-1], plan.rows[1:], strict=True))
        assert all(end - start == min(100, side) for start, end in plan.rows)
    assert len(plan_tiles((180, 180), SPEC, 100, 20).rows) == 2


@pytest.mark.parametrize(
    "options",
    [{"tile": 31}, {"tile": 1.5}, {"tile": True}, {"overlap": 1}, {"overlap": 51}, {"tile": 64, "overlap": 33}],
)
def test_broken_tiles_are_refused(options: dict):
    with pytest.raises(ImageError, match=r"tile|overlap"):
        plan_tiles((500, 500), SPEC, options.get("tile"), options.get("overlap"))
