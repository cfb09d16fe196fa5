"""The instance colouring loss for training: the checks, and the choice among what computes it.

Source: Khangaonkar and Pirsiavash, gen2seg, arXiv 2505.15263. The plain definition is `reference.py`; the C
extension (`cpu.py`) computes it for tensors on the CPU, Triton kernels (`triton.py`) on a GPU, PyTorch operations
(`eager.py`) elsewhere.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gen2seg_kernels.loss import cpu, eager
from gen2seg_kernels.loss.config import LossConfig
from gen2seg_kernels.native import VARIABLE, load_native

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64)


def instance_coloring_loss(
    pred: Tensor,
    labels: Tensor,
    *,
    ignore_background: Tensor | Sequence[bool] | bool | None = None,
    valid: Tensor | None = None,
    inter_weight: float = 10.0,
    separation: float = 300.0,
    mean_separation: float = 300.0,
    huber_delta: float = 1.0,
    intra_weight: float = 1.0,
    mean_weight: float = 1.0,
) -> Tensor:
    """Loss that gives the pixels of one instance one colour and different instances different ones.

    Per image, with `n_k` pixels and mean colour `m_k` of instance `k` (the background's mean is 0):

    - intra: mean over the instance's pixels and channels of `Huber(p - m_k)`, summed over instances
      and the background;
    - inter: `inter_weight / sqrt(n_k)` times the mean over all pixels outside `k` of
      `separation / (1 + |p - m_k|²)`, summed over the instances (not the background);
    - mean level: mean over pairs of means of `mean_separation / (1 + |m_i - m_j|²)`, the background's
      zero mean included where it has pixels;

    and their sum is divided by the number of intra terms. The loss is the mean over the batch. An image
    with nothing to count gives 0 and a zero gradient.

    Args:
        pred: (B, 3, H, W) float16, bfloat16, float32 or float64, colours in 0..255.
        labels: (B, H, W) integer, 0 = background, other ids >= 1 in any order and with any gaps.
        ignore_background: (B,) bool, or one bool for all; where True the background is unlabelled: it
            has no intra term and no mean, but its pixels still count as outside every instance.
        valid: (B, H, W) bool; pixels that are False take part in nothing, whatever they hold.
        inter_weight, separation, mean_separation, huber_delta, intra_weight, mean_weight: see
            `gen2seg_kernels.loss.config.LossConfig`.

    Returns:
        Scalar, float64 for float64 input, else float32. It can be differentiated once with respect to
        `pred`; the gradient has the type of `pred`.

    Raises:
        TypeError: `pred` is not floating point, `labels` not integer or a mask not bool.
        ValueError: shapes or devices disagree, a valid label is negative, a weight is out of range.
        RuntimeError: in the backward pass, if it is asked for a graph of the gradient.
    """
    config = LossConfig(inter_weight, separation, mean_separation, huber_delta, intra_weight, mean_weight)
    return _loss_and_terms(pred, labels, ignore_background, valid, config)[0]


def instance_coloring_terms(
    pred: Tensor,
    labels: Tensor,
    *,
    ignore_background: Tensor | Sequence[bool] | bool | None = None,
    valid: Tensor | None = None,
    inter_weight: float = 10.0,
    separation: float = 300.0,
    mean_separation: float = 300.0,
    huber_delta: float = 1.0,
    intra_weight: float = 1.0,
    mean_weight: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """`instance_coloring_loss` and, for logging, what each of its terms contributes.

    Arguments and errors are those of `instance_coloring_loss`.

    Returns:
        The loss, and `{"intra", "inter", "mean_level"}`: detached float64 scalars, weighted, divided by
        the number of intra terms and averaged over the batch, so that their sum is the loss.
    """
    config = LossConfig(inter_weight, separation, mean_separation, huber_delta, intra_weight, mean_weight)
    loss, terms = _loss_and_terms(pred, labels, ignore_background, valid, config)
    return loss, dict(zip(("intra", "inter", "mean_level"), terms.unbind(), strict=True))


def _loss_and_terms(
    pred: Tensor,
    labels: Tensor,
    ignore_background: Tensor | Sequence[bool] | bool | None,
    valid: Tensor | None,
    config: LossConfig,
) -> tuple[Tensor, Tensor]:
    _check_tensors(pred, labels, valid)
    ignored = _per_image_flags(ignore_background, pred.shape[0])
    loss, terms = _InstanceColoring.apply(pred, labels, valid, ignored, config)  # type: ignore[misc]
    return loss, terms


class _InstanceColoring(torch.autograd.Function):
    """Computes the gradient with the value: backward only scales it, nothing of size P x K is kept."""

    @staticmethod
    def forward(
        ctx: Any,
        pred: Tensor,
        labels: Tensor,
        valid: Tensor | None,
        ignored: list[bool],
        config: LossConfig,
    ) -> tuple[Tensor, Tensor]:
        terms, grad = _implementation(pred)(pred, labels, ignored, valid, config, bool(ctx.needs_input_grad[0]))
        terms = terms.mean(0)
        ctx.save_for_backward(grad)
        ctx.mark_non_differentiable(terms)
        ctx.dtype = pred.dtype
        return terms.sum().to(torch.float64 if pred.dtype == torch.float64 else torch.float32), terms

    @staticmethod
    def backward(  # type: ignore[override]  # the base class declares a placeholder
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, None, None, None, None]:
        if torch.is_grad_enabled():  # the stored gradient does not know how it depends on pred
            raise RuntimeError("the instance colouring loss can be differentiated once: drop create_graph=True")
        (grad,) = ctx.saved_tensors
        return (grad * grad_outputs[0]).to(ctx.dtype), None, None, None, None


def _implementation(pred: Tensor) -> Callable[..., tuple[Tensor, Tensor | None]]:
    if pred.device.type == "cpu" and load_native() is not None:
        return _compiled
    if pred.device.type == "cuda":
        return _load_triton() or eager.loss_and_grad
    return eager.loss_and_grad


@cache
def _load_triton() -> Callable[..., tuple[Tensor, Tensor | None]] | None:
    """The way through Triton, or None if the plain way is to run; the first call warns if it must.

    GEN2SEG_KERNELS=reference chooses the plain way.
    """
    if os.environ.get(VARIABLE) == "reference":
        return None
    try:
        from gen2seg_kernels.loss import triton
    except ImportError as error:
        warnings.warn(
            f"the loss's GPU kernels cannot be used ({error}); PyTorch operations run, which are correct but slow. "
            "Install triton",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return triton.loss_and_grad


def _compiled(
    pred: Tensor, labels: Tensor, ignored: list[bool], valid: Tensor | None, config: LossConfig, with_grad: bool
) -> tuple[Tensor, Tensor | None]:
    """`cpu.loss_and_grad` for tensors."""
    colors = pred.detach()
    if colors.dtype == torch.bfloat16:  # NumPy has none: hand over its bits
        colors = colors.contiguous().view(dtype=torch.uint16)
    mask = None if valid is None else valid.numpy()
    terms, grad = cpu.loss_and_grad(colors.numpy(), labels.detach().numpy(), ignored, mask, config, with_grad)
    return torch.from_numpy(terms), None if grad is None else torch.from_numpy(grad)


def _check_tensors(pred: Tensor, labels: Tensor, valid: Tensor | None) -> None:
    if pred.dtype not in _FLOATS:
        raise TypeError(f"pred must be float16, bfloat16, float32 or float64, got {pred.dtype}")
    if pred.ndim != 4 or pred.shape[1] != 3:
        raise ValueError(f"pred must be (B, 3, H, W), got {tuple(pred.shape)}")
    if pred.shape[0] == 0:
        raise ValueError("pred holds no image: the batch size is 0")
    if labels.dtype not in _INTEGERS:
        raise TypeError(f"labels must be an integer tensor, got {labels.dtype}")
    expected = (pred.shape[0], *pred.shape[2:])
    if tuple(labels.shape) != expected:
        raise ValueError(f"labels must be (B, H, W) = {expected} like pred, got {tuple(labels.shape)}")
    if valid is not None:
        if valid.dtype != torch.bool:
            raise TypeError(f"valid must be a bool tensor, got {valid.dtype}")
        if tuple(valid.shape) != expected:
            raise ValueError(f"valid must be (B, H, W) = {expected} like pred, got {tuple(valid.shape)}")
    for name, tensor in (("labels", labels), ("valid", valid)):
        if tensor is not None and tensor.device != pred.device:
            raise ValueError(f"{name} must be on the device of pred, {pred.device}, got {tensor.device}")


def _per_image_flags(flags: Tensor | Sequence[bool] | bool | None, batch: int) -> list[bool]:
    if flags is None or isinstance(flags, bool):
        return [bool(flags)] * batch
    values: list[Any] = flags.reshape(-1).tolist() if isinstance(flags, Tensor) else list(flags)
    if len(values) != batch:
        raise ValueError(f"ignore_background must hold {batch} values, one per image, got {len(values)}")
    if not all(isinstance(value, bool) for value in values):
        raise TypeError("ignore_background must hold bools")
    return values
