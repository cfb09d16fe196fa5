"""What importing the kernels brings along."""

import subprocess
import sys

import pytest

import gen2seg_kernels


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_prompting_works_without_torch():
    code = """
import sys
sys.modules["torch"] = sys.modules["triton"] = None
import numpy as np
from gen2seg_kernels import prompt_mask
assert prompt_mask(np.zeros((4, 4, 3), np.uint8), [(1, 1)], mode="metric").all()
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_the_package_alone_imports_nothing_heavy():
    done = run("import sys, gen2seg_kernels; print({'numpy', 'cv2', 'torch'} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr


def test_public_names_are_there():
    pytest.importorskip("torch")
    assert set(gen2seg_kernels.__all__) == {
        "PreparedColors",
        "PromptState",
        "instance_coloring_loss",
        "instance_coloring_terms",
        "match_boundary",
        "prepare_colors",
        "prompt_mask",
        "prompt_mask_with_confidence",
        "prompt_masks",
        "prompt_masks_batch",
        "prompt_refine",
        "prompt_start",
    }
    for name in gen2seg_kernels.__all__:
        assert callable(getattr(gen2seg_kernels, name))


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="has no attribute 'prompt_maks'"):
        _ = gen2seg_kernels.prompt_maks  # type: ignore[attr-defined]
