"""What prompting refuses, and how it says so."""

import numpy as np
import pytest

from gen2seg_kernels import prepare_colors, prompt_mask, prompt_mask_with_confidence, prompt_masks, prompt_masks_batch

COLORS = np.zeros((6, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("colors", "error", "message"),
    [
        ([[[1, 2, 3]]], TypeError, "NumPy array of uint8, got list"),
        (COLORS.astype(np.float32), TypeError, "uint8, got float32"),
        (COLORS[..., 0], ValueError, r"\(H, W, 3\) with at least one pixel, got \(6, 8\)"),
        (COLORS[..., :2], ValueError, r"got \(6, 8, 2\)"),
        (COLORS[:0], ValueError, r"got \(0, 8, 3\)"),
    ],
)
def test_colors(colors, error, message):
    for call in (
        lambda: prompt_mask(colors, [(0, 0)]),
        lambda: prompt_masks(colors, [[(0, 0)]]),
        lambda: prompt_mask_with_confidence(colors, [(0, 0)]),
    ):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(
    ("points", "error", "message"),
    [
        ([], ValueError, "points is empty"),
        (np.zeros((0, 2)), ValueError, "points is empty"),
        ((3, 4), ValueError, r"N pairs \(x, y\), got an array of shape \(2,\)"),
        ([(1, 2, 3)], ValueError, r"shape \(1, 3\)"),
        ([(1, 2), (3,)], ValueError, "N pairs"),
        ([("1", "2")], TypeError, "points must hold numbers"),
        ([(None, 2)], TypeError, "points must hold numbers"),
        ([(True, False)], TypeError, "points must hold numbers"),
        ([(float("nan"), 1)], ValueError, r"point \(nan, 1\) is outside the image of 8 x 6"),
        ([(1, float("inf"))], ValueError, r"point \(1, inf\) is outside"),
        ([(1, 1), (7.6, 1)], ValueError, r"point \(7.6, 1\) is outside"),
        ([(-0.6, 1)], ValueError, "outside"),
        ([(1, 5.6)], ValueError, "outside"),
    ],
)
@pytest.mark.parametrize("mode", ["reference", "metric"])
def test_points(points, error, message, mode):
    with pytest.raises(error, match=message):
        prompt_mask(COLORS, points, mode=mode)
    with pytest.raises(error, match=message):
        prompt_masks(COLORS, [[(0, 0)], points], mode=mode)
    with pytest.raises(error, match=message):
        prompt_mask_with_confidence(COLORS, points)


@pytest.mark.parametrize("labels", [[1], [1, 1, 1], [1, 2], [1, -1], 1, [[1, 0]]])
def test_labels(labels):
    with pytest.raises(ValueError, match="labels must"):
        prompt_mask(COLORS, [(0, 0), (1, 1)], labels=labels)
    with pytest.raises(ValueError, match="labels must"):
        prompt_mask_with_confidence(COLORS, [(0, 0), (1, 1)], labels)


def test_one_entry_of_labels_per_prompt():
    with pytest.raises(ValueError, match="one entry for each of 2 prompts, got 1"):
        prompt_masks(COLORS, [[(0, 0)], [(1, 1)]], labels=[None])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mode": "nearest"}, ValueError, "unknown mode 'nearest'; known: reference, metric"),
        ({"sigma": 0.0}, ValueError, "sigma must be positive"),
        ({"sigma": float("nan")}, ValueError, "sigma must be finite"),
        ({"sigma": "wide"}, TypeError, "sigma must be a number"),
        ({"threshold": float("inf")}, ValueError, "threshold must be finite"),
        ({"threshold": None}, TypeError, "threshold must be a number"),
        ({"mode": "metric", "distance": -1}, ValueError, "distance must be positive"),
        ({"mode": "metric", "distance": True}, TypeError, "distance must be a number"),
    ],
)
def test_options(options, error, message):
    with pytest.raises(error, match=message):
        prompt_mask(COLORS, [(0, 0)], **options)


def test_the_input_is_left_alone():
    colors = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    colors.flags.writeable = False
    for mode in ("reference", "metric"):
        prompt_mask(colors, [(2, 2)], mode=mode)


def test_a_tensor_on_the_cpu_is_refused():
    torch = pytest.importorskip("torch")
    pytest.importorskip("triton")
    with pytest.raises(TypeError, match="CUDA tensor, got one on cpu; on the CPU hand over a NumPy array"):
        prompt_mask(torch.from_numpy(COLORS), [(0, 0)])


def test_a_batch_of_arrays():
    batch = np.stack([COLORS, COLORS + 50])
    masks = prompt_masks_batch(batch, [[[(0, 0)], [(1, 1)]], []], mode="metric")
    assert [mask.shape for mask in masks] == [(2, 6, 8), (0, 6, 8)]
    assert masks[0].all()
    with pytest.raises(ValueError, match="prompts must hold one entry for each of 2 images, got 1"):
        prompt_masks_batch(batch, [[[(0, 0)]]])
    with pytest.raises(ValueError, match="labels must hold one entry for each of 2 images, got 3"):
        prompt_masks_batch(batch, [[], []], labels=[None] * 3)
    with pytest.raises(ValueError, match=r"\(B, H, W, 3\) with at least one pixel, got \(6, 8, 3\)"):
        prompt_masks_batch(COLORS, [[]])
    with pytest.raises(TypeError, match=r"\(B, H, W, 3\) uint8, got prepared colours"):
        prompt_masks_batch(prepare_colors(COLORS), [[]])  # type: ignore[type-var]
