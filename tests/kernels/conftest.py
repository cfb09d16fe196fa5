import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def real_images() -> list[np.ndarray]:
    """Some real photographs and micrographs, (H, W, 3) uint8, at most 160 x 240."""
    root = Path(os.environ.get("GEN2SEG_DATA", Path(__file__).parents[2] / "../shared/data"))
    names = sorted(root.glob("*/images/*"))[::37] if root.is_dir() else []
    if not names:
        pytest.skip(f"no evaluation images in {root} (set GEN2SEG_DATA)")
    return [np.array(Image.open(name).convert("RGB"))[:160, :240] for name in names]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20251)
