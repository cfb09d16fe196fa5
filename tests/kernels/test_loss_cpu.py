"""The loss in C against its float64 definition, on every instruction set that this machine runs."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gen2seg_kernels.loss.config import LossConfig
from gen2seg_kernels.loss.cpu import BEST, loss_and_grad
from gen2seg_kernels.loss.reference import image_terms, instance_coloring_reference
from gen2seg_kernels.native import load_native

if load_native() is None:
    pytest.skip("the C extension is not installed", allow_module_level=True)

LOSS_RTOL = 1e-6
LEVELS = {"any": 0, "avx2": 1, "avx512": 2}  # above the machine's own, its own runs


@pytest.fixture(params=LEVELS.values(), ids=list(LEVELS))
def level(request):
    return request.param


def run(pred, labels, ignored=None, valid=None, **options):
    """Loss and gradient, as the oracle gives them."""
    flags = [False] * len(pred) if ignored is None else ignored
    terms, grad = loss_and_grad(pred, labels, flags, valid, LossConfig(), True, **options)
    assert grad is not None
    return float(terms.sum(1).mean()), grad


def assert_equals(got, expected):
    assert got[0] == pytest.approx(expected[0], rel=LOSS_RTOL, abs=1e-12)
    rtol = 1e-12 if got[1].dtype == np.float64 else 1e-5
    for ours, wanted in zip(got[1], expected[1], strict=True):
        assert np.linalg.norm(ours - wanted) <= rtol * np.linalg.norm(wanted) + 1e-15


def assert_matches(pred, labels, ignored=None, valid=None, level=BEST):
    got = run(pred, labels, ignored, valid, level=level)
    assert_equals(got, instance_coloring_reference(pred, labels, ignored, valid))


def random_case(rng, instances=6, batch=2, size=(31, 45), dtype="float32"):
    pred = rng.uniform(0, 255, (batch, 3, *size)).astype(dtype)
    return pred, rng.integers(0, instances + 1, (batch, *size))


@pytest.mark.parametrize("instances", [0, 1, 2, 3, 4, 5, 64, 65, 300])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_random_colors(rng, level, instances, dtype):
    assert_matches(*random_case(rng, instances, dtype=dtype), level=level)


# Around the sizes of a vector, of a run of one sum and of a tile.
@pytest.mark.parametrize("pixels", [1, 2, 7, 15, 16, 17, 127, 129, 511, 512, 513, 1025])
def test_any_number_of_pixels(rng, level, pixels):
    assert_matches(*random_case(rng, size=(1, pixels)), level=level)


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6, 0.0])
@pytest.mark.parametrize("spread", [1e-3, 1.0])
def test_means_that_nearly_coincide(rng, level, gap, spread):
    labels = rng.integers(1, 3, (1, 60, 70))
    colors = 200.3 + spread * rng.standard_normal((1, 3, 60, 70)) + gap * (labels[:, None] - 1)
    assert_matches(colors.astype(np.float32), labels, level=level)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_flat_color_pushes_nothing(rng, level, dtype):
    _, labels = random_case(rng)
    loss, grad = run(np.full((2, 3, 31, 45), 90.1, dtype), labels + 1, level=level)
    assert loss > 0
    assert np.abs(grad).max() < 1e-10


def test_saturated_colors(rng, level):
    pred, labels = random_case(rng, 40)
    assert_matches(np.where(pred < 128, 0, 255).astype(np.float32), labels, level=level)


@pytest.mark.parametrize("saturated", [False, True])
def test_three_thousand_instances(rng, saturated):
    labels = rng.permutation(np.arange(70 * 60) % 3001).reshape(1, 70, 60)
    assert labels.max() == 3000
    pred = rng.uniform(0, 255, (1, 3, 70, 60)).astype(np.float32)
    if saturated:
        pred = np.where(pred < 128, 0, 255).astype(np.float32)
    expected = instance_coloring_reference(pred, labels)
    for level in LEVELS.values():
        assert_equals(run(pred, labels, level=level), expected)


@pytest.mark.parametrize("instances", range(1, 14))
def test_every_pixel_an_instance(rng, level, instances):
    pred = rng.uniform(0, 255, (1, 3, 1, instances)).astype(np.float32)
    assert_matches(pred, np.arange(instances).reshape(1, 1, -1), level=level)
    assert_matches(pred, np.arange(instances).reshape(1, 1, -1) + 1, level=level)


@pytest.mark.parametrize("ignored", [[True, True], [True, False], [False, True]])
def test_ignored_background(rng, level, ignored):
    assert_matches(*random_case(rng), ignored=ignored, level=level)
    pred, labels = random_case(rng, 0)
    assert_matches(pred, labels, ignored=ignored, level=level)


def test_valid_mask(rng, level):
    pred, labels = random_case(rng, size=(60, 70))
    valid = rng.random(labels.shape) < 0.6
    assert_matches(pred, labels, valid=valid, level=level)
    hidden = np.where(valid[:, None], pred, np.float32("nan"))
    unlabelled = np.where(valid, labels, -9)
    loss, grad = run(hidden, unlabelled, valid=valid, level=level)
    assert loss == run(pred, labels, valid=valid, level=level)[0]
    assert not grad[~np.broadcast_to(valid[:, None], grad.shape)].any()


def test_nothing_valid_gives_zero(rng):
    pred, labels = random_case(rng)
    loss, grad = run(pred, labels, valid=np.zeros(labels.shape, bool))
    assert (loss, np.abs(grad).max()) == (0.0, 0.0)
    assert run(pred[:, :, :0], labels[:, :0])[0] == 0.0


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64])
def test_label_types(rng, dtype):
    pred, labels = random_case(rng)
    assert run(pred, labels.astype(dtype))[0] == run(pred, labels)[0]


@pytest.mark.parametrize("highest", [100, 2**16, 2**33, 2**62])
def test_names_of_labels_do_not_matter(rng, highest):
    pred, labels = random_case(rng, 50, batch=1)
    names = np.sort(np.append(0, rng.choice(highest, 50, replace=False) + 1))
    loss, grad = run(pred, names[labels])
    expected = run(pred, labels)
    assert loss == expected[0]  # to the last bit: names keep their order
    assert np.array_equal(grad, expected[1])


def test_thousands_of_far_apart_names(rng):
    pred = rng.uniform(0, 255, (1, 3, 60, 50)).astype(np.float32)
    names = rng.choice(2**60, 3000, replace=False).reshape(1, 60, 50) + 1
    assert_matches(pred, names)


def test_order_of_pixels_does_not_matter(rng, level):
    pred, labels = random_case(rng, 20, batch=1)
    order = rng.permutation(labels.size)
    loss, grad = run(pred, labels, level=level)
    mixed = pred.reshape(1, 3, -1)[..., order].reshape(pred.shape)
    moved, moved_grad = run(mixed, labels.flatten()[order].reshape(labels.shape), level=level)
    assert moved == pytest.approx(loss, rel=1e-7)
    np.testing.assert_allclose(moved_grad.reshape(3, -1), grad.reshape(3, -1)[:, order], rtol=1e-5, atol=1e-9)


def test_batch_is_the_mean_of_its_images(rng, level):
    pred, labels = random_case(rng)
    singles = [run(pred[b : b + 1], labels[b : b + 1], level=level) for b in range(2)]
    loss, grad = run(pred, labels, level=level)
    assert loss == np.mean([single[0] for single in singles])
    assert np.array_equal(grad, np.concatenate([single[1] for single in singles]) / 2)  # a power of two


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("instances", [30, 900])
def test_threads_do_not_change_a_bit(rng, dtype, instances):
    # Enough work for threads to be used at all, and a last tile that is not full.
    pred, labels = random_case(rng, instances, batch=1, size=(331, 431), dtype=dtype)
    once = run(pred, labels, threads=1)
    for threads in (2, 3, 16):
        again = run(pred, labels, threads=threads)
        assert again[0] == once[0]
        assert np.array_equal(again[1], once[1])


def test_terms_are_those_of_the_definition(rng, level):
    pred, labels = random_case(rng, batch=1)
    config = LossConfig(7.0, 200.0, 100.0, 2.5, 3.0, 0.5)
    terms, _ = loss_and_grad(pred, labels, [False], None, config, True, level=level)
    expected, _ = image_terms(pred[0].reshape(3, -1).T.astype(float), labels.flatten(), False, config)
    np.testing.assert_allclose(terms[0], expected, rtol=1e-6)
    without, none = loss_and_grad(pred, labels, [False], None, config, False, level=level)
    assert none is None
    np.testing.assert_allclose(without, terms, rtol=1e-7)


def test_bits_of_bfloat16(rng):
    pred, labels = random_case(rng)
    bits = (pred.view(np.uint32) >> 16).astype(np.uint16)
    narrow = (bits.astype(np.uint32) << 16).view(np.float32)
    assert run(bits, labels)[0] == run(narrow, labels)[0]
    assert np.array_equal(run(bits, labels)[1], run(narrow, labels)[1])


def test_all_halves_are_read_exactly():
    # One instance beside a black background: the intra gradient is 0 only where the value met its own mean.
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16)  # subnormals to the largest
    pred = np.concatenate([halves, -halves]).reshape(1, 1, 1, -1).repeat(3, 1)
    labels = np.arange(1, pred.shape[-1] + 1).reshape(1, 1, -1) % 4
    got, expected = run(pred, labels), run(pred.astype(np.float32), labels)
    assert got[0] == expected[0]
    assert np.array_equal(got[1], expected[1])
    for special in (np.inf, np.nan):
        pred[..., 0] = special
        assert np.isnan(run(pred, labels)[0])


def test_arrays_need_not_be_contiguous(rng):
    pred, labels = random_case(rng)
    loss, grad = run(np.asfortranarray(pred), np.asfortranarray(labels), valid=np.ones(labels.shape, bool).T.copy().T)
    expected = run(pred, labels)
    assert loss == expected[0]
    assert np.array_equal(grad, expected[1])


def test_arrays_need_not_be_aligned(rng):
    pred, labels = random_case(rng)
    moved = [np.frombuffer(b"." + a.tobytes(), a.dtype, a.size, 1).reshape(a.shape) for a in (pred, labels)]
    assert not any(array.flags.aligned for array in moved)
    assert run(*moved)[0] == run(pred, labels)[0]


def test_other_python_threads_go_on(rng):
    pred, labels = random_case(rng, 1000, batch=1, size=(400, 400))
    began, ended = threading.Event(), threading.Event()

    def work():
        began.set()
        run(pred, labels, threads=1, level=0)
        ended.set()

    worker = threading.Thread(target=work)
    worker.start()
    began.wait()
    ticks = 0
    while not ended.is_set():
        time.sleep(0.002)
        ticks += 1
    worker.join()
    assert ticks >= 10


def test_memory_of_many_instances():
    code = """
import resource
import numpy as np
from gen2seg_kernels.loss.config import LossConfig
from gen2seg_kernels.loss.cpu import loss_and_grad
pred = np.random.default_rng(0).uniform(0, 255, (1, 3, 480, 640)).astype(np.float32)
labels = np.arange(480 * 640).reshape(1, 480, 640) % 1251
loss_and_grad(pred[:, :, :8], labels[:, :8], [False], None, LossConfig(), True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
loss_and_grad(pred, labels, [False], None, LossConfig(), True)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 32  # MB; 480 x 640 x 1250 float32 would be 1536


def real_label_maps():
    root = Path(os.environ.get("GEN2SEG_DATA", Path(__file__).parents[2] / "../shared/data"))
    return sorted(root.glob("*/instances/*.png"))[::29]


def test_real_label_maps(rng):
    names = real_label_maps()
    if not names:
        pytest.skip("no evaluation images (set GEN2SEG_DATA)")
    most = 0
    for name in names:
        labels = np.array(Image.open(name))[None, :240, :320].astype(np.int32)
        table = rng.uniform(0, 255, (labels.max() + 1, 3))
        table[0] = 0
        colors = table[labels[0]].transpose(2, 0, 1) + rng.normal(0, 12, (3, *labels.shape[1:]))
        assert_matches(np.clip(colors, 0, 255)[None].astype(np.float32), labels)
        most = max(most, len(np.unique(labels)))
    assert most > 20


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"pred": np.zeros((1, 3, 4, 4), np.int32)}, TypeError, "pred must be float16"),
        ({"pred": np.zeros((1, 4, 4, 4), np.float32)}, ValueError, r"pred must be \(B, 3, H, W\)"),
        ({"labels": np.zeros((1, 4, 4))}, TypeError, "labels must be integers"),
        ({"labels": np.zeros((1, 4, 5), int)}, ValueError, "labels must be"),
        ({"labels": np.full((1, 4, 4), -2)}, ValueError, "labels must be >= 0 where valid, got -2"),
        ({"valid": np.zeros((1, 4, 4), np.uint8)}, TypeError, "valid must be bool"),
        ({"valid": np.zeros((4, 4), bool)}, ValueError, "valid must be"),
        ({"ignored": [True, False]}, ValueError, "ignored must hold 1 values"),
        ({"threads": 0}, ValueError, "threads must be at least 1"),
    ],
)
def test_bad_arguments(change, error, message):
    arguments = {
        "pred": np.zeros((1, 3, 4, 4), np.float32),
        "labels": np.zeros((1, 4, 4), int),
        "ignored": [False],
        "valid": None,
        "config": LossConfig(),
        "with_grad": True,
        **change,
    }
    with pytest.raises(error, match=message):
        loss_and_grad(**arguments)


def test_the_c_function_checks_lengths_itself():
    native: Any = load_native()
    pixels, labels = np.zeros((3, 8), np.float32), np.zeros(8, np.int32)
    rest = (None, False, (10.0, 300.0, 300.0, 1.0, 1.0, 1.0), 1.0)
    assert native.loss_image(pixels, 2, labels, 4, *rest, None, 1, -1) == (0.0, 0.0, 0.0)
    for bad in [
        (pixels[:2], 2, labels, 4, *rest, None, 1, -1),
        (pixels, 2, labels[:7], 4, *rest, None, 1, -1),
        (pixels, 3, labels, 4, *rest, None, 1, -1),
        (pixels, 4, labels, 4, *rest, None, 1, -1),
        (pixels, 2, labels, 6, *rest, None, 1, -1),
        (pixels, 2, labels, 4, *rest, np.zeros(23, np.float32), 1, -1),
        (pixels, 2, labels, 4, np.zeros(7, bool), *rest[1:], None, 1, -1),
    ]:
        with pytest.raises(ValueError, match="loss_image"):
            native.loss_image(*bad)
    with pytest.raises(BufferError):
        native.loss_image(pixels, 2, labels, 4, *rest, bytes(96), 1, -1)
