"""Colours prepared once for many clicks: what prompting reads of an image and need not compute again."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.native import load_native
from gen2seg_kernels.prompt.points import check_colors
from gen2seg_kernels.threads import thread_count


class PreparedColors:
    """A snapshot of a colour image in the layouts that prompting reads; `prepare_colors` makes it.

    It never changes and may be shared between threads. With the compiled kernels it takes about 7 bytes per pixel:
    the colours, four bytes each with mirrored borders; for each pixel lower bounds of the filter's weights in three
    parts of its window; and the colour box of each tile of 16 x 8 pixels, which tells most tiles' distance to a query.
    The filter's weights themselves are not kept: those of 49 neighbours would have to be read for the few scattered
    pixels that the bounds leave to the filter, from more memory than the caches hold.

    Attributes:
        shape: (H, W, 3) of the colours.
        field: a capsule of the extension, or a `lazy.ColorField` where the plain versions run.
    """

    __slots__ = ("field", "shape")

    shape: tuple[int, int, int]
    field: Any

    def __init__(self, shape: tuple[int, int, int], field: Any) -> None:
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "field", field)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("prepared colours cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("prepared colours cannot be changed")

    def __reduce__(self) -> Any:
        raise TypeError("prepared colours cannot be pickled; prepare the colours again")


def prepare_colors(colors: NDArray[np.uint8], threads: int | None = None) -> PreparedColors:
    """Prepares a colour image, so that each click on it costs less.

    Args:
        colors: (H, W, 3) uint8, contiguous or not; later changes of the array do not matter.
        threads: as for `prompt_mask`.

    Returns:
        What `prompt_mask` and its siblings take in place of the colours, with the same masks.

    Raises:
        TypeError, ValueError: `colors` is not such an array, or `threads` is not positive.
        MemoryError: about 7 bytes per pixel cannot be had.
    """
    checked = check_colors(colors)
    native = load_native()
    count = thread_count(threads)
    if native is not None:
        return PreparedColors(checked.shape, native.prompt_prepare(checked, count))  # type: ignore[arg-type]
    from gen2seg_kernels.prompt.lazy import ColorField

    return PreparedColors(checked.shape, ColorField(checked.copy()))  # type: ignore[arg-type]
