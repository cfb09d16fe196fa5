"""The short forms of `make soak`: threads give the same bits, and memory does not grow."""

from pathlib import Path

import pytest

from gen2seg_runtime import Segmenter
from tests.robustness.soak import check_threads, slope_bound, small_bundle, soak_memory


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    return Segmenter.open(small_bundle(tmp_path_factory.mktemp("soak")), threads=1)


def test_sixteen_threads_on_shared_encodings(segmenter: Segmenter):
    assert not check_threads(segmenter, threads=16, prompts=40)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells the resident memory")
def test_memory_does_not_grow(segmenter: Segmenter, tmp_path: Path):
    report = soak_memory(segmenter, 1_000, tmp_path / "a.enc.png")
    assert report.passed, str(report)


def test_a_leak_of_one_small_picture_would_show():
    # 33 × 47 colours kept at each encode: 4,653 bytes.
    assert slope_bound(1_000) < 33 * 47 * 3
    assert slope_bound(20_000) < 150
