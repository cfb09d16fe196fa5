"""Pictures of one size together: the same bits, or one by one."""

import numpy as np
import pytest

from gen2seg_runtime import Segmenter
from gen2seg_runtime.batching import GroupRunner
from gen2seg_runtime.errors import BackendError, ImageError, ImageReadError

from .conftest import BundleMaker


class FakeBackend:
    """Doubles its input; `noise` is added to batches only, `fixed` refuses them."""

    device = "cpu"

    def __init__(self, name: str = "onnxruntime", noise: float = 0.0, fixed: bool = False) -> None:
        self.name, self.noise, self.fixed = name, noise, fixed
        self.batches: list[int] = []

    def run(self, x: np.ndarray) -> np.ndarray:
        if self.fixed and len(x) > 1:
            raise BackendError("one picture at a time")
        self.batches.append(len(x))
        return x * np.float32(2) + np.float32(self.noise * (len(x) > 1))

    def run_stages(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return {"network": self.run(x)}


def inputs(count: int, side: int = 8) -> list[np.ndarray]:
    return [np.random.default_rng(i).standard_normal((1, 3, side, side)).astype(np.float32) for i in range(count)]


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        (FakeBackend(), [1, 1, 1, 3, 3, 1, 1, 2, 1, 1, 1, 3]),  # a new number or size is compared first
        (FakeBackend(noise=1e-7), [1, 1, 1, 3, 1, 1, 1, 1, 1, 2, 1, 1, 1, 3]),
        (FakeBackend(fixed=True), [1] * 11),
        (FakeBackend(name="openvino"), [1] * 11),
    ],
    ids=["equal", "another bit", "fixed", "not tried"],
)
def test_together_only_where_no_bit_changes(backend: FakeBackend, expected: list[int]):
    runner = GroupRunner(backend)
    for group in (inputs(3), inputs(3), inputs(2), inputs(3, 16)):
        for x, raw in zip(group, runner.run(group), strict=True):
            np.testing.assert_array_equal(raw, x * 2)
    assert backend.batches == expected


def test_batches_of_mixed_sizes_equal_single_pictures(make_bundle: BundleMaker, squares: np.ndarray):
    segmenter = Segmenter.open(make_bundle(), threads=1)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in [(60, 80), (30, 99), (64, 96)] * 3]
    for batch in (2, 4):
        for _ in range(2):  # the second time the groups run together
            for encoding, image in zip(segmenter.encode_batch(images, batch=batch), images, strict=True):
                np.testing.assert_array_equal(encoding.colors, segmenter.encode(image).colors)
                assert encoding.size == image.shape[:2]


def test_the_embedded_model_gives_the_same_bits_in_batches():
    segmenter = Segmenter.open(backend="onnxruntime", threads=2)
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (90, 128, 3), np.uint8) for _ in range(6)]
    expected = [segmenter.encode(image).colors for image in images]
    for batch in (1, 3):
        for encoding, colors in zip(segmenter.encode_batch(images, batch=batch), expected, strict=True):
            np.testing.assert_array_equal(encoding.colors, colors)
    assert list(segmenter._groups._equal.values()) == [True]


def test_broken_batches(make_bundle: BundleMaker, squares: np.ndarray):
    segmenter = Segmenter.open(make_bundle(), threads=1)
    for batch in (0, 1.5, True):
        with pytest.raises(ImageError, match="batch"):
            segmenter.encode_batch([squares], batch=batch)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ImageReadError, match="missing"):
        segmenter.encode_batch([squares, "missing.png", squares], batch=3)
    assert segmenter.encode_batch([], batch=3) == []
