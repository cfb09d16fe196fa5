"""A click in mode `reference`, beside the published way of computing it."""

import cv2
import numpy as np
import pytest

from bench.rivals import prompt_full_image
from gen2seg_kernels import prompt_mask

POINT = (320.0, 200.0)


@pytest.mark.benchmark(group="one click, 480x640, noisy colours")
def test_ours(benchmark, noisy_colors: np.ndarray) -> None:
    benchmark(prompt_mask, noisy_colors, [POINT])


@pytest.mark.benchmark(group="one click, 480x640, noisy colours")
def test_full_image_and_opencv_contrib(benchmark, noisy_colors: np.ndarray) -> None:
    if not hasattr(cv2, "ximgproc"):
        pytest.skip("OpenCV's contrib build is not installed")
    theirs = benchmark(prompt_full_image, noisy_colors, *POINT)
    ours = prompt_mask(noisy_colors, [POINT])
    assert np.count_nonzero(theirs != ours) <= 2e-5 * ours.size


@pytest.mark.benchmark(group="one click, 480x640, noisy colours")
def test_ours_metric_mode(benchmark, noisy_colors: np.ndarray) -> None:
    benchmark(prompt_mask, noisy_colors, [POINT], mode="metric")
