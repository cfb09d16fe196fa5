"""The instance colouring loss as others compute it; colors (3, H, W) float32, labels (H, W) -> scalar."""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def loop_over_instances(colors: Tensor, labels: Tensor) -> Tensor:
    """As the published training code runs it: one instance after the other, with boolean masks."""
    ids = [int(i) for i in torch.unique(labels)]
    intra, inter, means = colors.new_zeros(()), colors.new_zeros(()), []
    for instance in ids:
        mask = labels == instance
        inside = colors[:, mask]
        mean = inside.mean(dim=1) if instance else torch.zeros(3)
        means.append(mean)
        intra = intra + F.huber_loss(inside, mean[:, None].expand_as(inside), delta=1.0)
        if instance and not mask.all():
            squared = (colors[:, ~mask] - mean[:, None]).square().sum(dim=0)
            inter = inter + 10 / mask.sum().sqrt() * (300 / (1 + squared)).mean()
    stacked = torch.stack(means)
    between = colors.new_zeros(())
    if len(ids) > 1:
        first, second = torch.triu_indices(len(ids), len(ids), 1)
        between = (300 / (1 + (stacked[first] - stacked[second]).square().sum(dim=1))).mean()
    return (intra + inter + between) / len(ids)


def broadcast(colors: Tensor, labels: Tensor) -> Tensor:
    """All instances at once: differences of all pixels and all means as one tensor."""
    return _broadcast(colors.flatten(1).T, *_dense(labels))


def compiled_broadcast(colors: Tensor, labels: Tensor) -> Tensor:
    """`broadcast` through torch.compile."""
    return _compiled()(colors.flatten(1).T, *_dense(labels))


def _dense(labels: Tensor) -> tuple[Tensor, int]:
    ids, dense = torch.unique(labels.flatten(), return_inverse=True)
    if int(ids[0]) != 0:
        raise ValueError("this rival is written for images with a background")
    return dense, len(ids)


@cache
def _compiled() -> Any:
    return torch.compile(_broadcast, dynamic=True)


def _broadcast(pixels: Tensor, dense: Tensor, n: int) -> Tensor:
    counts = pixels.new_zeros(n).index_add(0, dense, torch.ones_like(pixels[:, 0]))
    means = pixels.new_zeros(n, 3).index_add(0, dense, pixels) / counts[:, None]
    means = torch.cat([torch.zeros_like(means[:1]), means[1:]])
    huber = F.huber_loss(pixels, means[dense], delta=1.0, reduction="none").sum(1)
    intra = (huber / (3 * counts[dense])).sum()

    squared = (pixels[:, None] - means[None, 1:]).square().sum(dim=2)
    outside = dense[:, None] != torch.arange(1, n)
    push = (outside * (300 / (1 + squared))).sum(0) / (len(pixels) - counts[1:])
    inter = (10 * counts[1:].rsqrt() * push).sum()

    apart = (means[:, None] - means[None]).square().sum(dim=2)
    between = (300 / (1 + apart)).triu(1).sum() / (n * (n - 1) / 2)
    return (intra + inter + between) / n
