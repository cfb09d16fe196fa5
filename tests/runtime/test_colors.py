"""Normalisation after the network, against numbers worked by hand."""

import numpy as np
import pytest

from gen2seg_runtime.colors import check_shape, normalize_colors
from gen2seg_runtime.errors import NetworkOutputError
from gen2seg_runtime.manifest import OutputSpec


def raw(*values: float) -> np.ndarray:
    """Three equal channels of one row."""
    return np.repeat(np.array([[values]], np.float32), 3, axis=0)


def levels(colors: np.ndarray) -> list[int]:
    assert colors.dtype == np.uint8
    assert colors.flags.c_contiguous
    return colors[0, :, 0].tolist()


def test_fixed_clips_scales_and_truncates():
    spec = OutputSpec(normalization="fixed", range=(0.0, 255.0))
    assert levels(normalize_colors(raw(-3, 0, 0.99, 128, 254.9, 255, 300), spec)) == [0, 0, 0, 128, 254, 255, 255]
    spec = OutputSpec(normalization="fixed", range=(-1.0, 1.0))
    assert levels(normalize_colors(raw(-2, -1, 0, 1), spec)) == [0, 0, 127, 255]


def test_fixed_keeps_every_whole_level():
    spec = OutputSpec(normalization="fixed", range=(0.0, 255.0))
    assert levels(normalize_colors(raw(*range(256)), spec)) == list(range(256))


def test_sd():
    # p = -1, 0, 3: q = p + 1 = 0, 1, 4; q / (4 + 0) = 0, 0.25, 1
    assert levels(normalize_colors(raw(-1, 0, 3), OutputSpec(normalization="sd"))) == [0, 63, 255]
    # min 1 > 0: q = p + 1 = 2, 3, 4; q / (4 + 2): 0.333, 0.5, 0.667
    assert levels(normalize_colors(raw(1, 2, 3), OutputSpec(normalization="sd"))) == [85, 127, 170]
    assert levels(normalize_colors(raw(0, 0), OutputSpec(normalization="sd"))) == [0, 0]
    # q = 0 throughout
    assert levels(normalize_colors(raw(-5, -5), OutputSpec(normalization="sd"))) == [0, 0]


def test_mae_and_gamma():
    # (p + 1) / (3 + 1 + 1e-5) = 0, 0.2499994, 0.9999975
    assert levels(normalize_colors(raw(-1, 0, 3), OutputSpec(normalization="mae"))) == [0, 63, 254]
    # 0.2499994 ** 0.7 = 0.378929 -> 96.6; 0.9999975 ** 0.7 -> 254.9996
    assert levels(normalize_colors(raw(-1, 0, 3), OutputSpec(normalization="mae", gamma=0.7))) == [0, 96, 254]
    assert levels(normalize_colors(raw(0, 0), OutputSpec(normalization="mae"))) == [0, 0]


def test_gamma_of_fixed():
    spec = OutputSpec(normalization="fixed", range=(0.0, 255.0), gamma=2.0)
    assert levels(normalize_colors(raw(0, 127.5, 255), spec)) == [0, 63, 255]


def test_channels_share_one_range_and_come_last():
    p = np.zeros((3, 2, 4), np.float32)
    p[0, 1, 2], p[1, 0, 0], p[2] = 10, 5, 2.5
    colors = normalize_colors(p, OutputSpec(normalization="sd"))
    assert colors.shape == (2, 4, 3)
    assert colors[1, 2].tolist() == [255, 0, 63]
    assert colors[0, 0].tolist() == [0, 127, 63]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_output_names_the_stage(bad: float):
    with pytest.raises(NetworkOutputError, match=r"network output: 3 of 6 values"):
        normalize_colors(raw(1, bad), OutputSpec())


def test_overflow_in_the_normalisation_is_no_silent_nonsense():
    huge = raw(-3e38, 3e38)
    with pytest.raises(NetworkOutputError, match="normalised"):
        normalize_colors(huge, OutputSpec(normalization="sd"))


def test_fixed_needs_a_range():
    with pytest.raises(ValueError, match="range"):
        normalize_colors(raw(1), OutputSpec(normalization="fixed", range=None))


def test_shape_and_type_of_the_output():
    check_shape(np.zeros((1, 3, 2, 2), np.float32), (1, 3, 2, 2), "network output")
    for bad in (np.zeros((1, 3, 2, 1), np.float32), np.zeros((1, 3, 2, 2), np.float64)):
        with pytest.raises(NetworkOutputError, match="network output: expected"):
            check_shape(bad, (1, 3, 2, 2), "network output")
