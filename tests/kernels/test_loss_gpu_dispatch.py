"""Which code computes the training loss for tensors on a GPU, and the one warning where it cannot be the kernels."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from gen2seg_kernels.loss import autograd, eager  # noqa: E402

ON_A_GPU = SimpleNamespace(device=torch.device("cuda"))


def test_tensors_on_a_gpu_take_the_kernels():
    kernels = pytest.importorskip("gen2seg_kernels.loss.triton")
    assert autograd._implementation(ON_A_GPU) is kernels.loss_and_grad  # type: ignore[arg-type]


def test_other_devices_take_pytorch_operations():
    other = SimpleNamespace(device=torch.device("mps"))
    assert autograd._implementation(other) is eager.loss_and_grad  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("preparation", "expected"),
    [("sys.modules['triton'] = None", "1 True"), ("os.environ['GEN2SEG_KERNELS'] = 'reference'", "0 True")],
    ids=["without_triton", "by_choice"],
)
def test_the_plain_way_and_its_one_warning(preparation, expected):
    code = f"""
import os, sys, warnings
from types import SimpleNamespace
os.environ.pop("GEN2SEG_KERNELS", None)
{preparation}
import torch
from gen2seg_kernels.loss import autograd, eager
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    ways = [autograd._implementation(SimpleNamespace(device=torch.device("cuda"))) for _ in range(2)]
ours = [w for w in caught if "GPU kernels cannot be used" in str(w.message) and "triton" in str(w.message)]
print(len(ours), all(way is eager.loss_and_grad for way in ways))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == expected, done.stderr
