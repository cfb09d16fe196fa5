"""How far two arrays are apart, in the figures that bundles are judged by."""

import math
from dataclasses import dataclass

import numpy as np

PSNR_CEILING = 200.0  # dB; stands for "equal", since JSON has no infinity


@dataclass(frozen=True)
class Difference:
    """Between what came and what was expected.

    Attributes:
        max, mean: absolute differences, in the unit of the arrays.
        relative: root mean square difference over the standard deviation of what was expected.
        psnr: dB.
    """

    max: float
    mean: float
    relative: float
    psnr: float


# Of the range of what random weights give; less spread than that counts as that. With an eighth of the range the
# exporter's limit on `relative` stays the stricter one beside that on the PSNR, by 2 to 4 dB for one network.
LEAST_SPREAD = 1 / 8


def stage_difference(got: np.ndarray, expected: np.ndarray, trained: bool) -> Difference:
    """The difference that a stage's output is judged by.

    Random weights give values of which a few are far from the rest: a spread of a 25th or 40th of the range, while
    rounding errors grow with the values on their way, the far ones among them. Trained weights are held to their own
    spread, however small.
    """
    return difference(got, expected, least_spread=0.0 if trained else LEAST_SPREAD * float(np.ptp(expected)))


def difference(
    got: np.ndarray, expected: np.ndarray, peak: float | None = None, least_spread: float = 0.0
) -> Difference:
    """Compare two arrays of one shape; NaN in `got` makes every figure NaN.

    Args:
        peak: for the PSNR (255 for colours); None: the range of `expected`.
        least_spread: a standard deviation of `expected` below this counts as this: of a flat picture relative
            figures would mean nothing.
    """
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    delta = np.abs(got - expected)
    rms = float(np.sqrt(np.mean(delta**2)))
    if rms == 0:
        return Difference(0.0, 0.0, 0.0, PSNR_CEILING)
    peak = float(np.ptp(expected)) if peak is None else peak
    spread = max(float(expected.std()), least_spread)
    psnr = math.nan if not math.isfinite(rms) else 20 * math.log10(peak / rms) if peak > 0 else -PSNR_CEILING
    relative = rms / spread if spread > 0 else math.inf
    return Difference(float(delta.max()), float(delta.mean()), relative, min(psnr, PSNR_CEILING))
