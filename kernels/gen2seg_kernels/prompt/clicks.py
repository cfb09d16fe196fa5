"""Clicks that come one after the other: each costs one prompt, however many came before."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gen2seg_kernels.prompt.dispatch import prompt_mask


class Clicks:
    """A mask that grows and shrinks click by click.

    After any clicks, `mask` equals `prompt_mask` of all points and labels so far.

    Args:
        colors: (H, W, 3) uint8; the caller keeps it unchanged while the clicks are in use.
        options: what `prompt_mask` takes beside points and labels.
    """

    def __init__(self, colors: NDArray[np.uint8], **options) -> None:
        self._colors = colors
        self._options = options
        self._joined = np.zeros((2, *colors.shape[:2]), bool)  # of the negative points, of the positive ones

    def add(self, point: ArrayLike, label: int = 1) -> NDArray[np.bool_]:
        """Adds one click (x, y), 1 = positive or 0 = negative, and returns the mask (H, W).

        Raises:
            TypeError, ValueError: as `prompt_mask`.
        """
        if label not in (0, 1):
            raise ValueError(f"label must be 1 (positive) or 0 (negative), got {label!r}")
        self._joined[int(label)] |= prompt_mask(self._colors, [point], **self._options)  # type: ignore[list-item]
        return self.mask

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The mask (H, W) of the clicks so far; empty before the first positive one."""
        return self._joined[1] & ~self._joined[0]
