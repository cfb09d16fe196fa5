"""Importing the runtime costs next to nothing and never meets the training side."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import gen2seg_runtime

HEAVY = ["torch", "diffusers", "transformers", "timm", "onnx", "scipy", "matplotlib", "skimage", "onnxruntime", "cv2"]
ROOT = Path(__file__).parents[2]


def run_child(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(ROOT / part) for part in ("", "export", "runtime", "kernels"))
    return subprocess.run(
        [sys.executable, *arguments], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )


def test_import_loads_nothing_heavy():
    code = f"import sys, gen2seg_runtime; print([m for m in {HEAVY} if m in sys.modules])"
    assert run_child("-c", code).stdout.strip() == "[]"


def test_import_time_report_names_nothing_heavy():
    report = run_child("-X", "importtime", "-c", "import gen2seg_runtime").stderr
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in report.splitlines()}
    assert "gen2seg_runtime" in modules
    assert modules.isdisjoint(HEAVY)


def test_every_name_works_without_the_training_side():
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in HEAVY)
    code = f"import sys; {blocked}; from gen2seg_runtime import *; print(Segmenter.__name__, Encoding.__name__)"
    assert run_child("-c", code).stdout.split() == ["Segmenter", "Encoding"]


def test_names():
    assert set(gen2seg_runtime.__all__) <= set(dir(gen2seg_runtime))
    for name in gen2seg_runtime.__all__:
        assert getattr(gen2seg_runtime, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = gen2seg_runtime.nothing  # pyright: ignore[reportAttributeAccessIssue]


def test_gpu_and_doctor_need_no_training_side():
    blocked = "; ".join(
        f"sys.modules[{name!r}] = None" for name in ("torch", "triton", "tensorrt_rtx", "tensorrt", "cuda")
    )
    modules = "gen2seg_runtime.doctor, gen2seg_runtime.gpu.segmenter, gen2seg_runtime.backends.engine_chain"
    code = f"import sys; {blocked}; import {modules}; print('onnxruntime' in sys.modules)"
    assert run_child("-c", code).stdout.strip() == "False"
