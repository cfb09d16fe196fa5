"""What a micro-batch holds: the mixing, the augmentation, the skipping of broken files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gen2seg.data.augment import augmented
from gen2seg.data.mixture import Batch, MixedBatches, Source
from gen2seg.data.sets import DataSetError, Sample, open_set
from tests.gen2seg import data_trees as trees


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    root = tmp_path_factory.mktemp("mixture")
    plain = open_set("folder", trees.folder(root / "folder"))
    kitti = open_set("virtual-kitti-2", trees.virtual_kitti2(root / "kitti"))
    return [
        Source(plain, plain.frames, 9, (32, 48)),
        Source(kitti, kitti.frames, 1, (64, 96), "crop", ignore_background=True),
    ]


def test_micro_batches_come_from_one_set_nine_to_one(sources: list[Source]) -> None:
    batches = MixedBatches(sources, 2, 4000, seed=3)
    assert np.mean(batches.chosen == 0) == pytest.approx(0.9, abs=0.015)
    for index in range(20):
        batch = batches[index]
        from_kitti = batches.chosen[index] == 1
        assert batch.images.shape == ((2, 3, 64, 96) if from_kitti else (2, 3, 32, 48))
        assert batch.labels.shape == (2, *batch.images.shape[2:])
        assert batch.images.dtype == torch.uint8
        assert batch.ignore_background.tolist() == [from_kitti] * 2


def test_all_pictures_come_before_any_comes_again(sources: list[Source]) -> None:
    still = replace(sources[0], flip=0.0)
    seen = [MixedBatches([still], 1, 8, seed=5)[index].images for index in range(8)]
    first = {image.numpy().tobytes() for image in seen[:4]}
    assert len(first) == 4
    assert {image.numpy().tobytes() for image in seen[4:]} == first


def test_more_steps_do_not_change_the_first_ones(sources: list[Source]) -> None:
    short, long = MixedBatches(sources, 2, 10, seed=7), MixedBatches(sources, 2, 100, seed=7)
    other = MixedBatches(sources, 2, 10, seed=8)
    assert all(_equal(short[i], long[i]) for i in range(10))
    assert not all(_equal(short[i], other[i]) for i in range(10))


def test_processes_deal_out_the_micro_batches(sources: list[Source]) -> None:
    one = MixedBatches(sources, 2, 8, seed=7)
    two = [MixedBatches(sources, 2, 8, 7, rank, world=2) for rank in (0, 1)]
    assert len(two[0]) == 4
    assert all(_equal(one[i], two[i % 2][i // 2]) for i in range(8))


def _equal(a: Batch, b: Batch) -> bool:
    return torch.equal(a.labels, b.labels) and torch.equal(a.images, b.images)


def test_a_broken_file_is_skipped_and_named(tmp_path: Path) -> None:
    files = open_set("folder", trees.folder(tmp_path / "data"))
    source = Source(files, files.frames, 1, (32, 48))
    (files.root / "images" / "photo1.png").write_bytes(b"nothing")
    batches = [MixedBatches([source], 4, 3, seed=1)[index] for index in range(3)]
    assert all(batch.images.shape[0] == 4 for batch in batches)
    assert all(any("photo1.png" in message for message in batch.broken) for batch in batches)
    for path in (files.root / "images").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(DataSetError, match="20 files in a row"):
        MixedBatches([source], 4, 3, seed=1)[0]


def test_crowds_and_categories_become_invalid_pixels(tmp_path: Path) -> None:
    files = open_set("coco", trees.coco(tmp_path / "data"))
    batch = MixedBatches([Source(files, files.frames, 1, trees.SIZE, flip=0.0)], 2, 1, seed=0)[0]
    assert batch.valid is not None
    assert sorted((~batch.valid).sum((1, 2)).tolist()) == [0, 400]
    only = Source(files, files.frames[:1], 1, trees.SIZE, flip=0.0, categories=("person",))
    batch = MixedBatches([only], 1, 1, seed=0)[0]
    assert batch.valid is not None
    assert int((~batch.valid).sum()) == 30 * 30
    assert batch.labels.unique().tolist() == [0, 1]


def _sample(size: tuple[int, int], place: tuple[int, int]) -> Sample:
    ids = np.zeros(size, np.int32)
    ids[place] = 5
    return Sample(np.full((*size, 3), 9, np.uint8), ids, np.ones(size, bool))


def test_flip_keeps_picture_and_labels_together() -> None:
    rgb, ids = trees.blocks(1)
    flipped = augmented(Sample(rgb, ids), trees.SIZE, "resize", 1.0, np.random.default_rng(0))
    assert np.array_equal(flipped.rgb, rgb[:, ::-1])
    assert np.array_equal(flipped.ids, ids[:, ::-1])


def test_crops_look_for_an_instance() -> None:
    for seed in range(5):
        found = augmented(_sample((60, 90), (50, 80)), (20, 20), "crop", 0.0, np.random.default_rng(seed))
        assert found.ids.shape == (20, 20)
        assert found.ids.any()


def test_small_pictures_are_enlarged_before_the_crop() -> None:
    rgb, ids = trees.blocks(2)
    found = augmented(Sample(rgb, ids), (64, 64), "crop", 0.0, np.random.default_rng(0))
    assert found.rgb.shape == (64, 64, 3)
    assert set(np.unique(found.ids)) <= {0, 1, 2, 3, 4}


def test_cover_shows_the_whole_shorter_side() -> None:
    rgb, ids = trees.blocks(3, (100, 300))
    found = augmented(Sample(rgb, ids), (50, 50), "cover", 0.0, np.random.default_rng(0))
    assert found.rgb.shape == (50, 50, 3)
    assert {1, 2} <= set(np.unique(found.ids)) or {3, 4} <= set(np.unique(found.ids))  # one above the other


def test_resizing_takes_labels_from_the_nearest_pixel() -> None:
    rgb, ids = trees.blocks(4)
    valid = ids != 2
    found = augmented(Sample(rgb, ids, valid), (24, 32), "resize", 0.0, np.random.default_rng(0))
    assert set(np.unique(found.ids)) == {0, 1, 2, 3, 4}
    assert found.valid is not None
    assert np.array_equal(found.valid, found.ids != 2)
