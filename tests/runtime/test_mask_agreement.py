import numpy as np
import pytest

from gen2seg_runtime.encoding import Encoding
from gen2seg_runtime.manifest import PromptSpec
from gen2seg_runtime.mask_agreement import click_grid, mask_ious


def halves(edge: int) -> np.ndarray:
    """40 x 80, black to the left of `edge` and bright to its right."""
    colors = np.zeros((40, 80, 3), np.uint8)
    colors[:, edge:] = (200, 180, 90)
    return colors


def test_clicks_are_spread_over_the_picture():
    assert click_grid((4, 8), 2) == [[(2, 1)], [(6, 1)], [(2, 3)], [(6, 3)]]
    assert click_grid((1, 1)) == [[(0, 0)]] * 16


def test_agreement_by_hand():
    encoding = Encoding(halves(40), (40, 80), bundle_id="0" * 64, bundle_name="x", prompt=PromptSpec(mode="metric"))
    assert mask_ious(encoding, halves(40)) == [1.0] * 16
    found = mask_ious(encoding, halves(60))
    # Columns: left of both edges 40 of 60; between them 0..60 and 40..80 share 20 of 80; right of both 20 of 40.
    assert found == pytest.approx([2 / 3, 2 / 3, 0.25, 0.5] * 4, abs=0.05)
