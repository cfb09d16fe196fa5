"""Leaves and their tree: the C passes equal the plain definition, and trees hang together."""

import threading
from dataclasses import fields

import numpy as np
import pytest

from gen2seg_kernels.instances import cpu, dispatch, reference
from gen2seg_kernels.instances.tree import Tree
from gen2seg_kernels.native import load_native

needs_extension = pytest.mark.skipif(load_native() is None, reason="the extension is not built here")


def noise(shape: tuple[int, int], levels: int = 256, seed: int = 0) -> np.ndarray:
    """Colours at random; few levels make many ties."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, levels, (*shape, 3)) * (255 // max(levels - 1, 1))).astype(np.uint8)


def blobs(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Soft shapes of a few colours with a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = np.stack([np.sin(y / 3 + c) + np.cos(x / 4 + c * c) for c in range(3)], axis=-1)
    return np.clip(np.round(waves) * 60 + 120 + rng.normal(0, 5, waves.shape), 0, 255).astype(np.uint8)


PICTURES = {
    "1x1": noise((1, 1)),
    "1x9": noise((1, 9)),
    "9x1": noise((9, 1)),
    "2x2": noise((2, 2)),
    "17x23": noise((17, 23)),
    "ties": noise((19, 16), levels=2),
    "flat": np.full((7, 5, 3), 90, np.uint8),
    "black": np.zeros((5, 8, 3), np.uint8),
    "blobs": blobs((21, 26)),
    "ramp": np.repeat(np.arange(0, 240, 12, dtype=np.uint8)[None, :, None], 9, axis=0).repeat(3, axis=2),
}


def check_equal(one: Tree, other: Tree) -> None:
    for field in fields(Tree):
        a, b = getattr(one, field.name), getattr(other, field.name)
        np.testing.assert_array_equal(a, b, err_msg=field.name)
        assert field.name == "cut" or a.dtype == b.dtype, field.name


@needs_extension
@pytest.mark.parametrize("least", [1, 2, 8, 10**9])
@pytest.mark.parametrize("name", PICTURES)
def test_leaves_equal_the_definition(name: str, least: int):
    found = cpu.find_leaves(PICTURES[name], least)
    np.testing.assert_array_equal(found, reference.find_leaves(PICTURES[name], least))


@needs_extension
@pytest.mark.parametrize(("least", "distance", "min_area"), [(1, 0, 1), (2, 40, 9), (1, 1000, 5), (4, 25, 10**9)])
@pytest.mark.parametrize("name", PICTURES)
def test_trees_equal_the_definition(name: str, least: int, distance: float, min_area: int):
    colors = PICTURES[name]
    leaves = reference.find_leaves(colors, least)
    found = cpu.merge_leaves(colors, leaves, distance, min_area)
    check_equal(found, reference.merge_leaves(colors, leaves, distance, min_area))


# Seven leaves: two regions, and what may be holes in them.
HOLES = np.zeros((5, 6), np.int64)
HOLES[:, 3:] = 1
HOLES[1, 1], HOLES[3, 1], HOLES[2, 4], HOLES[2, 2], HOLES[4, 5] = 2, 3, 4, 5, 6
HOLE_COLORS = np.array(
    [(200, 40, 40), (40, 200, 40), (5, 0, 0), (0, 0, 250), (0, 0, 0), (0, 9, 0), (0, 0, 0)], np.uint8
)


@needs_extension
@pytest.mark.parametrize("largest", [0, 8, 9, 10**6])
@pytest.mark.parametrize("background", [-1, 20])
def test_dark_holes_in_one_region_are_filled(largest: int, background: float):
    leaves = np.kron(HOLES, np.ones((3, 3), np.int64)).astype(np.int32)
    colors = HOLE_COLORS[leaves]
    found = cpu.merge_leaves(colors, leaves, 10, 4, background, largest)
    check_equal(found, reference.merge_leaves(colors, leaves, 10, 4, background, largest))
    filled = sorted(tuple(pair) for pair in found.child[: found.cut - len(HOLE_COLORS)].tolist())
    # 2 lies in 0, 4 in 1; 3 is bright, 5 has two neighbours and 6 is at the frame.
    assert filled == ([(0, 2), (1, 4)] if background > 0 and largest >= 9 else [])


def permuted(leaves: np.ndarray) -> np.ndarray:
    return np.random.default_rng(1).permutation(int(leaves.max()) + 1)[leaves].astype(np.int32)


@needs_extension
def test_leaves_in_any_order_of_numbers():
    leaves = permuted(reference.find_leaves(PICTURES["17x23"], 1))
    found = cpu.merge_leaves(PICTURES["17x23"], leaves, 60, 8)
    check_equal(found, reference.merge_leaves(PICTURES["17x23"], leaves, 60, 8))
    # Which regions there are does not depend on the numbers either.
    plain = cpu.merge_leaves(PICTURES["17x23"], reference.find_leaves(PICTURES["17x23"], 1), 60, 8)
    assert sorted(found.area) == sorted(plain.area)


@needs_extension
def test_leaves_in_pieces_may_have_any_number_of_borders():
    colors = noise((24, 31), seed=4)
    leaves = np.random.default_rng(5).integers(0, 40, colors.shape[:2]).astype(np.int32)
    found = cpu.merge_leaves(colors, leaves, 50, 20)
    check_equal(found, reference.merge_leaves(colors, leaves, 50, 20))


def region_of_leaves(tree: Tree, leaves: np.ndarray, node: int) -> np.ndarray:
    place = tree.begin[leaves]
    return (place >= tree.begin[node]) & (place < tree.begin[node] + tree.count[node])


@pytest.mark.parametrize("name", ["17x23", "blobs", "ties"])
def test_a_tree_describes_its_regions(name: str):
    colors = PICTURES[name]
    leaves = dispatch.find_leaves(colors, 2)
    tree = dispatch.merge_leaves(colors, leaves, 50, 12)
    count = int(leaves.max()) + 1
    assert len(tree.area) == 2 * count - 1
    assert tree.area[-1] == leaves.size
    for node in range(0, len(tree.area), 5):
        mask = region_of_leaves(tree, leaves, node)
        assert tree.area[node] == mask.sum()
        np.testing.assert_array_equal(tree.color[node], colors[mask].sum(axis=0))
        across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
        assert tree.outline[node, 0] == across.sum() + down.sum()


@pytest.mark.parametrize("min_area", [1, 12, 100])
def test_the_cut_parts_the_picture_into_regions_that_are_large_enough(min_area: int):
    colors = noise((40, 37))
    leaves = dispatch.find_leaves(colors, 1)
    tree = dispatch.merge_leaves(colors, leaves, 60, min_area)
    count = int(leaves.max()) + 1
    parent = np.full(len(tree.area), len(tree.area))
    parent[tree.child] = np.arange(count, len(tree.area))[:, None]
    regions = [node for node in range(tree.cut) if parent[node] >= tree.cut]
    covered = sum(region_of_leaves(tree, leaves, node).astype(int) for node in regions)
    assert (np.asarray(covered) == 1).all()
    assert min(tree.area[regions]) >= min_area
    # Whatever is merged above the cut was born there.
    assert (tree.birth[tree.cut :] >= 60).all()


def test_leaves_are_large_enough_and_in_order():
    for least in (1, 5, 30):
        leaves = dispatch.find_leaves(noise((33, 41), seed=2), least)
        assert np.bincount(leaves.ravel()).min() >= least
        assert (np.diff(np.unique(leaves, return_index=True)[1]) > 0).all()


def test_leaves_keep_corners():
    colors = np.zeros((30, 40, 3), np.uint8)
    colors[8:20, 10:30] = (200, 30, 60)
    leaves = dispatch.find_leaves(colors, 16)
    np.testing.assert_array_equal(leaves, (colors[..., 0] > 0).astype(int))


def test_weakest_outlines_merge_first():
    colors = np.zeros((20, 60, 3), np.uint8)
    colors[:, 20:40] = 60  # a step of 104
    colors[:, 40:] = 80  # one of 35
    leaves = dispatch.find_leaves(colors, 16)
    tree = dispatch.merge_leaves(colors, leaves, 40, 1)
    assert tree.cut == int(leaves.max()) + 2
    assert tree.area[tree.cut - 1] == 800
    assert tree.birth[tree.cut - 1] == pytest.approx(20 * 3**0.5, abs=0.1)
    assert tree.birth[-1] == pytest.approx(60 * 3**0.5, abs=0.1)


@needs_extension
def test_threads_and_memory_orders_change_nothing():
    colors = blobs((150, 170))
    expected = cpu.find_leaves(colors, 8)
    tree = cpu.merge_leaves(colors, expected, 30, 16)
    np.testing.assert_array_equal(cpu.find_leaves(np.asfortranarray(colors), 8), expected)
    failures = []

    def work() -> None:
        try:
            for _ in range(3):
                leaves = cpu.find_leaves(colors, 8)
                np.testing.assert_array_equal(leaves, expected)
                check_equal(cpu.merge_leaves(colors, leaves, 30, 16), tree)
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_without_the_extension_the_definition_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dispatch, "load_native", lambda: None)
    leaves = dispatch.find_leaves(PICTURES["blobs"], 4)
    np.testing.assert_array_equal(leaves, reference.find_leaves(PICTURES["blobs"], 4))
    check_equal(
        dispatch.merge_leaves(PICTURES["blobs"], leaves, 30, 9),
        reference.merge_leaves(PICTURES["blobs"], leaves, 30, 9),
    )


def test_bad_arguments_are_refused():
    colors, leaves = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.int32)
    for bad in (colors[..., :2], colors[0], colors.astype(np.float32)):
        with pytest.raises(TypeError, match="colors must be uint8"):
            dispatch.find_leaves(bad, 1)
    with pytest.raises(ValueError, match="pixels"):
        dispatch.find_leaves(colors[:0], 1)
    for least in (0, True, 1.5):
        with pytest.raises(ValueError, match="least must be"):
            dispatch.find_leaves(colors, least)  # pyright: ignore[reportArgumentType]
    for bad in (leaves[:3], leaves.astype(np.int64)):
        with pytest.raises(TypeError, match="leaves must be int32"):
            dispatch.merge_leaves(colors, bad, 1, 1)  # pyright: ignore[reportArgumentType]
    for distance in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="distance must be"):
            dispatch.merge_leaves(colors, leaves, distance, 1)
    with pytest.raises(ValueError, match="min_area must be"):
        dispatch.merge_leaves(colors, leaves, 1, 0)
    with pytest.raises(ValueError, match="background finite"):
        dispatch.merge_leaves(colors, leaves, 1, 1, np.nan)
    with pytest.raises(ValueError, match="largest_hole must be"):
        dispatch.merge_leaves(colors, leaves, 1, 1, 0, -1)


@needs_extension
def test_the_extension_refuses_what_does_not_fit():
    native = load_native()
    assert native is not None
    colors = np.zeros((4, 5, 3), np.uint8)
    labels = np.zeros((4, 5), np.int32)
    for height, width, target in (
        (4, 4, labels),
        (0, 5, labels),
        (4, 5, labels[:3].copy()),
        (1 << 40, 1 << 40, labels),
    ):
        with pytest.raises(ValueError, match="fit"):
            native.instance_leaves(colors, height, width, 1, target)
    outputs = [np.zeros(n, np.uint8) for n in (8, 12, 12, 24, 72, 24, 48)]
    labels[2:] = 1
    assert native.instance_tree(colors, 4, 5, labels, 2, 1.0, 1, 0.0, 0, *outputs) == 1
    for bad in (labels + 1, labels - 1, np.zeros_like(labels)):
        with pytest.raises(ValueError, match="fit"):
            native.instance_tree(colors, 4, 5, bad, 2, 1.0, 1, 0.0, 0, *outputs)
    for i in range(len(outputs)):
        short = [out[: len(out) - (i == j)].copy() for j, out in enumerate(outputs)]
        with pytest.raises(ValueError, match="fit"):
            native.instance_tree(colors, 4, 5, labels, 2, 1.0, 1, 0.0, 0, *short)
