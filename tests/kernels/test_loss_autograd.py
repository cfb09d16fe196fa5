"""The training loss against its float64 definition: value to 1e-6, gradient to 1e-5 per image."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from gen2seg_kernels.loss import autograd, eager  # noqa: E402
from gen2seg_kernels.loss.autograd import instance_coloring_loss, instance_coloring_terms  # noqa: E402
from gen2seg_kernels.loss.reference import instance_coloring_reference  # noqa: E402
from gen2seg_kernels.native import load_native  # noqa: E402

LOSS_RTOL, GRAD_RTOL = 1e-6, 1e-5
# Half types round each gradient entry, at 2**-9 (bfloat16) or 2**-11; the loss is exact for their input.
GRAD_RTOL_OF = {
    torch.float64: 1e-12,
    torch.float32: GRAD_RTOL,
    torch.float16: 2**-10,
    torch.bfloat16: 2**-8,
}


@pytest.fixture(params=["compiled", "eager"], autouse=True)
def way(request, monkeypatch):
    """Every test here runs through the C extension and through PyTorch operations."""
    if request.param == "eager":
        monkeypatch.setattr(autograd, "load_native", lambda: None)
    elif load_native() is None:
        pytest.skip("the C extension is not installed")
    return request.param


def run(pred, labels, **options):
    """Loss and gradient by the training code, as float64 arrays."""
    x = pred.clone().requires_grad_()
    loss = instance_coloring_loss(x, labels, **options)
    loss.backward()
    assert x.grad is not None
    assert x.grad.dtype == pred.dtype
    return loss.item(), x.grad.double().numpy()


def assert_matches(pred, labels, ignore_background=None, valid=None, rtol=GRAD_RTOL):
    loss, grad = run(pred, labels, ignore_background=ignore_background, valid=valid)
    expected, expected_grad = instance_coloring_reference(
        pred.double().numpy(),
        labels.numpy(),
        ignore_background,
        None if valid is None else valid.numpy(),
    )
    assert loss == pytest.approx(expected, rel=LOSS_RTOL, abs=1e-12)
    for got, wanted in zip(grad, expected_grad, strict=True):
        size = np.linalg.norm(wanted)
        assert np.linalg.norm(got - wanted) <= rtol * size + 1e-15


def random_case(rng, batch=2, size=16, instances=6):
    pred = torch.tensor(rng.uniform(0, 255, (batch, 3, size, size)), dtype=torch.float32)
    return pred, torch.tensor(rng.integers(0, instances + 1, (batch, size, size)))


@pytest.mark.parametrize("instances", [0, 1, 2, 7, 40])
def test_random_colors(rng, instances):
    assert_matches(*random_case(rng, instances=instances))


@pytest.mark.parametrize("dtype", GRAD_RTOL_OF, ids=str)
def test_types(rng, dtype):
    pred, labels = random_case(rng)
    assert_matches(pred.to(dtype), labels, rtol=GRAD_RTOL_OF[dtype])
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert instance_coloring_loss(pred.to(dtype), labels).dtype == expected


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64], ids=str
)
def test_label_types(rng, dtype):
    pred, labels = random_case(rng)
    assert run(pred, labels.to(dtype))[0] == run(pred, labels)[0]


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6, 0.0])
@pytest.mark.parametrize("spread", [1e-3, 1.0])
def test_means_that_nearly_coincide(rng, gap, spread):
    labels = torch.tensor(rng.integers(1, 3, (1, 24, 24)))
    base = 200.3 + spread * rng.standard_normal((1, 3, 24, 24))
    pred = torch.tensor(base + gap * (labels.numpy()[:, None] - 1), dtype=torch.float32)
    assert_matches(pred, labels)


def test_pixels_at_another_instances_mean(rng):
    labels = torch.tensor(rng.integers(1, 4, (1, 20, 20)))
    pred = torch.full((1, 3, 20, 20), 77.7)
    pred[0, 0] += torch.tensor(rng.choice([0.0, 1e-4, 3e-5], (20, 20)), dtype=torch.float32)
    assert_matches(pred, labels)


@pytest.mark.parametrize("share_saturated", [0.5, 1.0])
def test_saturated_colors(rng, share_saturated):
    pred, labels = random_case(rng)
    extreme = torch.tensor(rng.integers(0, 2, pred.shape)) * 255.0
    pred = torch.where(torch.tensor(rng.random(pred.shape)) < share_saturated, extreme, pred)
    assert_matches(pred, labels)


def test_one_flat_color_pushes_nothing(rng):
    _, labels = random_case(rng, batch=1)
    loss, grad = run(torch.full((1, 3, 16, 16), 90.0), labels.clamp(min=1))
    assert loss > 0
    assert np.abs(grad).max() < 1e-12


def test_three_thousand_instances(rng):
    pred = torch.tensor(rng.uniform(0, 255, (1, 3, 64, 64)), dtype=torch.float32)
    labels = torch.tensor(rng.permutation(np.arange(64 * 64) % 3001).reshape(1, 64, 64))
    assert len(labels.unique()) == 3001
    assert_matches(pred, labels)


def test_instances_of_one_pixel(rng):
    pred, _ = random_case(rng, batch=1, size=9)
    assert_matches(pred, torch.arange(81).reshape(1, 9, 9))
    assert_matches(pred[..., :1, :1], torch.tensor([[[4]]]))
    labels = torch.zeros(1, 9, 9, dtype=torch.long)
    labels[0, 3, 3] = 8
    assert_matches(pred, labels)


def test_background_only(rng):
    pred, labels = random_case(rng, instances=0)
    assert_matches(pred, labels)
    loss, grad = run(pred, labels, ignore_background=True)
    assert (loss, np.abs(grad).max()) == (0.0, 0.0)


def test_one_instance_without_background(rng):
    pred, labels = random_case(rng, instances=0)
    assert_matches(pred, labels + 3)


@pytest.mark.parametrize("ignored", [[True, True], [True, False], [False, True]])
def test_ignored_background_per_image(rng, ignored):
    pred, labels = random_case(rng)
    assert_matches(pred, labels, ignore_background=ignored)
    as_tensor = run(pred, labels, ignore_background=torch.tensor(ignored))
    assert as_tensor[0] == run(pred, labels, ignore_background=ignored)[0]


def test_valid_mask_equals_leaving_pixels_out(rng):
    pred, labels = random_case(rng, batch=1)
    valid = torch.zeros(labels.shape, dtype=torch.bool)
    valid[:, :9] = True
    inside = run(pred[:, :, :9], labels[:, :9])
    pred[:, :, 9:] = float("nan")  # must not reach anything
    labels[:, 9:] = -1  # no label at all
    loss, grad = run(pred, labels, valid=valid)
    assert loss == inside[0]
    assert np.array_equal(grad[:, :, :9], inside[1])
    assert not grad[:, :, 9:].any()


def test_random_valid_mask(rng):
    pred, labels = random_case(rng)
    assert_matches(pred, labels, valid=torch.tensor(rng.random(labels.shape) < 0.6))


def test_empty_valid_region_gives_zero_and_can_be_differentiated(rng):
    pred, labels = random_case(rng)
    loss, grad = run(pred, labels, valid=torch.zeros(labels.shape, dtype=torch.bool))
    assert (loss, np.abs(grad).max()) == (0.0, 0.0)
    one_empty = torch.ones(labels.shape, dtype=torch.bool)
    one_empty[0] = False
    assert_matches(pred, labels, valid=one_empty)


def test_image_of_no_pixels():
    loss, grad = run(torch.zeros(2, 3, 0, 5), torch.zeros(2, 0, 5, dtype=torch.long))
    assert loss == 0.0
    assert grad.shape == (2, 3, 0, 5)


def test_batch_is_the_mean_of_its_images(rng):
    pred, labels = random_case(rng, batch=3)
    singles = [run(pred[b : b + 1], labels[b : b + 1]) for b in range(3)]
    loss, grad = run(pred, labels)
    assert loss == pytest.approx(np.mean([single[0] for single in singles]), rel=1e-6)
    np.testing.assert_allclose(grad, np.concatenate([single[1] for single in singles]) / 3, rtol=1e-6)


# The fixture only chooses the way, which stays the same for all examples.
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1))
def test_names_of_labels_and_order_of_pixels_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    pred, labels = random_case(rng, batch=1, size=8)
    loss, grad = run(pred, labels)
    # Far apart (sorted), or close together (looked up in a table).
    highest = int(rng.choice([60, 2**40]))
    names = torch.tensor([0, *rng.choice(highest, 6, replace=False) + 1])
    renamed = run(pred, names[labels])
    assert renamed[0] == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(renamed[1], grad, rtol=1e-5, atol=1e-9)
    order = torch.tensor(rng.permutation(64))
    moved = run(pred.flatten(2)[..., order].reshape(pred.shape), labels.flatten()[order].reshape(labels.shape))
    assert moved[0] == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(moved[1].reshape(1, 3, 64), grad.reshape(1, 3, 64)[..., order], rtol=1e-5, atol=1e-9)


def test_far_apart_ids_without_background(rng):
    pred, labels = random_case(rng, instances=1)
    names = torch.tensor([2**50, 3])
    assert_matches(pred, names[labels])
    assert run(pred, names[labels])[0] == pytest.approx(run(pred, labels + 1)[0], rel=1e-6)


@pytest.mark.parametrize("tile", [1, 100, 5000])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_tile_sizes_change_nothing(rng, monkeypatch, way, tile, rows):
    if way == "compiled":
        pytest.skip("its tiles are fixed when it is compiled")
    pred, labels = random_case(rng, instances=11)
    expected = run(pred, labels)
    monkeypatch.setattr(eager, "_TILE_CPU", tile)
    monkeypatch.setattr(eager, "_MAX_ROWS", rows)
    loss, grad = run(pred, labels)
    assert loss == pytest.approx(expected[0], rel=1e-7)
    np.testing.assert_allclose(grad, expected[1], rtol=1e-6, atol=1e-12)


def test_gradcheck(rng):
    pred = torch.tensor(20 + 3 * rng.standard_normal((2, 3, 3, 4)), requires_grad=True)
    labels = torch.tensor(rng.integers(0, 4, (2, 3, 4)))
    valid = torch.tensor(rng.random((2, 3, 4)) < 0.8)
    assert torch.autograd.gradcheck(
        lambda x: instance_coloring_loss(x, labels, ignore_background=[True, False], valid=valid), (pred,)
    )


def test_weights_reach_their_terms(rng):
    pred, labels = random_case(rng)

    def terms(**options):
        return {name: term.item() for name, term in instance_coloring_terms(pred, labels, **options)[1].items()}

    base = terms()
    for option, term in [
        ("intra_weight", "intra"),
        ("inter_weight", "inter"),
        ("separation", "inter"),
        ("mean_weight", "mean_level"),
        ("mean_separation", "mean_level"),
    ]:
        default = getattr(autograd.LossConfig(), option)
        changed = terms(**{option: 3 * default})
        assert changed == pytest.approx({**base, term: 3 * base[term]})
    # Far from the means Huber is delta |x|, less half its square.
    assert terms(huber_delta=2.0)["intra"] == pytest.approx(2 * base["intra"], rel=0.05)


def test_terms_add_up_and_are_detached(rng):
    pred, labels = random_case(rng)
    pred.requires_grad_()
    loss, terms = instance_coloring_terms(pred, labels)
    assert list(terms) == ["intra", "inter", "mean_level"]
    assert not any(term.requires_grad for term in terms.values())
    assert sum(term.item() for term in terms.values()) == pytest.approx(loss.item(), rel=1e-6)
    loss.backward()
    assert torch.equal(pred.grad, torch.tensor(run(pred.detach(), labels)[1]).float())


def test_real_label_maps(rng):
    root = Path(os.environ.get("GEN2SEG_DATA", Path(__file__).parents[2] / "../shared/data"))
    names = sorted(root.glob("*/instances/*.png"))[::29]
    if not names:
        pytest.skip(f"no evaluation images in {root} (set GEN2SEG_DATA)")
    for name in names:
        labels = np.array(Image.open(name))[None, ::2, ::2][:, :160, :240].astype(np.int32)
        table = rng.uniform(0, 255, (labels.max() + 1, 3))
        table[0] = 0
        colors = table[labels[0]].transpose(2, 0, 1) + rng.normal(0, 12, (3, *labels.shape[1:]))
        assert_matches(torch.tensor(np.clip(colors, 0, 255)[None], dtype=torch.float32), torch.tensor(labels))


def test_scales_with_the_incoming_gradient_before_rounding_to_half(rng):
    pred, labels = random_case(rng, batch=1, size=64)
    x = pred.half().requires_grad_()
    (instance_coloring_loss(x, labels) * 2.0**14).backward()
    _, expected = instance_coloring_reference(pred.half().double().numpy(), labels.numpy())
    scaled = x.grad.double().numpy() / 2.0**14
    # Unscaled, entries of this size would fall below float16's smallest steps.
    assert np.linalg.norm(scaled - expected) < 2**-10 * np.linalg.norm(expected)


def test_works_under_autocast_and_without_gradients(rng):
    pred, labels = random_case(rng)
    expected = run(pred, labels)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert run(pred, labels)[0] == expected
    with torch.no_grad():
        assert instance_coloring_loss(pred.requires_grad_(), labels).item() == expected


def test_gradient_of_the_gradient_is_refused(rng):
    pred, labels = random_case(rng)
    pred.requires_grad_()
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(instance_coloring_loss(pred, labels), pred, create_graph=True)


def test_strided_input(rng):
    pred, labels = random_case(rng)
    last = pred.contiguous(memory_format=torch.channels_last)
    flipped = labels.transpose(1, 2).contiguous().transpose(1, 2)
    loss, grad = run(last, flipped)
    expected = run(pred, labels)
    assert loss == expected[0]
    np.testing.assert_array_equal(grad, expected[1])


class LargestTensor(TorchDispatchMode):
    """Watches every operation for the number of elements of its results."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = result if isinstance(result, (tuple, list)) else [result]
        sizes = [tensor.numel() for tensor in tensors if isinstance(tensor, torch.Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return result


@pytest.mark.parametrize("instances", [10, 1000, 5000])
def test_no_tensor_of_pixels_times_instances(instances):
    size = 96
    pred = torch.full((1, 3, size, size), 90.0, requires_grad=True)
    labels = torch.arange(size * size).reshape(1, size, size) % (instances + 1)
    with LargestTensor() as largest:
        instance_coloring_loss(pred, labels).backward()
    assert size * size < largest.elements <= eager._TILE_CPU + eager._MAX_ROWS


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"pred": torch.zeros(1, 3, 4, 4, dtype=torch.long)}, TypeError, "pred must be float16"),
        ({"pred": torch.zeros(1, 4, 4, 4)}, ValueError, r"pred must be \(B, 3, H, W\)"),
        ({"pred": torch.zeros(3, 4, 4)}, ValueError, r"pred must be \(B, 3, H, W\)"),
        ({"pred": torch.zeros(0, 3, 4, 4)}, ValueError, "batch size is 0"),
        ({"labels": torch.zeros(1, 4, 4)}, TypeError, "labels must be an integer tensor"),
        ({"labels": torch.zeros(1, 4, 5, dtype=torch.long)}, ValueError, "labels must be"),
        ({"labels": torch.full((1, 4, 4), -2)}, ValueError, "labels must be >= 0 where valid, got -2"),
        ({"labels": torch.zeros(1, 4, 4, dtype=torch.long, device="meta")}, ValueError, "device of pred"),
        ({"valid": torch.ones(1, 4, 4)}, TypeError, "valid must be a bool tensor"),
        ({"valid": torch.ones(4, 4, dtype=torch.bool)}, ValueError, "valid must be"),
        ({"ignore_background": [True, False]}, ValueError, "ignore_background must hold 1 values"),
        ({"ignore_background": [1]}, TypeError, "ignore_background must hold bools"),
        ({"inter_weight": -1.0}, ValueError, "inter_weight"),
    ],
)
def test_bad_arguments(change, error, message):
    arguments = {"pred": torch.zeros(1, 3, 4, 4), "labels": torch.zeros(1, 4, 4, dtype=torch.long), **change}
    with pytest.raises(error, match=message):
        instance_coloring_loss(**arguments)
