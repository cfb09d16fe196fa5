"""A run that was stopped goes on, and what is kept belongs to what it was measured on."""

import numpy as np
import pytest

from gen2seg.evaluation.automatic import MaskCounts
from gen2seg.evaluation.cache import Cache, Outcome, outcome_key
from gen2seg.evaluation.clicks import Click
from gen2seg.evaluation.edge_scores import EdgeCounts
from gen2seg.evaluation.report import summarize, to_json, write_report
from gen2seg.evaluation.run import EvaluationConfig, evaluate
from gen2seg.evaluation.systems import RgbSystem, SystemSpec


class CountingSystem(RgbSystem):
    """Counts the pictures it was prepared for; stops at one of them if it is told to."""

    seen = 0
    stop_after: int | None = None

    def prepare(self, image):
        if CountingSystem.seen == CountingSystem.stop_after:
            raise KeyboardInterrupt
        CountingSystem.seen += 1
        return super().prepare(image)


def run(data, cache, resume=True, stop_after=None, **options):
    CountingSystem.seen, CountingSystem.stop_after = 0, stop_after
    config = EvaluationConfig(data, cache=cache, resume=resume, gallery=1, **options)
    return summarize(evaluate(config, [SystemSpec("rgb", CountingSystem), SystemSpec("sobel", _sobel)]))


def _sobel():
    from gen2seg.evaluation.systems import SobelSystem

    return SobelSystem()


def test_a_killed_run_goes_on_and_ends_with_the_very_same_report(data_folder, tmp_path):
    whole = run(data_folder, None)
    assert CountingSystem.seen == 6
    with pytest.raises(KeyboardInterrupt):
        run(data_folder, tmp_path / "cache", stop_after=4)
    resumed = run(data_folder, tmp_path / "cache")
    assert CountingSystem.seen == 2
    assert to_json(resumed) == to_json(whole)
    one, other = (write_report(r, tmp_path / n) for n, r in (("a", whole), ("b", resumed)))
    for path, same in zip(one, other, strict=True):
        assert path.stem == "latency" or path.read_bytes() == same.read_bytes(), path
    run(data_folder, tmp_path / "cache")
    assert CountingSystem.seen == 0
    run(data_folder, tmp_path / "cache", clicks=2)  # the first clicks are known; two pictures are in both sets
    assert CountingSystem.seen == 4
    run(data_folder, tmp_path / "cache", resume=False)
    assert CountingSystem.seen == 6


def test_a_damaged_file_counts_as_missing(data_folder, tmp_path):
    run(data_folder, tmp_path / "cache")
    files = sorted((tmp_path / "cache").rglob("*.npz"))
    files[0].write_bytes(b"half of a fi")
    files[1].write_bytes(files[1].read_bytes()[:100])
    expected = to_json(run(data_folder, None))
    assert to_json(run(data_folder, tmp_path / "cache")) == expected


def test_outcomes_come_back_as_they_were(tmp_path):
    cache = Cache(tmp_path / "cache")
    counts = EdgeCounts(*(np.arange(99) + k for k in range(4)))
    ious = np.random.default_rng(0).random((2, 3, 4))
    automatic = tuple(MaskCounts(np.full((3, 10), k), np.array([0.5, 0.25]), 7 + k) for k in range(2))
    seconds, tiles = np.array([[0.1, 0.2], [0.01, np.nan]]), np.ones((2, 5, 6), np.int32)
    outcome = Outcome(ious, seconds, counts, None, tiles, automatic, 2 * tiles)
    assert cache.load("ab" * 32) is None
    cache.save("ab" * 32, outcome)
    found = cache.load("ab" * 32)
    assert found is not None
    assert np.array_equal(found.ious, outcome.ious)
    assert found.edges is not None
    assert np.array_equal(found.edges.annotated, counts.annotated)
    assert found.colors is None
    assert found.masks is not None
    assert found.masks.dtype == np.int32
    assert [counts.masks for counts in found.automatic] == [7, 8]
    assert np.array_equal(found.automatic[1].found, automatic[1].found)
    assert np.array_equal(found.automatic[1].best, [0.5, 0.25])
    assert found.found is not None
    assert found.found.max() == 2


def test_the_key_changes_with_everything_that_matters():
    image, click = np.zeros((4, 5), np.uint8), Click(1, 2, 3, (0, 0, 4, 4), 9)
    base = outcome_key({"name": "a"}, [image], [click], count=1)
    others = [
        outcome_key({"name": "b"}, [image], [click], count=1),
        outcome_key({"name": "a"}, [image + 1], [click], count=1),
        outcome_key({"name": "a"}, [image.reshape(5, 4)], [click], count=1),
        outcome_key({"name": "a"}, [image], [], count=1),
        outcome_key({"name": "a"}, [image], [click], count=2),
    ]
    assert len({base, *others}) == 6
    assert base == outcome_key({"name": "a"}, [image.copy()], [click], count=1)
