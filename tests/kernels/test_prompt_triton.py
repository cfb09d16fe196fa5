"""The Triton kernels of prompting against the definitions, in Triton's interpreter; see `interpreter.py`."""

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from gen2seg_kernels import (  # noqa: E402
    prompt_mask,
    prompt_mask_with_confidence,
    prompt_masks,
    prompt_masks_batch,
)
from gen2seg_kernels.aot.grid import evaluate_rule  # noqa: E402
from gen2seg_kernels.prompt import layout, plain, triton  # noqa: E402
from gen2seg_kernels.prompt.metric import MetricCut  # noqa: E402
from gen2seg_kernels.prompt.reference import prompt_mask_reference  # noqa: E402
from gen2seg_kernels.prompt.request import check_prompt  # noqa: E402

KINDS = ("noise", "noisy blocks", "flat", "two colours")
SMALL = [(1, 1), (1, 7), (5, 3)]
LARGER = (33, 47)  # several tiles and blocks, none of them full


def image(rng, kind, height, width):
    """A colour image (H, W, 3) uint8 of one kind."""
    shape = (height, width, 3)
    if kind == "noise":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if kind == "flat":
        return np.full(shape, 77, np.uint8)
    if kind == "two colours":
        return np.where(rng.integers(0, 2, (height, width, 1)), [0, 0, 0], [255, 255, 255]).astype(np.uint8)
    coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    blocks = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST).reshape(shape)
    return np.clip(blocks + rng.normal(0, 6, shape), 0, 255).astype(np.uint8)


def tensor(colors):
    return torch.from_numpy(colors)


@pytest.mark.parametrize("size", SMALL, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_reference_mode_on_small_images(rng, kind, size):
    height, width = size
    colors = image(rng, kind, height, width)
    points = [(0, 0), (width - 0.5, height - 0.5), (width // 2, 0), (-0.5, height - 1)]
    points = [points[int(rng.integers(4))]]
    mask = prompt_mask(tensor(colors), points, 0.15)
    assert mask.dtype == torch.bool
    assert np.array_equal(mask.numpy(), prompt_mask_reference(colors, points, 0.15))


def test_reference_mode_on_a_batch(rng):
    images = np.stack([image(rng, kind, *LARGER) for kind in ("noisy blocks", "two colours")])
    prompts = [[[(0, 0), (30.4, 20.7)]], [[(46.5, 32)]]]
    labels = [[[0, 1]], None]
    got = prompt_masks_batch(tensor(images), prompts, 0.05, labels=labels)
    assert [len(masks) for masks in got] == [1, 1]
    for colors, own, signs, masks in zip(images, prompts, ([[0, 1]], [None]), got, strict=True):
        for points, sign, mask in zip(own, signs, masks, strict=True):
            expected = prompt_mask_reference(colors, points, 0.05, labels=sign)
            assert 0 < expected.mean() < 1
            assert np.array_equal(mask.numpy(), expected)


@pytest.mark.parametrize("threshold", [-0.5, 0, 2.9, 254, 300])
def test_thresholds(rng, threshold):
    colors = image(rng, "noise", 1, 7)
    expected = prompt_mask_reference(colors, [(3, 0)], 0.15, threshold)
    assert np.array_equal(prompt_mask(tensor(colors), [(3, 0)], 0.15, threshold).numpy(), expected)


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("size", [(1, 7), (5, 3), LARGER], ids=str)
def test_metric_mode_on_a_batch(rng, size, connected):
    height, width = size
    images = np.stack([image(rng, kind, height, width) for kind in KINDS])
    prompts = [[[(0, 0)], [(width - 0.5, height - 0.5), (width // 2, 0), (0, height - 1)]], [], [[(0, 0)]], [[(0, 0)]]]
    labels = [[[1], [1, 1, 0]], None, [[0]], None]
    how = {"mode": "metric", "distance": 90.0, "connected": connected}
    got = prompt_masks_batch(tensor(images), prompts, labels=labels, **how)
    expected = prompt_masks_batch(images, prompts, labels=labels, **how)
    assert [masks.shape for masks in got] == [masks.shape for masks in expected]
    for ours, theirs in zip(got, expected, strict=True):
        assert np.array_equal(ours.numpy(), theirs)


def test_a_winding_region_is_one_region():
    # A comb whose teeth hang together at alternating ends, and a diagonal that touches it at a corner.
    colors = np.zeros((45, 45, 3), np.uint8)
    colors[::4] = 200
    colors[2::8, 44] = colors[1::8, 44] = colors[3::8, 44] = 200
    colors[6::8, 0] = colors[5::8, 0] = colors[7::8, 0] = 200
    colors[1:4, 10] = 200  # a ring, too
    lonely = colors.copy()
    colors[42, 20], colors[43, 21], lonely[42, 20] = 200, 200, 200
    for scene, whole in ((colors, True), (lonely, False)):
        mask = prompt_mask(tensor(scene), [(44, 44)], mode="metric").numpy()
        assert np.array_equal(mask, prompt_mask(scene, [(44, 44)], mode="metric"))
        assert np.array_equal(mask, scene.any(2)) == whole


def test_confidence(rng):
    for kind, cut in [("noise", MetricCut(90.0)), ("noisy blocks", MetricCut(30.0, False)), ("flat", MetricCut())]:
        colors = image(rng, kind, *LARGER)
        points, labels = [(0, 0), (20, 30), (46, 3)], [1, 1, 0]
        how = {"distance": cut.distance, "connected": cut.connected}
        mask, confidence = prompt_mask_with_confidence(tensor(colors), points, labels, **how)
        expected, sure = plain.mask_with_confidence(colors, check_prompt(points, labels, *LARGER), cut)
        assert np.array_equal(mask.numpy(), expected)
        assert confidence == sure


def test_groups_of_prompts_change_nothing(rng, monkeypatch):
    colors = image(rng, "noisy blocks", 5, 9)
    prompts = [[(0, 0)], [(8, 4), (4, 2)], [(3, 3)], [(1, 1), (2, 2), (7, 0)]]
    expected = prompt_masks(colors, prompts, mode="metric")
    for points_at_once in (1, 2, 3):
        monkeypatch.setattr(triton, "SCRATCH_BYTES", 5 * 45 * points_at_once)
        assert np.array_equal(prompt_masks(tensor(colors), prompts, mode="metric").numpy(), expected)
    assert list(layout.point_groups([1, 2, 1, 3], 3)) == [(0, 2), (2, 3), (3, 4)]
    assert prompt_masks(tensor(colors), []).shape == (0, 5, 9)


def test_any_layout(rng):
    colors = image(rng, "noise", 5, 14)
    view = tensor(colors)[:, ::2].flip(0)
    expected = prompt_mask(np.ascontiguousarray(view.numpy()), [(2, 2)], mode="metric", distance=150)
    assert np.array_equal(prompt_mask(view, [(2, 2)], mode="metric", distance=150).numpy(), expected)


@pytest.mark.parametrize(
    ("colors", "error", "message"),
    [
        (torch.zeros(4, 5, 3), TypeError, "tensor of torch.uint8, got torch.float32"),
        (torch.zeros(4, 5, dtype=torch.uint8), ValueError, r"\(H, W, 3\) with at least one pixel, got \(4, 5\)"),
        (torch.zeros(0, 5, 3, dtype=torch.uint8), ValueError, r"got \(0, 5, 3\)"),
        (torch.zeros(1, 4, 5, 3, dtype=torch.uint8), ValueError, r"got \(1, 4, 5, 3\)"),
        (torch.zeros(1, dtype=torch.uint8).expand(2**15, 2**15, 3), ValueError, r"images of less than 2\^30 pixels"),
    ],
)
def test_what_is_refused(colors, error, message):
    with pytest.raises(error, match=message):
        prompt_mask(colors, [(0, 0)])


def test_variants_state_what_launches_need():
    variants = triton.variants()
    assert len({variant.name for variant in variants}) == len(variants)
    for variant in variants:
        assert list(variant.signature) == list(variant.kernel.arg_names)
        assert {name for name, kind in variant.signature.items() if kind == "constexpr"} == set(variant.constexprs)
        for rule in variant.grid:  # in whole numbers among the arguments
            sizes = {name: 5 for name, kind in variant.signature.items() if kind == "i32"}
            assert evaluate_rule(rule, sizes) >= 1
