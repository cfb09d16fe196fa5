"""What the bench of automatic masks judges, and how: partitions count as their masks do, one by one."""

import numpy as np
import pytest

pytest.importorskip("skimage")

from bench.rivals.partitions import partitioners
from gen2seg.evaluation.automatic import count_masks
from gen2seg.evaluation.systems import Segments


def test_partitions_are_judged_as_masks_are():
    rng = np.random.default_rng(0)
    for _ in range(5):
        regions = np.kron(rng.integers(-1, 6, (4, 5)), np.ones((3, 3), int))
        truth = np.kron(rng.integers(0, 4, (6, 5)), np.ones((2, 3), np.int32))
        instances = [1, 3]
        scores = rng.uniform(size=6)
        masks = ((regions == region, float(scores[region])) for region in range(6))
        expected = count_masks(masks, truth, instances)
        counts = count_masks(Segments(regions + 1, scores.tolist()), truth, instances)
        np.testing.assert_array_equal(counts.found, expected.found)
        np.testing.assert_allclose(counts.best, expected.best)
        assert counts.masks == expected.masks


def test_rivals_cut_two_squares_and_a_plain_picture():
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[10:30, 5:25], picture[10:30, 35:55] = (220, 60, 30), (40, 200, 90)
    for name, each in partitioners().items():
        for setting in each.settings[:2]:
            regions = each.cut(picture, setting)
            assert regions.shape == (40, 60), name
            assert len({int(regions[0, 0]), int(regions[20, 15]), int(regions[20, 45])}) == 3, (name, setting)
            assert len(np.unique(each.cut(np.full((40, 60, 3), 90, np.uint8), setting))) == 1, name
