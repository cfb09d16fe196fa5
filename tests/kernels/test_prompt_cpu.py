"""The C path of prompting gives the plain path's masks: sizes, layouts, threads, instruction sets, modes."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from gen2seg_kernels import prepare_colors, prompt_mask, prompt_masks
from gen2seg_kernels.prompt import cpu, plain
from gen2seg_kernels.prompt.metric import MetricCut
from gen2seg_kernels.prompt.reference import filter_tables
from gen2seg_kernels.prompt.request import ReferenceCut, check_prompt
from gen2seg_kernels.threads import thread_count

native = pytest.importorskip("gen2seg_kernels._native", reason="the package was installed without its C extension")

INSTRUCTION_SETS = [name for name in ("any", "avx2", "avx512") if native.use_isa(name)]
native.use_isa("")
BIG = (300, 400)  # large enough for several threads


@pytest.fixture(params=INSTRUCTION_SETS)
def isa(request):
    assert native.use_isa(request.param)
    yield request.param
    native.use_isa("")


def images(rng, height, width):
    """Colour images of every kind (name, (H, W, 3) uint8)."""
    shape = (height, width, 3)
    coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    blocks = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST).reshape(shape)
    two = rng.integers(0, 2, (height, width, 1)).astype(bool)
    yield "noise", rng.integers(0, 256, shape, dtype=np.uint8)
    yield "noisy blocks", np.clip(blocks + rng.normal(0, 6, shape), 0, 255).astype(np.uint8)
    yield "smooth", cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(shape)
    yield "flat", np.full(shape, 77, np.uint8)
    yield "two colours", np.where(two, [0, 0, 0], [255, 255, 255]).astype(np.uint8)


def clicks(rng, height, width):
    """Corners, the middle of a border, and anywhere, as one prompt each, with signs."""
    x, y = rng.uniform(-0.5, width - 0.5, 3), rng.uniform(-0.5, height - 0.5, 3)
    corner = [(0, 0), (width - 1, 0), (0, height - 1), (width - 0.5, height - 0.5)][int(rng.integers(4))]
    return [
        check_prompt([corner], None, height, width),
        check_prompt([(width // 2, 0), (x[0], y[0])], [1, 0], height, width),
        check_prompt(np.stack([x, y], 1), [1, 0, 1], height, width),
        check_prompt([(0, height // 2)], [0], height, width),
    ]


def cuts(rng):
    """Both modes; at small sizes a wide Gaussian is needed to see more than the clicked pixel."""
    yield ReferenceCut(float(rng.choice([0.01, 0.15])), float(rng.choice([0, 3, 3, 40])))
    yield MetricCut(float(rng.choice([0.5, 20, 40, 90])), True)
    yield MetricCut(40.0, False)


def assert_same(image, prompts, cut, **how):
    expected = plain.masks(image, prompts, cut)
    assert np.array_equal(cpu.masks(image, prompts, cut, **how), expected)
    assert np.array_equal(cpu.masks(prepare_colors(image, threads=2), prompts, cut, **how), expected)


@pytest.mark.parametrize("height", range(1, 25))
def test_every_small_size(rng, height, isa):
    for width in range(1, 25):
        for name, image in list(images(rng, height, width))[int(rng.integers(2)) :: 2]:
            for cut in cuts(rng):
                prompts = clicks(rng, height, width)
                expected = plain.masks(image, prompts, cut)
                assert np.array_equal(cpu.masks(image, prompts, cut), expected), (name, height, width, cut)


@pytest.mark.parametrize("size", [BIG, (2, 700), (700, 2), (129, 191), (64, 64), (65, 127)], ids=str)
def test_larger_sizes(rng, size, isa):
    for name, image in images(rng, *size):
        for cut in cuts(rng):
            prompts = clicks(rng, *size)
            assert np.array_equal(cpu.masks(image, prompts, cut), plain.masks(image, prompts, cut)), (name, cut)


def test_real_images(rng, real_images, isa):
    for image in real_images:
        for cut in cuts(rng):
            assert_same(image, clicks(rng, *image.shape[:2]), cut)


@pytest.mark.parametrize("threshold", [-1, 0.5, 100, 252.9, 253, 254, 255, 300])
def test_unusual_thresholds(rng, threshold, isa):
    for _, image in images(rng, 30, 40):
        assert_same(image, clicks(rng, 30, 40), ReferenceCut(0.01, threshold))


@pytest.mark.parametrize("sigma", [1e-300, 1e-4, 0.05, 30.0, 1e300])
def test_unusual_sigmas(rng, sigma):
    for _, image in images(rng, 30, 40):
        assert_same(image, clicks(rng, 30, 40), ReferenceCut(sigma, 3))


@pytest.mark.parametrize("distance", [1e-300, 442.0, 1e200, 1e308])
def test_unusual_distances(rng, distance, isa):
    for _, image in images(rng, 30, 40):
        assert_same(image, clicks(rng, 30, 40), MetricCut(distance))
        mask, confidence = cpu.mask_with_confidence(image, clicks(rng, 30, 40)[0], MetricCut(distance))
        if distance > 1:  # black and white are 441.7 apart
            assert mask.all()
            assert distance == 442.0 or confidence == 1.0


@pytest.mark.parametrize("threads", [1, 2, 3, 7, 200])
def test_threads_change_nothing(rng, threads):
    for _, image in images(rng, *BIG):
        prompts = clicks(rng, *BIG)
        for cut in cuts(rng):
            assert_same(image, prompts, cut, threads=threads)  # threads take whole prompts, or
            assert_same(image, prompts[:1], cut, threads=threads)  # share the rows of one


def test_the_environment_sets_the_threads(monkeypatch):
    image = np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setenv("GEN2SEG_NUM_THREADS", "2")
    assert thread_count() == 2
    assert thread_count(3) == 3
    monkeypatch.setenv("GEN2SEG_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="GEN2SEG_NUM_THREADS must be a positive whole number, got 'many'"):
        prompt_mask(image, [(0, 0)])
    prompt_mask(image, [(0, 0)], threads=1)  # the argument comes first


@pytest.mark.parametrize(("threads", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_the_number_of_threads_is_checked(threads, error):
    with pytest.raises(error, match="threads must be"):
        prompt_mask(np.zeros((4, 4, 3), np.uint8), [(0, 0)], threads=threads)


def test_sixteen_callers_at_once(rng):
    work = []
    for _, image in images(rng, *BIG):
        for cut in cuts(rng):
            prompts = clicks(rng, *BIG)
            work.append((image, prompts, cut, plain.masks(image, prompts, cut)))

    def all_of_it(_):
        return all(np.array_equal(cpu.masks(image, p, cut, threads=2), expected) for image, p, cut, expected in work)

    with ThreadPoolExecutor(16) as callers:
        assert all(callers.map(all_of_it, range(16)))


def test_sizes_in_turn_share_scratch_memory(rng):
    for size in [(40, 60), (3, 5), (200, 100), (41, 60), (300, 400), (1, 1), (40, 60)]:
        for _, image in images(rng, *size):
            for cut in cuts(rng):
                assert_same(image, clicks(rng, *size), cut)


def test_any_layout(rng, isa):
    image = next(image for name, image in images(rng, 50, 70) if name == "noisy blocks")
    prompts = clicks(rng, 50, 70)
    wide = np.zeros((100, 210, 6), np.uint8)
    wide[::2, ::3, ::2] = image
    planes = np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)
    frozen = image.copy()
    frozen.flags.writeable = False
    for cut in cuts(rng):
        expected = plain.masks(image, prompts, cut)
        views = (wide[::2, ::3, ::2], planes, np.asfortranarray(image), frozen, image[::-1].copy()[::-1])
        views += (image[..., ::-1].copy()[..., ::-1],)
        for view in views:
            assert np.array_equal(cpu.masks(view, prompts, cut), expected)


def test_confidence(rng, isa):
    for size in [(1, 1), (5, 70), (60, 90), BIG]:
        for _, image in images(rng, *size):
            for cut in (MetricCut(30.0, True), MetricCut(60.0, False)):
                for prompt in clicks(rng, *size):
                    mask, confidence = cpu.mask_with_confidence(image, prompt, cut)
                    expected, sure = plain.mask_with_confidence(image, prompt, cut)
                    assert np.array_equal(mask, expected)
                    assert confidence == sure


def test_a_winding_region_is_one_region():
    # A spiral of one pixel's width: the flood has to turn at every end.
    size = 61
    image = np.zeros((size, size, 3), np.uint8)
    y = x = 0
    dy, dx = 0, 1
    image[y, x] = 200
    for _ in range(size * size):
        ahead, beyond = (y + dy, x + dx), (y + 2 * dy, x + 2 * dx)
        if not all(0 <= v < size for v in ahead) or (all(0 <= v < size for v in beyond) and image[beyond].any()):
            dy, dx = dx, -dy
            if image[y + dy, x + dx].any() or image[y + 2 * dy, x + 2 * dx].any():
                break
            continue
        y, x = ahead
        image[y, x] = 200
    assert image.any(2).sum() > size * size / 3
    for start in [(0, 0), (x, y)]:
        assert_same(image, [check_prompt([start], None, size, size)], MetricCut(40.0, True))
        assert prompt_mask(image, [start], mode="metric").sum() == image.any(2).sum()


def test_weights_are_the_definitions(isa):
    exact, approximate = np.array(native.filter_weights()).T
    assert np.array_equal(exact.astype(np.float32), filter_tables()[2])
    assert np.abs(approximate / exact - 1).max() < 1e-4  # the filter counts on 1.5e-4, rounding included


def test_no_prompts_and_an_empty_result():
    assert prompt_masks(np.zeros((3, 4, 3), np.uint8), [], mode="metric").shape == (0, 3, 4)


def test_the_extension_checks_what_it_is_handed():
    colors, out = np.zeros((4, 5, 3), np.uint8), np.zeros((1, 4, 5), bool)
    points, signs, starts = np.zeros((1, 2)), np.ones(1, bool), np.array([0, 1])

    def call(colors=colors, points=points, signs=signs, starts=starts, out=out):
        native.prompt_reference(colors, points, signs, starts, out, 1, 0.01, 3.0)

    call()
    for wrong in (
        {"colors": colors[..., 0]},
        {"colors": colors[:0]},
        {"points": np.zeros((2, 2))},
        {"points": np.full((1, 2), 9.0)},
        {"points": np.full((1, 2), np.nan)},
        {"starts": np.array([0, 2])},
        {"starts": np.array([1, 1])},
        {"out": out[:, :3].copy()},
        {"starts": np.array([0, 5, 1]), "out": np.zeros((2, 4, 5), bool)},
    ):
        with pytest.raises(ValueError, match="do not fit"):
            call(**wrong)  # pyright: ignore[reportArgumentType]
