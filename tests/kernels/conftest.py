import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

# By path: pytest's import mode "importlib" does not make neighbours importable.
interpreter = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("interpreter.py"))))


def pytest_pycollect_makemodule(module_path, parent):
    if module_path.name.endswith("_triton.py") and not interpreter.interpreting():
        return interpreter.InterpretedFile.from_parent(parent, path=module_path)
    return None


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
