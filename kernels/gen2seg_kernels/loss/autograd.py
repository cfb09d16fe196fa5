"""The instance colouring loss in PyTorch, with its gradient computed beside the value.

Source: Khangaonkar and Pirsiavash, gen2seg, arXiv 2505.15263. The plain definition is `reference.py`;
this file computes the same numbers in time linear in pixels x instances and memory linear in their sum.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gen2seg_kernels.loss.config import LossConfig

# Elements of one pixels x instances tile in float64. On a CPU one megabyte stays in a core's second
# level cache; a GPU needs larger tiles to be busy.
_TILE_CPU = 1 << 17
_TILE_GPU = 1 << 23
_MAX_ROWS = 2048  # instances per tile, so that a tile keeps enough pixels
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
        # Half precision keeps a float32 gradient until the incoming scale is known, so that small
        # values survive where a loss scale lifts them.
        wide = torch.float64 if pred.dtype == torch.float64 else torch.float32
        with_grad = bool(ctx.needs_input_grad[0])
        grad = torch.zeros(pred.shape if with_grad else (0,), dtype=wide, device=pred.device)
        terms = torch.zeros(3, dtype=torch.float64, device=pred.device)
        batch = pred.shape[0]
        with torch.autocast(pred.device.type, enabled=False):
            for b in range(batch):
                colors, ids = pred[b].detach().flatten(1), labels[b].flatten().long()
                keep = None if valid is None else valid[b].flatten().nonzero().flatten()
                if keep is not None:
                    colors, ids = colors[:, keep], ids[keep]
                image_terms, image_grad = _image_loss(colors.double(), ids, ignored[b], config, with_grad)
                terms += image_terms / batch
                if image_grad is None:
                    continue
                image_grad /= batch
                if keep is None:
                    grad[b] = image_grad.view_as(grad[b])
                else:
                    grad[b].view(3, -1)[:, keep] = image_grad.to(wide)
        ctx.save_for_backward(grad)
        ctx.mark_non_differentiable(terms)
        ctx.dtype = pred.dtype
        return terms.sum().to(wide), terms

    @staticmethod
    def backward(  # type: ignore[override]  # the base class declares a placeholder
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, None, None, None, None]:
        if torch.is_grad_enabled():  # the stored gradient does not know how it depends on pred
            raise RuntimeError("the instance colouring loss can be differentiated once: drop create_graph=True")
        (grad,) = ctx.saved_tensors
        return (grad * grad_outputs[0]).to(ctx.dtype), None, None, None, None


def _image_loss(
    pixels: Tensor, ids: Tensor, ignored: bool, config: LossConfig, with_grad: bool
) -> tuple[Tensor, Tensor | None]:
    """Terms (3,) of one image and the gradient (3, P) of their sum; `pixels` (3, P) float64, `ids` (P,)."""
    terms = pixels.new_zeros(3)
    dense, counts = _dense_labels(ids)
    counted = counts > 0
    if ignored:
        counted[0] = False
    n_counted = int(counted.sum())
    if n_counted == 0:
        return terms, torch.zeros_like(pixels) if with_grad else None

    means = _sum_per_instance(pixels, dense, len(counts)) / counts.clamp(min=1)
    means[:, 0] = 0.0  # the background belongs at black
    grad = torch.zeros_like(pixels) if with_grad else None
    mean_grad = torch.zeros_like(means)

    terms[0] = _intra(pixels, dense, means, counts, counted, config, grad, mean_grad)
    terms[1] = _inter(pixels, dense, means, counts, config, grad, mean_grad)
    terms[2] = _mean_level(means, counted, config, mean_grad)
    if grad is not None:
        mean_grad[:, 0] = 0.0  # its mean is a constant
        grad += _per_pixel(mean_grad / counts.clamp(min=1), dense)
        grad /= n_counted
    return terms / n_counted, grad


def _dense_labels(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Ids (P,) of any value -> the same instances as 0..K, 0 still background, and their areas (K+1,)."""
    if ids.numel() == 0:
        return ids, torch.zeros(1, dtype=torch.float64, device=ids.device)
    low, high = (int(v) for v in torch.aminmax(ids))
    if low < 0:
        raise ValueError(f"labels must be >= 0 where valid, got {low}; mark pixels without a label by valid=False")
    if high <= 4 * ids.numel() + 1024:  # a table of ids is cheaper than sorting all pixels
        present = torch.bincount(ids, minlength=1) > 0
        present[0] = True
        dense = (torch.cumsum(present, 0) - 1)[ids]
    else:
        values, dense = torch.unique(ids, return_inverse=True)
        if int(values[0]) > 0:
            dense = dense + 1
    counts = torch.bincount(dense, minlength=1)
    return dense, counts.double()


def _sum_per_instance(values: Tensor, dense: Tensor, n: int) -> Tensor:
    """Values (3, P) -> their sums (3, n) over the pixels of each instance."""
    return values.new_zeros((3, n)).scatter_add_(1, dense.expand_as(values), values)


def _per_pixel(values: Tensor, dense: Tensor) -> Tensor:
    """Values (3, K+1) of instances -> (3, P), for each pixel its instance's."""
    return values.gather(1, dense.expand(3, -1))


def _intra(
    pixels: Tensor,
    dense: Tensor,
    means: Tensor,
    counts: Tensor,
    counted: Tensor,
    config: LossConfig,
    grad: Tensor | None,
    mean_grad: Tensor,
) -> Tensor:
    """Pull toward the own mean; adds to `grad` and `mean_grad`."""
    weights = torch.where(counted, config.intra_weight / (3 * counts.clamp(min=1)), 0.0)[dense]
    difference = pixels - _per_pixel(means, dense)
    slope = difference.clamp(-config.huber_delta, config.huber_delta)  # the derivative of Huber
    huber = difference.sub_(slope, alpha=0.5).mul_(slope)
    if grad is not None:
        slope = slope * weights
        grad += slope
        mean_grad -= _sum_per_instance(slope, dense, len(counts))
    return torch.mv(huber, weights).sum()


def _inter(
    pixels: Tensor,
    dense: Tensor,
    means: Tensor,
    counts: Tensor,
    config: LossConfig,
    grad: Tensor | None,
    mean_grad: Tensor,
) -> Tensor:
    """Push of all other pixels away from each instance's mean; adds to `grad` and `mean_grad`.

    Squared distances come from one matrix product, 1 + |p|² - 2 p·m + |m|². That cancels up to six
    digits, which float64 has to spare (absolute error below 1e-10) and float32 has not.
    """
    total = pixels.new_zeros(())
    outside = pixels.shape[1] - counts
    scale = config.inter_weight * config.separation * counts.clamp(min=1).rsqrt() / outside.clamp(min=1)
    scale = torch.where((counts > 0) & (outside > 0), scale, 0.0)
    squares = torch.linalg.vecdot(pixels, pixels, dim=0)
    features = torch.cat([pixels, torch.ones_like(pixels[:1]), squares[None]])
    tile = _TILE_CPU if pixels.device.type == "cpu" else _TILE_GPU

    for first in range(1, means.shape[1], _MAX_ROWS):
        last = min(first + _MAX_ROWS, means.shape[1])
        # Row 0 stands for everything outside this block of instances and weighs nothing: each pixel
        # can then wipe out exactly one row, its own instance's.
        m = torch.cat([means[:, :1], means[:, first:last]], 1)
        a = torch.cat([scale.new_zeros(1), scale[first:last]])
        to_distance = torch.stack([*(-2.0 * m), 1.0 + (m * m).sum(0), torch.ones_like(a)], 1)
        to_grad = torch.cat([a * m, a[None]])
        own = torch.where((dense >= first) & (dense < last), dense - (first - 1), 0)
        value = torch.zeros_like(a)
        push = m.new_zeros((len(a), 4))

        width = max(64, tile // len(a))
        for start in range(0, pixels.shape[1], width):
            part = features[:, start : start + width]
            inverse = torch.mm(to_distance, part).reciprocal_()  # (instances, pixels)
            inverse.scatter_(0, own[None, start : start + width], 0.0)
            value += inverse.sum(1)
            if grad is None:
                continue
            square = inverse.mul_(inverse)
            both = torch.mm(to_grad, square)  # per pixel: sum of a m/t² and, last, of a/t²
            grad[:, start : start + width] += both[:3].sub_(part[:3] * both[3]).mul_(2.0)
            push += torch.mm(square, part[:4].T)
        total += torch.dot(value, a)
        mean_grad[:, first:last] += (2.0 * a * (push[:, :3].T - m * push[:, 3]))[:, 1:]
    return total


def _mean_level(means: Tensor, counted: Tensor, config: LossConfig, mean_grad: Tensor) -> Tensor:
    """Push between the means that count; adds to `mean_grad`."""
    total = means.new_zeros(())
    index = counted.nonzero().flatten()
    k = len(index)
    if k < 2:
        return total
    m = means[:, index].T.contiguous()
    weight = config.mean_weight * config.mean_separation / (k * (k - 1) / 2)
    norms = torch.linalg.vecdot(m, m)
    tile = _TILE_CPU if m.device.type == "cpu" else _TILE_GPU
    height = max(1, tile // k)
    for start in range(0, k, height):
        part = m[start : start + height]
        inverse = torch.addmm(1.0 + norms, part, m.T, alpha=-2.0)
        inverse = inverse.add_(norms[start : start + height, None]).reciprocal_()
        inverse.diagonal(start).zero_()
        total += 0.5 * weight * inverse.sum()  # each pair is met twice
        square = inverse.mul_(inverse)
        push = torch.mm(square, m) - part * square.sum(1, keepdim=True)
        mean_grad[:, index[start : start + height]] += 2.0 * weight * push.T
    return total


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
