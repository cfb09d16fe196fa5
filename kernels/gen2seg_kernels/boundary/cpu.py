"""The matching by the C extension; `reference.py` takes the same steps."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.boundary.layout import lay_out
from gen2seg_kernels.native import load_native


def match_boundary(
    groups: Sequence[NDArray[np.int64]], boundary: NDArray[np.bool_], tolerance: float
) -> NDArray[np.bool_]:
    """See `dispatch.match_boundary`.

    Raises:
        ImportError: the extension is not installed.
        MemoryError: about 12 bytes for each pair within the tolerance cannot be had.
    """
    native = load_native()
    if native is None:
        raise ImportError("the compiled kernels are not installed; boundary/reference.py runs without them")
    layout = lay_out(groups, boundary, tolerance)
    matched = np.zeros((len(groups), len(layout.pixels)), bool)
    native.boundary_match(
        layout.pixels,
        layout.numbers,
        layout.columns,
        layout.reach,
        layout.distances,
        layout.ends,
        layout.worth,
        matched,
    )
    return matched
