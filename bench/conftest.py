"""Inputs that the benchmarks share; all seeded."""

import numpy as np
import pytest

from gen2seg.data.scenes import render_scene

SIZE = (480, 640)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also the large sizes, which take long")
    parser.addoption("--bundles", metavar="DIR", help="where the export benchmark keeps its bundles")


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """A generated scene, (480, 640, 3) uint8."""
    rgb, _ = render_scene(11, 640)
    return np.ascontiguousarray(rgb[: SIZE[0]])


@pytest.fixture(scope="session")
def noisy_colors() -> np.ndarray:
    """Instance colours with noise, (480, 640, 3) uint8: what an untidy network paints."""
    rng = np.random.default_rng(3)
    labels = render_scene(11, 640)[1][: SIZE[0]]
    table = rng.integers(40, 256, (labels.max() + 1, 3))
    table[0] = 0
    return np.clip(table[labels] + rng.normal(0, 8, (*SIZE, 3)), 0, 255).astype(np.uint8)
