"""The loss's Triton kernels, interpreted, against the float64 definition: value to 1e-6, gradient to 1e-5 per image.

bfloat16 is left out: the interpreter computes with its bits.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from triton.runtime import interpreter  # noqa: E402

from gen2seg_kernels.loss import autograd  # noqa: E402
from gen2seg_kernels.loss.autograd import instance_coloring_loss, instance_coloring_terms  # noqa: E402
from gen2seg_kernels.loss.config import LossConfig  # noqa: E402
from gen2seg_kernels.loss.reference import image_terms, instance_coloring_reference  # noqa: E402
from gen2seg_kernels.loss.tiles import Tiles, candidates  # noqa: E402
from gen2seg_kernels.loss.triton import loss_and_grad  # noqa: E402

# The interpreter's time goes by operations, whatever their size.
LARGE = Tiles(
    sum_pixels=1024, sum_rows=64, row_block=256, mean_block=512, mean_pixels=512, mean_chain=4, pixel_block=4096
)
SMALL = Tiles(
    sum_pixels=64, sum_rows=4, row_block=8, row_slots=2, mean_block=8, mean_pixels=8, mean_chain=3,
    pixel_block=128, pixel_chain=3,
)  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_memory_is_not_a_number():
    """Fills what torch.empty gives with NaN, so that nothing reads a place that no kernel wrote."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def run(pred, labels, ignored=None, valid=None, tiles=LARGE):
    """Loss and gradient (a tensor)."""
    flags = [False] * len(pred) if ignored is None else ignored
    terms, grad = loss_and_grad(pred, labels, flags, valid, LossConfig(), True, tiles=tiles)
    assert grad is not None
    assert grad.dtype == (torch.float64 if pred.dtype == torch.float64 else torch.float32)
    return terms.sum(1).mean().item(), grad


def assert_matches(pred, labels, ignored=None, valid=None, tiles=LARGE, grad_rtol=1e-5, loss_rtol=1e-6):
    loss, grad = run(pred, labels, ignored, valid, tiles)
    mask = None if valid is None else valid.numpy()
    expected, expected_grad = instance_coloring_reference(pred.double().numpy(), labels.numpy(), ignored, mask)
    assert loss == pytest.approx(expected, rel=loss_rtol, abs=1e-12)
    for got, wanted in zip(grad.double().numpy(), expected_grad, strict=True):
        assert np.linalg.norm(got - wanted) <= grad_rtol * np.linalg.norm(wanted) + 1e-15


def random_case(rng, instances=6, batch=2, size=(11, 13), dtype=torch.float32):
    pred = torch.tensor(rng.uniform(0, 255, (batch, 3, *size)), dtype=dtype)
    return pred, torch.tensor(rng.integers(0, instances + 1, (batch, *size)))


@pytest.mark.parametrize("instances", [0, 1, 2, 5, 18])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_random_colors(rng, instances, dtype):
    assert_matches(*random_case(rng, instances, dtype=dtype), tiles=SMALL)


def test_tiles_of_the_table(rng):
    assert_matches(*random_case(rng, 7, size=(31, 33)), tiles=Tiles())


def test_float64(rng):
    assert_matches(*random_case(rng, 9, dtype=torch.float64), tiles=SMALL, grad_rtol=1e-12, loss_rtol=1e-13)


@pytest.mark.parametrize("pixels", [1, 2, 63, 64, 65, 129])  # around the sizes of tiles
def test_any_number_of_pixels(rng, pixels):
    assert_matches(*random_case(rng, 3, size=(1, pixels)), tiles=SMALL)


def test_pictures_with_different_numbers_of_instances(rng):
    pred, labels = random_case(rng, 13, batch=4)
    labels[1] %= 3
    labels[2] = 0
    labels[3] = 7
    assert_matches(pred, labels, tiles=SMALL)


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6, 0.0])
@pytest.mark.parametrize("spread", [1e-3, 1.0])
def test_means_that_nearly_coincide(rng, gap, spread):
    labels = torch.tensor(rng.integers(1, 3, (1, 24, 24)))
    base = 200.3 + spread * rng.standard_normal((1, 3, 24, 24))
    assert_matches(torch.tensor(base + gap * (labels.numpy()[:, None] - 1), dtype=torch.float32), labels)


def test_one_flat_color_pushes_nothing(rng):
    _, labels = random_case(rng)
    loss, grad = run(torch.full((2, 3, 11, 13), 90.1), labels + 1)
    assert loss > 0
    assert grad.abs().max() < 1e-10


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_saturated_colors(rng, dtype):
    pred, labels = random_case(rng, 40, dtype=dtype)
    assert_matches(torch.where(pred < 128, 0.0, 255.0).to(dtype), labels)


def test_instances_of_one_pixel(rng):
    pred, _ = random_case(rng, batch=1, size=(9, 9))
    assert_matches(pred, torch.arange(81).reshape(1, 9, 9))
    assert_matches(pred[..., :3, :], torch.arange(1, 28).reshape(1, 3, 9), tiles=SMALL)
    assert_matches(pred[..., :1, :1], torch.tensor([[[4]]]))


def test_hundreds_of_instances_on_a_small_picture(rng):
    pred, labels = random_case(rng, 300, batch=1, size=(25, 31))
    assert_matches(pred, labels, tiles=replace(LARGE, pixel_chain=32, mean_pixels=64, mean_block=64))


def test_three_thousand_instances(rng):
    pred = torch.tensor(rng.uniform(0, 255, (1, 3, 59, 61)), dtype=torch.float32)
    pred[..., :30] = torch.where(pred[..., :30] < 128, 0.0, 255.0)
    labels = torch.tensor(rng.permutation(np.arange(59 * 61) % 3001).reshape(1, 59, 61))
    assert labels.max() == 3000
    assert_matches(pred, labels)


@pytest.mark.parametrize("ignored", [[True, True], [True, False], [False, True]])
def test_ignored_background_per_image(rng, ignored):
    assert_matches(*random_case(rng), ignored=ignored)
    pred, labels = random_case(rng, 2)
    labels[0] = 0
    assert_matches(pred, labels, ignored=ignored, tiles=SMALL)


def test_background_only(rng):
    pred, labels = random_case(rng, 0)
    assert_matches(pred, labels)
    loss, grad = run(pred, labels, ignored=[True, True])
    assert (loss, grad.abs().max()) == (0.0, 0.0)


def test_no_background(rng):
    pred, labels = random_case(rng, 0)
    assert_matches(pred, labels + 3)


@pytest.mark.parametrize("hidden", [float("nan"), float("inf")])
def test_valid_mask_hides_colors_and_labels(rng, hidden):
    pred, labels = random_case(rng)
    valid = torch.tensor(rng.random(labels.shape) < 0.6)
    valid[1, 0, 0] = False
    assert_matches(pred, labels, valid=valid)
    loss, grad = run(pred, labels, valid=valid, tiles=SMALL)
    pred = torch.where(valid[:, None], pred, hidden)
    same_loss, same_grad = run(pred, torch.where(valid, labels, -5), valid=valid, tiles=SMALL)
    assert same_loss == loss
    assert torch.equal(same_grad, grad)
    assert not grad[~valid[:, None].expand_as(grad)].any()


def test_nothing_counted(rng):
    pred, labels = random_case(rng)
    loss, grad = run(pred, labels, valid=torch.zeros(labels.shape, dtype=torch.bool))
    assert (loss, grad.abs().max()) == (0.0, 0.0)
    one_empty = torch.ones(labels.shape, dtype=torch.bool)
    one_empty[0] = False
    assert_matches(pred, labels, valid=one_empty)
    loss, grad = run(torch.zeros(2, 3, 0, 5), torch.zeros(2, 0, 5, dtype=torch.long))
    assert (loss, grad.shape) == (0.0, (2, 3, 0, 5))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_colors_that_are_no_numbers_reach_the_loss(rng, value):
    pred, labels = random_case(rng, batch=1)
    pred[0, 1, 3, 4] = value
    assert not np.isfinite(run(pred, labels)[0])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32], ids=str)
def test_label_types(rng, dtype):
    pred, labels = random_case(rng)
    loss, grad = run(pred, labels.to(dtype), valid=labels > 1)
    expected = run(pred, labels, valid=labels > 1)
    assert loss == expected[0]
    assert torch.equal(grad, expected[1])


def test_negative_label_is_refused(rng):
    pred, labels = random_case(rng)
    labels[1, 3, 3] = -2
    with pytest.raises(ValueError, match="labels must be >= 0 where valid, got -2"):
        run(pred, labels)


def test_strided_input(rng):
    pred, labels = random_case(rng)
    loss, grad = run(pred.contiguous(memory_format=torch.channels_last), labels.mT.contiguous().mT)
    expected = run(pred, labels)
    assert loss == expected[0]
    assert torch.equal(grad, expected[1])


@pytest.mark.parametrize("highest", [60, 2**62])
def test_names_of_labels_do_not_matter(rng, highest):
    pred, labels = random_case(rng, 12)
    names = torch.tensor(np.sort([0, *rng.choice(highest, 12, replace=False) + 1]))
    loss, grad = run(pred, names[labels])
    expected = run(pred, labels)
    assert loss == expected[0]  # to the last bit: names keep their order
    assert torch.equal(grad, expected[1])
    other = names[torch.tensor([0, *rng.permutation(12) + 1])]
    loss, grad = run(pred, other[labels], tiles=SMALL)
    assert loss == pytest.approx(expected[0], rel=1e-6)
    torch.testing.assert_close(grad, expected[1], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("tiles", [LARGE, SMALL], ids=["large", "small"])
def test_order_of_pixels_does_not_matter(rng, tiles):
    pred, labels = random_case(rng, 12, batch=1)
    order = torch.tensor(rng.permutation(labels.numel()))
    loss, grad = run(pred, labels, tiles=tiles)
    mixed = pred.flatten(2)[..., order].reshape(pred.shape)
    moved, moved_grad = run(mixed, labels.flatten()[order].reshape(labels.shape), tiles=tiles)
    assert moved == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(moved_grad.flatten(2), grad.flatten(2)[..., order], rtol=1e-4, atol=1e-9)


def test_batch_is_the_mean_of_its_images(rng):
    pred, labels = random_case(rng)
    labels[1] %= 4
    singles = [run(pred[b : b + 1], labels[b : b + 1], [bool(b)], tiles=SMALL) for b in range(2)]
    loss, grad = run(pred, labels, [False, True], tiles=SMALL)
    assert loss == np.mean([single[0] for single in singles])
    torch.testing.assert_close(grad, torch.cat([single[1] for single in singles]) / 2, rtol=1e-6, atol=1e-12)


def test_same_bits_on_every_run_and_in_any_order_of_programs(rng, monkeypatch):
    pred, labels = random_case(rng, 9, size=(11, 17))
    loss, grad = run(pred, labels, tiles=SMALL)
    again, again_grad = run(pred, labels, tiles=SMALL)
    assert again == loss
    assert torch.equal(again_grad, grad)

    builder = type(interpreter.interpreter_builder)
    forward = builder.set_grid_idx
    seen = set()

    def backward(self, *index):
        seen.add(index)
        forward(self, *(size - 1 - i for size, i in zip(self.grid_dim, index, strict=True)))

    monkeypatch.setattr(builder, "set_grid_idx", backward)
    again, again_grad = run(pred, labels, tiles=SMALL)
    assert np.max(list(seen), axis=0).min() > 0  # several programs along each axis
    assert again == loss
    assert torch.equal(again_grad, grad)


def test_candidates_agree(rng):
    pred, labels = random_case(rng, 3, batch=1, size=(6, 7))
    loss, grad = run(pred, labels)
    for tiles in candidates(Tiles()):
        other, other_grad = run(pred, labels, tiles=tiles)
        assert other == pytest.approx(loss, rel=1e-7)
        torch.testing.assert_close(other_grad, grad, rtol=1e-4, atol=1e-9)


def test_terms_are_those_of_the_definition(rng):
    pred, labels = random_case(rng, batch=1)
    config = LossConfig(7.0, 200.0, 100.0, 2.5, 3.0, 0.5)
    terms, _ = loss_and_grad(pred, labels, [False], None, config, True, tiles=SMALL)
    expected, _ = image_terms(pred[0].flatten(1).T.double().numpy(), labels.flatten().numpy(), False, config)
    np.testing.assert_allclose(terms[0], expected, rtol=1e-6)
    without, none = loss_and_grad(pred, labels, [False], None, config, False, tiles=SMALL)
    assert none is None
    assert torch.equal(without, terms)


def test_through_the_autograd_function(rng, monkeypatch):
    monkeypatch.setattr(autograd, "_implementation", lambda pred: loss_and_grad)
    pred, labels = random_case(rng, dtype=torch.float16)
    pred.requires_grad_()
    loss, terms = instance_coloring_terms(pred, labels, ignore_background=[True, False])
    (loss * 1024).backward()
    expected, grad = instance_coloring_reference(pred.detach().double().numpy(), labels.numpy(), [True, False])
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert sum(term.item() for term in terms.values()) == pytest.approx(expected, rel=1e-6)
    assert pred.grad is not None
    assert np.linalg.norm(pred.grad.double().numpy() / 1024 - grad) < 2**-10 * np.linalg.norm(grad)
    with torch.no_grad():
        assert instance_coloring_loss(pred, labels, ignore_background=[True, False]).item() == loss.item()


def test_real_label_maps(rng):
    root = Path(os.environ.get("GEN2SEG_DATA", Path(__file__).parents[2] / "../shared/data"))
    names = sorted(root.glob("*/instances/*.png"))[::29]
    if not names:
        pytest.skip(f"no evaluation images in {root} (set GEN2SEG_DATA)")
    most = 0
    for name in names:
        labels = np.array(Image.open(name))[None, ::5, ::5][:, :72, :96].astype(np.int32)
        table = rng.uniform(0, 255, (labels.max() + 1, 3))
        table[0] = 0
        colors = table[labels[0]].transpose(2, 0, 1) + rng.normal(0, 12, (3, *labels.shape[1:]))
        pred = torch.tensor(np.clip(colors, 0, 255)[None], dtype=torch.float32)
        assert_matches(pred, torch.tensor(labels))
        most = max(most, len(np.unique(labels)))
    assert most > 10
