"""Intersection over union of a mask."""

from typing import TYPE_CHECKING

import numpy as np

from gen2seg.evaluation.errors import EvaluationError

if TYPE_CHECKING:
    from gen2seg.evaluation.clicks import Click


def mask_iou(mask: np.ndarray, labels: np.ndarray, click: "Click") -> float:
    """Intersection over union of a predicted mask and the clicked instance.

    Every pixel of the mask counts, those on unlabelled ground too: one object is asked for.

    Args:
        mask: bool [H, W].
        labels: int [H, W], where the instance is `labels == click.instance`.
        click: names the instance and gives its box and area.

    Raises:
        EvaluationError: `mask` is not bool or not of the shape of `labels`.
    """
    if mask.shape != labels.shape or mask.dtype != np.bool_:
        raise EvaluationError(f"a mask must be bool {labels.shape}, got {mask.dtype} {mask.shape}")
    x0, y0, x1, y1 = click.box
    instance = labels[y0:y1, x0:x1] == click.instance
    shared = np.count_nonzero(mask[y0:y1, x0:x1] & instance)
    return shared / (np.count_nonzero(mask) + click.area - shared)
