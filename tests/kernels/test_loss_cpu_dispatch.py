"""Which code computes the training loss, and the one warning where it cannot be the compiled one."""

import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gen2seg_kernels.loss import autograd, cpu, eager  # noqa: E402
from gen2seg_kernels.loss.autograd import instance_coloring_loss  # noqa: E402
from gen2seg_kernels.loss.reference import instance_coloring_reference  # noqa: E402
from gen2seg_kernels.native import load_native  # noqa: E402


def test_tensors_on_the_cpu_take_the_compiled_way(rng, monkeypatch):
    if load_native() is None:
        pytest.skip("the C extension is not installed")
    monkeypatch.setattr(eager, "loss_and_grad", None)
    pred = torch.tensor(rng.uniform(0, 255, (1, 3, 8, 9)), dtype=torch.bfloat16)
    labels = torch.tensor(rng.integers(0, 4, (1, 8, 9)))
    expected, _ = instance_coloring_reference(pred.double().numpy(), labels.numpy())
    assert instance_coloring_loss(pred, labels).item() == pytest.approx(expected, rel=1e-6)


def test_without_the_extension_the_plain_way_runs_and_says_so_once():
    code = """
import os, sys, warnings
os.environ.pop("GEN2SEG_KERNELS", None)
sys.modules["gen2seg_kernels._native"] = None  # as if it were not installed
import torch
from gen2seg_kernels import instance_coloring_loss
pred = torch.full((1, 3, 4, 4), 9.0, requires_grad=True)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        instance_coloring_loss(pred, torch.ones(1, 4, 4, dtype=torch.long)).backward()
ours = [str(w.message) for w in caught if "compiled kernels cannot be used" in str(w.message)]
print(len(ours), "gen2seg_kernels._native" in ours[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["1", "True"], done.stderr


def test_asking_for_it_where_it_is_missing_is_an_error(monkeypatch):
    monkeypatch.setattr(cpu, "load_native", lambda: None)
    with pytest.raises(ImportError, match=r"loss\.eager"):
        cpu.loss_and_grad(
            np.zeros((1, 3, 2, 2), np.float32),
            np.zeros((1, 2, 2), int),
            [False],
            None,
            autograd.LossConfig(),
            True,
        )


def test_gradcheck_of_the_function_over_the_definition(rng, monkeypatch):
    def by_definition(pred, labels, ignored, valid, config, with_grad):
        loss, grad = instance_coloring_reference(
            pred.detach().numpy(), labels.numpy(), ignored, None if valid is None else valid.numpy(), config
        )
        return torch.full((len(pred), 3), loss / 3, dtype=torch.float64), torch.from_numpy(grad)

    monkeypatch.setattr(autograd, "_implementation", lambda pred: by_definition)
    pred = torch.tensor(20 + 3 * rng.standard_normal((2, 3, 3, 4)), requires_grad=True)
    labels = torch.tensor(rng.integers(0, 4, (2, 3, 4)))
    valid = torch.tensor(rng.random((2, 3, 4)) < 0.8)
    assert torch.autograd.gradcheck(
        lambda x: instance_coloring_loss(x, labels, ignore_background=[True, False], valid=valid), (pred,)
    )
