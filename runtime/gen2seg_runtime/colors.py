"""From the network's raw output to colours 0..255, per image and outside the graph.

The rules are those of the reference code of gen2seg (arXiv 2505.15263), except that each picture is
normalised alone: a result never depends on what else is in its batch. All arithmetic is float32.
"""

import numpy as np

from gen2seg_runtime.errors import ImageError, NetworkOutputError
from gen2seg_runtime.manifest import OutputSpec


def normalize_colors(raw: np.ndarray, spec: OutputSpec) -> np.ndarray:
    """Bring one picture's raw output to uint8 colours.

    With p the raw values of all pixels and channels, padding included:
        "fixed": clip to `spec.range`, the range onto 0..1
        "sd":    q = p + |min p|; q / (|max q| + |min q|)
        "mae":   (p + |min p|) / (|max p| + |min p| + 1e-5)
    then to the power `spec.gamma` if it is given, × 255, truncated.

    Args:
        raw: (3, H, W) float32.
        spec: the bundle's output contract.
    Returns:
        (H, W, 3) uint8.
    Raises:
        NetworkOutputError: NaN or infinity among the raw values, or in the normalised ones.
    """
    if (colors := _in_one_pass(raw, spec)) is not None:
        return colors
    check_finite(raw, "network output")
    p = raw.astype(np.float32, copy=False)
    # Where values as large as float32's own limit overflow on the way, the check below says so.
    with np.errstate(over="ignore", invalid="ignore"):
        unit_scale, q = _RULES[spec.normalization](p, spec)
        if spec.gamma is not None:
            unit_scale, q = np.float32(1), (q / unit_scale) ** np.float32(spec.gamma)
        values = q * (np.float32(255) / unit_scale)
    check_finite(values, "normalised network output")
    # rounding may leave 255.00002, which uint8 would turn to 0
    colors = np.clip(values, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(colors.transpose(1, 2, 0))


def _in_one_pass(raw: np.ndarray, spec: OutputSpec) -> np.ndarray | None:
    """What the rule "fixed" gives without gamma, by one pass over the values; None where that cannot be."""
    if spec.normalization != "fixed" or spec.gamma is not None or spec.range is None or raw.dtype != np.float32:
        return None
    low, high = spec.range
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        span = np.float32(high) - np.float32(low)
        if not (np.isfinite(span) and np.isfinite(np.float32(255) / span)):
            return None
    from gen2seg_kernels.pixels.cpu import planes_to_colors

    return planes_to_colors(raw, low, high)


def check_colors(colors: np.ndarray) -> None:
    """Raise ImageError unless `colors` is (h, w, 3) uint8 with at least one pixel."""
    if not isinstance(colors, np.ndarray):
        raise ImageError(f"colors must be a NumPy array, got {type(colors).__name__}")
    if colors.ndim != 3 or colors.shape[2] != 3 or colors.dtype != np.uint8 or not colors.size:
        raise ImageError(f"colors must be (h, w, 3) uint8, got {colors.shape} {colors.dtype}")


def check_finite(values: np.ndarray, stage: str) -> None:
    """Raise NetworkOutputError naming `stage` if a value is NaN or infinite."""
    finite = np.isfinite(values)
    if not finite.all():
        count = values.size - int(np.count_nonzero(finite))
        raise NetworkOutputError(
            f"{stage}: {count} of {values.size} values are NaN or infinite; the weights are damaged "
            "or the precision is too low for this model"
        )


def check_shape(values: np.ndarray, expected: tuple[int, ...], stage: str) -> None:
    """Raise NetworkOutputError naming `stage` if the shape or type is another one."""
    if values.shape != expected or values.dtype != np.float32:
        raise NetworkOutputError(
            f"{stage}: expected {expected} float32, got {values.shape} {values.dtype}; "
            "the graph does not keep what its manifest promises"
        )


# Each rule returns (scale, q) with q in [0, scale]: "fixed" on 0..255 then multiplies by exactly 1, and a
# whole number stays one instead of falling to the next lower by truncation.


def _fixed(p: np.ndarray, spec: OutputSpec) -> tuple[np.float32, np.ndarray]:
    if spec.range is None:
        raise ValueError('an OutputSpec with normalization "fixed" needs a range')
    low, high = (np.float32(bound) for bound in spec.range)
    return high - low, np.clip(p, low, high) - low


def _sd(p: np.ndarray, spec: OutputSpec) -> tuple[np.float32, np.ndarray]:
    q = p + abs(p.min())
    total = abs(q.max()) + abs(q.min())
    # All zero: there is nothing to spread, and 0/0 would be NaN.
    return np.float32(1), q / (total if total > 0 else np.float32(1))


def _mae(p: np.ndarray, spec: OutputSpec) -> tuple[np.float32, np.ndarray]:
    low = abs(p.min())
    return np.float32(1), (p + low) / (abs(p.max()) + low + np.float32(1e-5))


_RULES = {"fixed": _fixed, "sd": _sd, "mae": _mae}
