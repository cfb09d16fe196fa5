"""The instance colouring loss in PyTorch operations: for devices without a kernel, and where none is compiled.

The plain definition is `reference.py`; this file computes the same numbers in time linear in pixels x instances
and memory linear in their sum.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from gen2seg_kernels.loss.config import LossConfig

# Elements of one pixels x instances tile in float64. On a CPU one megabyte stays in a core's second
# level cache; a GPU needs larger tiles to be busy.
_TILE_CPU = 1 << 17
_TILE_GPU = 1 << 23
_MAX_ROWS = 2048  # instances per tile, so that a tile keeps enough pixels


def loss_and_grad(
    pred: Tensor, labels: Tensor, ignored: Sequence[bool], valid: Tensor | None, config: LossConfig, with_grad: bool
) -> tuple[Tensor, Tensor | None]:
    """Terms (B, 3) float64 per image, and the gradient of the mean over the images of their sums.

    Arguments are those of `cpu.loss_and_grad`, as tensors on one device that `autograd.py` has checked.
    """
    # Half precision keeps a float32 gradient until the incoming scale is known, so that small
    # values survive where a loss scale lifts them.
    wide = torch.float64 if pred.dtype == torch.float64 else torch.float32
    grad = torch.zeros(pred.shape, dtype=wide, device=pred.device) if with_grad else None
    batch = pred.shape[0]
    terms = torch.zeros((batch, 3), dtype=torch.float64, device=pred.device)
    with torch.autocast(pred.device.type, enabled=False):
        for b in range(batch):
            colors, ids = pred[b].detach().flatten(1), labels[b].flatten().long()
            keep = None if valid is None else valid[b].flatten().nonzero().flatten()
            if keep is not None:
                colors, ids = colors[:, keep], ids[keep]
            terms[b], image_grad = _image_loss(colors.double(), ids, ignored[b], config, with_grad)
            if grad is None or image_grad is None:
                continue
            image_grad /= batch
            if keep is None:
                grad[b] = image_grad.view_as(grad[b])
            else:
                grad[b].view(3, -1)[:, keep] = image_grad.to(wide)
    return terms, grad


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
