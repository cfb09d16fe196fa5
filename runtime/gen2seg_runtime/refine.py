"""A mask that is refined click by click; each click costs one prompt, however many came before."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gen2seg_runtime.resample import resize_mask

if TYPE_CHECKING:
    from gen2seg_kernels import PromptState


@dataclass(frozen=True, eq=False)
class Refinement:
    """The clicks so far on one encoding; `Encoding.refine` makes them. Cannot be changed: earlier ones stay valid.

    Attributes:
        points: the clicks (x, y) in pixels of the picture.
        labels: 1 = positive, 0 = negative, for each.
        mode: of all of them.
        size: (H, W) of the picture.
        state: the masks of the positive and of the negative clicks, at the size that prompting works at.
    """

    points: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]
    mode: str
    size: tuple[int, int]
    state: "PromptState"

    @property
    def mask(self) -> np.ndarray:
        """bool (H, W): what `Encoding.mask` gives for these points and labels; empty before a positive click."""
        return resize_mask(self.state.mask, self.size)
