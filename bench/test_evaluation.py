"""The hot spots of the evaluation: matching edges, and many clicks on many instances, with the embedded model.

    pytest bench/test_evaluation.py --benchmark-only          # 6 images; --full: 60, with 1,044 instances

Needs GEN2SEG_DATA. All of a run is timed as `gen2seg evaluate` does it: reading, encoding, answering and judging, in
one process a core, without the cache.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from gen2seg.evaluation.edge_scores import EDGE_THRESHOLDS, tolerance_of
from gen2seg.evaluation.run import EvaluationConfig, evaluate
from gen2seg.evaluation.systems import get_systems
from gen2seg_kernels.boundary import cpu, reference
from gen2seg_runtime.edges import color_edges
from gen2seg_runtime.images import read_image

DATA = os.environ.get("GEN2SEG_DATA", "")
pytestmark = pytest.mark.skipif(not (DATA and (Path(DATA) / "bsds500/edges").is_dir()), reason="needs GEN2SEG_DATA")
JOBS = len(os.sched_getaffinity(0))


def _time(benchmark, config: EvaluationConfig, systems: list[str]):
    evaluation = benchmark.pedantic(lambda: evaluate(config, get_systems(systems)), rounds=1)
    benchmark.extra_info["images"] = len(evaluation.results)
    benchmark.extra_info["instances"] = sum(len(result.clicks) for result in evaluation.results)
    return evaluation


def test_edges_of_bsds500(benchmark, pytestconfig) -> None:
    benchmark.group = "edges of BSDS500 images against all annotators: tiny and sobel"
    limit = None if pytestconfig.getoption("--full") else 6
    config = EvaluationConfig(Path(DATA), ("bsds500",), limit, jobs=JOBS, gallery=0, masks=False, automatic=False)
    _time(benchmark, config, ["tiny", "sobel"])


def test_nine_clicks(benchmark, pytestconfig) -> None:
    benchmark.group = "nine clicks on every instance of BSDS500 images: tiny"
    limit = None if pytestconfig.getoption("--full") else 6
    config = EvaluationConfig(Path(DATA), ("bsds500",), limit, jobs=JOBS, gallery=0, clicks=9, automatic=False)
    _time(benchmark, config, ["tiny"])


@pytest.mark.parametrize("version", [cpu, reference], ids=["compiled", "plain"])
def test_one_matching(benchmark, version) -> None:
    """One image's Sobel edges against one annotator at all thresholds."""
    benchmark.group = "matching of one image with one annotator, 99 thresholds"
    folder = Path(DATA) / "bsds500"
    path = sorted((folder / "edges").glob("*.npz"))[0]
    image = read_image(next((folder / "images").glob(f"{path.stem}.*")))
    boundary = np.load(path)["boundaries"][0].astype(bool)
    strength = color_edges(image).astype(np.float64).ravel()
    reached = np.searchsorted(EDGE_THRESHOLDS, strength, side="right")
    groups = [np.flatnonzero(reached == index + 1) for index in reversed(range(len(EDGE_THRESHOLDS)))]
    tolerance = tolerance_of(boundary.shape)
    benchmark.pedantic(lambda: version.match_boundary(groups, boundary, tolerance), rounds=3, warmup_rounds=1)
