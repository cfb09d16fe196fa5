"""Ids of instances -> rows, and the pixels sorted by row, for a whole batch at once in PyTorch operations."""

from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """The instances of a batch, numbered in the order of their ids: row 0 is the background, 1..K the instances.

    Attributes:
        dense: (images, pixels) int32, row of each pixel, -1 where it is not valid.
        order: (images, pixels) int32, the pixels sorted by row, in their own order within a row.
        starts: (images, n_rows + 1) int32, first place of each row in `order`, and the number of pixels.
        instances: (images) int32, instances of the image.
        n_rows: one more than the most instances of an image.
    """

    dense: Tensor
    order: Tensor
    starts: Tensor
    instances: Tensor
    n_rows: int


def number_rows(labels: Tensor, valid: Tensor | None) -> Rows:
    """Numbers the instances of each image; the host waits for the device once.

    Args:
        labels: (images, pixels) integer, 0 = background, at least one image and one pixel.
        valid: (images, pixels) bool; None takes all pixels.

    Raises:
        ValueError: a valid label is negative.
    """
    ids = labels if labels.dtype == torch.int64 else labels.to(torch.int32)
    lowest = ids.amin() if valid is None else torch.where(valid, ids, 0).amin()
    if valid is not None:
        ids = torch.where(valid, ids, -1)
    ids, order = torch.sort(ids, dim=1, stable=True)
    is_new = torch.zeros_like(ids, dtype=torch.bool)
    is_new[:, 0] = ids[:, 0] > 0
    is_new[:, 1:] = (ids[:, 1:] > 0) & (ids[:, 1:] != ids[:, :-1])
    row = is_new.cumsum(1, dtype=torch.int32)
    instances = row[:, -1].clone()
    row.masked_fill_(ids < 0, -1)
    least, most = torch.stack([lowest.long(), instances.amax().long()]).tolist()
    if least < 0:
        raise ValueError(f"labels must be >= 0 where valid, got {least}; mark pixels without a label by valid=False")
    dense = torch.empty_like(row).scatter_(1, order, row)
    bounds = torch.arange(most + 2, dtype=torch.int32, device=row.device).expand(len(row), -1).contiguous()
    starts = torch.searchsorted(row, bounds, out_int32=True)
    return Rows(dense, order.to(torch.int32), starts, instances, most + 1)
