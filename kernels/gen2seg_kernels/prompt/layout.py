"""How prompts are laid out for the GPU kernels: plain arrays, for those who launch them with and without PyTorch.

`triton_field.py` says what each array means; the order of the launches is in `triton.py`.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.prompt.metric import MARGIN, MetricCut, square_of
from gen2seg_kernels.prompt.reference import WINDOW_RADIUS, filter_tables
from gen2seg_kernels.prompt.request import Prompt, ReferenceCut

Cut = ReferenceCut | MetricCut


def point_groups(lengths: list[int], room: int) -> Iterator[tuple[int, int]]:
    """First and last + 1 of neighbours whose lengths add up to at most `room`; alone, one may be longer."""
    first = taken = 0
    for index, length in enumerate(lengths):
        if index > first and taken + length > room:
            yield first, index
            first, taken = index, 0
        taken += length
    yield first, len(lengths)


def point_rows(group: Sequence[tuple[int, Prompt]], cut: Cut) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """The kernels' `points` (see `triton_field.py`), and where each prompt's begin and the last one's end.

    Args:
        group: prompts, each with the index of its image.
    """
    lengths = [len(prompt.points) for _, prompt in group]
    rows = np.zeros((sum(lengths), 8))
    rows[:, :2] = np.concatenate([prompt.points for _, prompt in group])
    rows[:, 2] = np.repeat([image for image, _ in group], lengths)
    rows[:, 3] = np.concatenate([prompt.positive for _, prompt in group])
    if isinstance(cut, ReferenceCut):
        rows[:, 4] = cut.sigma
    else:
        rows[:, 4] = square_of(0.5 * cut.distance)
        # Less than a number is at most the one before it.
        squares = [square_of(share * cut.distance) for share in (1, 1 - MARGIN, 1 + MARGIN)]
        rows[:, 5:] = np.nextafter(squares, -np.inf)
    return rows, np.cumsum([0, *lengths], dtype=np.int32)


def filter_weights() -> NDArray[np.float32]:
    """The filter's weights (783,): by squared offset in place, 0..16, then by L1 distance in colour, 0..765."""
    offsets, space, color = filter_tables()
    by_square = np.zeros(WINDOW_RADIUS**2 + 1, np.float32)
    by_square[[dy * dy + dx * dx for dy, dx in offsets]] = space
    return np.concatenate([by_square, color])
