"""How far a bundle may be from its PyTorch network, by the numbers it stores and computes in: one table."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gen2seg_runtime.difference import Difference
from gen2seg_runtime.manifest import PrecisionSpec, StageSpec


@dataclass(frozen=True)
class Tolerance:
    """Limits for what each stage gives and for the colours.

    For a stage differences count in shares of the range of what is expected (`stage_max`, `stage_mean`, and the
    PSNR's peak); `relative` is the root mean square difference over the standard deviation of what is expected:
    unlike the others it sees a wrong weight also in a network whose output hardly varies. Colours count in 0..255.
    The limits are for one network on exact input; `carried` gives those behind several.
    What is different for random weights is said at `stage_difference` (of the runtime) and `untrained_failures`.
    """

    stage_max: float
    stage_mean: float
    stage_relative: float
    stage_psnr: float
    color_mean: float
    color_relative: float
    color_psnr: float
    mask_iou: float

    def carried(self, stages: int) -> "Tolerance":
        """The limits for the last of several stages that ran one after the other.

        Each passes on what the ones before it rounded. The roundings are independent, so their root mean squares
        add in quadrature: the relative limits grow by the root of the number of stages. The absolute ones stay.
        """
        grown = math.sqrt(stages)
        return replace(self, stage_relative=self.stage_relative * grown, color_relative=self.color_relative * grown)

    def stage_failures(self, what: str, found: Difference, span: float) -> list[str]:
        """What is out of tolerance, in words; `span`: the range of what was expected."""
        failures = _failures(what, found, self.stage_mean * span, self.stage_relative, self.stage_psnr)
        if not found.max <= self.stage_max * span:
            failures.append(f"{what}: largest difference {found.max:.4g} is above {self.stage_max * span:.4g}")
        return failures

    def color_failures(self, what: str, found: Difference) -> list[str]:
        return _failures(f"{what} colours", found, self.color_mean, self.color_relative, self.color_psnr)

    def untrained_failures(self, what: str, raw: Difference) -> list[str]:
        """What stands for `color_failures` where the weights are random: `raw` is the last stage's difference.

        Colours are the raw output stretched between its smallest and largest value of the picture. Random weights
        leave nearly all values in a sliver of that range, so that the rounding of one single value, the extreme one,
        moves the colours of all. With the extremes of both sides the same, the PSNR of colours is that of the raw
        output over its range: that one has to reach what is promised for colours.
        """
        if raw.psnr >= self.color_psnr:
            return []
        return [f"{what}: PSNR {raw.psnr:.4g} dB of the raw colours over their range is below {self.color_psnr:g}"]


def _failures(what: str, found: Difference, mean: float, relative: float, psnr: float) -> list[str]:
    # Each test is written so that NaN fails it.
    failures = []
    if not found.mean <= mean:
        failures.append(f"{what}: mean difference {found.mean:.4g} is above {mean:.4g}")
    if not found.relative <= relative:
        failures.append(f"{what}: relative difference {found.relative:.4g} is above {relative:g}")
    if not found.psnr >= psnr:
        failures.append(f"{what}: PSNR {found.psnr:.4g} dB is below {psnr:g}")
    return failures


# float32: only the order of sums differs; measured on the tiny trained network over pictures of all kinds: up to
# 3e-5 relative and 0.007 colour units. Stored float16: the rounding of the weights adds up to 5e-4 relative and
# 0.25 colour units (85 dB), while 10 % noise on a weight near either end costs 1e-2 relative and more. The uint8
# colours carry one more unit wherever a value lies next to a whole number. The narrow formats are held to the
# colour PSNR that their bundles promise, and stages to what leaves room for it.
TOLERANCES = {
    "float32": Tolerance(
        stage_max=1e-3,
        stage_mean=2e-5,
        stage_relative=3e-4,
        stage_psnr=85,
        color_mean=0.02,
        color_relative=0.01,
        color_psnr=60,
        mask_iou=0.99,
    ),
    "stored float16": Tolerance(
        stage_max=2e-2,
        stage_mean=2e-4,
        stage_relative=3e-3,
        stage_psnr=65,
        color_mean=0.1,
        color_relative=0.015,
        color_psnr=55,
        mask_iou=0.97,
    ),
    "float16": Tolerance(
        stage_max=0.1,
        stage_mean=2e-3,
        stage_relative=0.02,
        stage_psnr=50,
        color_mean=0.5,
        color_relative=0.03,
        color_psnr=48,
        mask_iou=0.9,
    ),
    "bfloat16": Tolerance(
        stage_max=0.25,
        stage_mean=0.01,
        stage_relative=0.1,
        stage_psnr=36,
        color_mean=1.5,
        color_relative=0.1,
        color_psnr=45,
        mask_iou=0.9,
    ),
    "int8": Tolerance(
        stage_max=0.5,
        stage_mean=0.02,
        stage_relative=0.2,
        stage_psnr=28,
        color_mean=5,
        color_relative=0.3,
        color_psnr=35,
        mask_iou=0.8,
    ),
}

# From strict to loose.
_ORDER = tuple(TOLERANCES)


def tolerance_name(precision: PrecisionSpec) -> str:
    """The row of `TOLERANCES` for a stage's numbers."""
    if precision.compute == "float32":
        return "float32" if precision.weights == "float32" else "stored float16"
    if precision.compute not in TOLERANCES:
        raise ValueError(f"no tolerance for {precision.compute!r}; known: {', '.join(_ORDER)}")
    return precision.compute


def stage_tolerance_name(stage: StageSpec, backend: str) -> str:
    """As `tolerance_name`, for one stage in one backend: an int8 artifact is judged as int8."""
    facts = stage.facts.get(backend, {})
    return "int8" if facts.get("precision") == "int8" else tolerance_name(stage.precision)


def carried(rows: Mapping[str, str]) -> dict[str, Tolerance]:
    """The limits of every stage of a chain; `rows`: stage -> row of `TOLERANCES`, in the order of the chain."""
    return {name: TOLERANCES[row].carried(place) for place, (name, row) in enumerate(rows.items(), 1)}


def loosest(names: list[str]) -> str:
    """The loosest of several rows: what holds for a chain."""
    return max(names, key=_ORDER.index)
