"""Training on some categories only: where the loss must look away.

Source: the category ablation of gen2seg (arXiv 2505.15263): no loss inside the boxes of objects of other
categories; pictures with more than 35 % of such area, or without any allowed object, are dropped. Its five
categories are books, chair, lamp, table and pillow. It does not name its ten: the other five here are ours, the
next ones by their count in Hypersim.
"""

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from .sets import Sample

FIVE = ("books", "chair", "lamp", "table", "pillow")
TEN = (*FIVE, "window", "picture", "cabinet", "paper", "sofa")
GROUPS = {"five": FIVE, "ten": TEN}

MOST_HIDDEN = 0.35  # of the picture, in boxes of other objects

# Not objects but what surrounds them: their boxes would cover whole pictures. They become background.
STUFF = frozenset({"wall", "floor", "ceiling", "unlabelled"})


def restricted(sample: Sample, allowed: Collection[str]) -> Sample:
    """The sample with only the instances of allowed categories; boxes of the others are not valid.

    Args:
        sample: with `categories`.
        allowed: names of the categories that stay.
    """
    if sample.categories is None:
        raise ValueError("the sample has no categories")
    keep = [i for i, name in sample.categories.items() if name in allowed]
    others = [i for i, name in sample.categories.items() if name not in allowed and name not in STUFF]
    valid = np.ones(sample.ids.shape, bool) if sample.valid is None else sample.valid.copy()
    for number in others:
        rows, columns = np.nonzero(sample.ids == number)
        if len(rows):
            valid[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = False
    ids = np.where(np.isin(sample.ids, keep), sample.ids, 0)
    return replace(sample, ids=ids, valid=valid)


def usable(sample: Sample) -> bool:
    """Whether a restricted sample is worth training on."""
    if sample.valid is None:
        return bool(sample.ids.any())
    return bool(sample.ids[sample.valid].any()) and float((~sample.valid).mean()) <= MOST_HIDDEN
