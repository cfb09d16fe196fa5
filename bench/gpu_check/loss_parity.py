"""The loss on a device against its float64 definition: value, gradient per image, and the same bits twice."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.gpu_check.checks import Check
from gen2seg_kernels.loss.config import LossConfig
from gen2seg_kernels.loss.reference import instance_coloring_reference

VALUE, GRADIENT = 1e-6, 1e-5

# As `gen2seg_kernels.loss.triton.loss_and_grad`.
Loss = Callable[
    [Tensor, Tensor, list[bool], Tensor | None, LossConfig, bool],
    tuple[Tensor, Tensor | None],
]


@dataclass(frozen=True)
class Case:
    """One batch: colours (B, 3, H, W), labels (B, H, W), and what of it is ignored or not valid."""

    name: str
    pred: Tensor
    labels: NDArray[np.int64]
    ignored: tuple[bool, ...] = ()
    valid: NDArray[np.bool_] | None = None


def cases(size: tuple[int, int], most: int = 3000) -> Iterator[Case]:
    """Random and adversarial batches.

    Args:
        size: height and width of the larger ones.
        most: instances of the most crowded one.
    """
    rng = np.random.default_rng(0)
    for count in sorted({0, 1, 20, min(400, most), most}):
        yield Case(f"{count} instances", *_random(rng, size, count))
    for dtype in (torch.float16, torch.bfloat16):
        pred, labels = _random(rng, size, 20)
        yield Case(f"{str(dtype).removeprefix('torch.')} colours", pred.to(dtype), labels)
    yield Case("one pixel", *_random(rng, (1, 1), 1))
    yield Case("odd size", *_random(rng, (13, 31), 7))
    one_each = np.arange(1, 31 * 37 + 1).reshape(1, 31, 37)
    yield Case("one-pixel instances", _random(rng, (31, 37), 1)[0], one_each)
    pred, labels = _random(rng, size, 12)
    yield Case("saturated colours", torch.where(pred < 128, 0.0, 255.0), labels)
    labels = rng.integers(1, 3, (1, *size))
    near = 200.3 + 1e-3 * rng.standard_normal((1, 3, *size)) + 1e-2 * (labels[:, None] - 1)
    yield Case("means that nearly coincide", torch.tensor(near, dtype=torch.float32), labels)
    pred, labels = _random(rng, (33, 47), 9, batch=3)
    yield Case("mixed batch", pred, labels, (True, False, True), rng.random(labels.shape) < 0.8)


def check(loss: Loss, device: str, batches: Iterable[Case]) -> Iterator[Check]:
    """Value, gradient and reproducibility of each batch, see `cases`."""
    for case in batches:
        yield from _check_case(loss, device, case)


def _check_case(loss: Loss, device: str, case: Case) -> Iterator[Check]:
    ignored = list(case.ignored) or [False] * len(case.labels)
    valid = None if case.valid is None else torch.from_numpy(case.valid).to(device)
    arguments = (case.pred.to(device), torch.from_numpy(case.labels).to(device), ignored, valid, LossConfig(), True)
    terms, grad = loss(*arguments)
    again_terms, again = loss(*arguments)
    assert grad is not None
    assert again is not None
    same = torch.equal(terms, again_terms) and torch.equal(grad, again)
    expected, expected_grad = instance_coloring_reference(case.pred.double().numpy(), case.labels, ignored, case.valid)
    value = terms.sum(1).mean().item()
    yield Check(f"loss, {case.name}: value", abs(value - expected) / max(abs(expected), 1e-12), VALUE)
    yield Check(f"loss, {case.name}: gradient", _worst(grad.double().cpu().numpy(), expected_grad), GRADIENT)
    yield Check(f"loss, {case.name}: runs that differ", 0.0 if same else 1.0, 0.0)


def _worst(got: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """The largest ‖g - g64‖ / ‖g64‖ of an image; an image without gradient must get none."""
    errors = [np.linalg.norm(g - w) / max(float(np.linalg.norm(w)), 1e-15) for g, w in zip(got, wanted, strict=True)]
    return float(np.max(errors))  # NaN stays NaN


def _random(
    rng: np.random.Generator, size: tuple[int, int], instances: int, batch: int = 1
) -> tuple[Tensor, NDArray[np.int64]]:
    colors = torch.tensor(rng.uniform(0, 255, (batch, 3, *size)), dtype=torch.float32)
    return colors, rng.integers(0, instances + 1, (batch, *size))
