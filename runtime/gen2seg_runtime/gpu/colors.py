"""The network's raw output to colours in GPU memory, by the rules of `gen2seg_runtime.colors`. Not run on hardware.

The range of the values comes to the host, which turns the bundle's rule into a few numbers; the rest stays there.
Colours equal those of the CPU; with a gamma they may be one level off where rounding decides.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gen2seg_runtime.errors import NetworkOutputError
from gen2seg_runtime.io_spec import OutputSpec

# What `found` of the range kernel holds before: the largest and the least int32, no value that is not finite, unused.
EMPTY_RANGE = np.array([2**31 - 1, -(2**31), 0, 0], np.int32)


@dataclass(frozen=True)
class PaintRule:
    """A colour is ((clip(raw, low, high) + offset) / divisor) ** gamma * factor, clipped to 0..255 and truncated.

    `gamma` None: no power. All numbers are exact float32.
    """

    low: float
    high: float
    offset: float
    divisor: float
    gamma: float | None
    factor: float


def decode_range(found: np.ndarray, stage: str = "network output") -> tuple[np.float32, np.float32]:
    """Least and greatest value that the range kernel saw.

    Args:
        found: (4,) int32.
        stage: for the message.
    Raises:
        NetworkOutputError: values that are NaN or infinite.
    """
    if found[2]:
        raise NetworkOutputError(
            f"{stage}: {found[2]} values are NaN or infinite; the weights are damaged or the precision is too low "
            "for this model"
        )
    bits = np.where(found[:2] < 0, found[:2] ^ np.int32(0x7FFFFFFF), found[:2]).astype(np.int32)
    low, high = bits.view(np.float32)
    return low, high


def paint_rule(spec: OutputSpec, least: np.float32, greatest: np.float32) -> PaintRule:
    """The bundle's normalisation of one picture, whose raw values run from `least` to `greatest`, padding included.

    Raises:
        NetworkOutputError: values so large that float32 overflows on the way.
    """
    one, full = np.float32(1), np.float32(255)
    if spec.normalization == "fixed":
        assert spec.range is not None
        low, high = (np.float32(bound) for bound in spec.range)
        offset, scale = -low, high - low
    else:
        low, high = least, greatest
        offset = abs(least)
        with np.errstate(over="ignore", invalid="ignore"):
            if spec.normalization == "sd":
                # Adding and rounding keep the order: these are the largest and the least of all sums.
                scale = abs(greatest + offset) + abs(least + offset)
            else:
                scale = abs(greatest) + offset + np.float32(1e-5)
        if not np.isfinite(scale):
            raise NetworkOutputError(
                f"normalised network output: values from {least} to {greatest} overflow float32 or are none"
            )
        scale = scale if scale > 0 else one  # all zero: there is nothing to spread
    if spec.gamma is not None:
        return _rule(low, high, offset, scale, spec.gamma, full)
    if spec.normalization == "fixed":
        return _rule(low, high, offset, one, None, full / scale)
    return _rule(low, high, offset, scale, None, full)


def _rule(low: Any, high: Any, offset: Any, divisor: Any, gamma: float | None, factor: Any) -> PaintRule:
    power = None if gamma is None else float(np.float32(gamma))
    return PaintRule(float(low), float(high), float(offset), float(divisor), power, float(factor))
