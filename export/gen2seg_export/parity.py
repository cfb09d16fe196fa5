"""The gate: the bundle, run by the runtime that users run, against the PyTorch network in float32.

Compared per picture: the raw network output on one identical input, the uint8 colours that the whole runtime
makes of the picture, and the masks of a grid of clicks on both colour images.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gen2seg_export.errors import ExportError
from gen2seg_export.onnx_graph import rounded_module
from gen2seg_export.reference import reference_input, truncated
from gen2seg_export.samples import Sample
from gen2seg_runtime.backends import open_backend
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.encoding import Encoding
from gen2seg_runtime.manifest import InputSpec
from gen2seg_runtime.segmenter import Segmenter

COLOR_RANGE = 255.0
PSNR_CEILING = 200.0  # dB; stands for "equal", since JSON has no infinity
CLICKS_PER_SIDE = 4  # a grid of 4 x 4 clicks on every picture
# Sizes that no tracer saw, beside those of the pictures: one stride, a batch, very elongated.
PROBE_SHAPES = ((1, 32, 32), (2, 64, 96), (1, 96, 2048), (1, 384, 32))


@dataclass(frozen=True)
class Tolerance:
    """How far a bundle may be from the network; differences in colour units (0..255), PSNR in dB.

    `relative` is the root mean square difference over the standard deviation of the expected output: unlike
    the absolute figures it sees a wrong weight also in a network whose output hardly varies.
    """

    raw_max: float
    raw_mean: float
    raw_relative: float
    raw_psnr: float
    color_mean: float
    color_relative: float
    color_psnr: float
    mask_iou: float

    def failures(self, case: "CaseReport", gate_masks: bool) -> list[str]:
        """What of this case is out of tolerance, in words."""
        found = self.raw_failures(case.name, "raw", case.raw)
        if case.rounded is not None:
            found += TOLERANCES["float32"].raw_failures(case.name, "unexplained raw", case.rounded)
        if case.colors is not None:
            limits = (self.color_mean, self.color_relative, self.color_psnr)
            found += _failures(case.name, "colour", case.colors, *limits)
        if gate_masks and case.mask_iou is not None and not case.mask_iou >= self.mask_iou:
            found.append(f"{case.name}: mean mask IoU {case.mask_iou:.4g} is below {self.mask_iou:g}")
        return found

    def raw_failures(self, case: str, what: str, found: "Difference") -> list[str]:
        failures = _failures(case, what, found, self.raw_mean, self.raw_relative, self.raw_psnr)
        if not found.max <= self.raw_max:
            failures.append(f"{case}: largest {what} difference {found.max:.4g} is above {self.raw_max:g}")
        return failures


def _failures(case: str, what: str, found: "Difference", mean: float, relative: float, psnr: float) -> list[str]:
    # Each test is written so that NaN fails it.
    failures = []
    if not found.mean <= mean:
        failures.append(f"{case}: mean {what} difference {found.mean:.4g} is above {mean:g}")
    if not found.relative <= relative:
        failures.append(f"{case}: relative {what} difference {found.relative:.4g} is above {relative:g}")
    if not found.psnr >= psnr:
        failures.append(f"{case}: {what} PSNR {found.psnr:.4g} dB is below {psnr:g}")
    return failures


# By precision of the stored weights. float32: only the order of sums differs; measured on a trained network over
# pictures of all kinds: up to 3e-5 relative and 0.007 colour units. float16: the rounding of the weights adds
# up to 5e-4 relative and 0.25 colour units (85 dB), while 10 % noise on a weight near either end of the network
# costs 1e-2 relative and more. A float16 bundle is also compared with the network after the same rounding, within
# the limits for float32: what remains there is not explained by the rounding. The uint8 colours carry one more
# unit wherever a value lies next to a whole number.
TOLERANCES = {
    "float32": Tolerance(
        raw_max=0.2,
        raw_mean=0.005,
        raw_relative=3e-4,
        raw_psnr=85,
        color_mean=0.02,
        color_relative=0.01,
        color_psnr=60,
        mask_iou=0.99,
    ),
    "float16": Tolerance(
        raw_max=4.0,
        raw_mean=0.05,
        raw_relative=3e-3,
        raw_psnr=65,
        color_mean=0.1,
        color_relative=0.015,
        color_psnr=55,
        mask_iou=0.97,
    ),
}


@dataclass(frozen=True)
class Difference:
    """Between two arrays of colours: in colour units, relative to the expected spread, and in dB."""

    max: float
    mean: float
    relative: float
    psnr: float


@dataclass(frozen=True)
class CaseReport:
    """One picture, or one probe of the network alone (then `colors` and the masks are None)."""

    name: str
    kind: str  # "probe", "generated" or "real"
    shape: tuple[int, ...]  # (N, H, W) of the network's input
    raw: Difference
    rounded: Difference | None = None  # from the network with the bundle's own rounded weights, where it has such
    colors: Difference | None = None
    mask_iou: float | None = None
    mask_iou_lowest: float | None = None


@dataclass(frozen=True)
class ParityReport:
    """What was compared, with which tolerance, and what failed. `to_json` is free of machine paths."""

    precision: str
    backend: str
    prompt_mode: str
    masks_gated: bool
    cases: tuple[CaseReport, ...]
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def color_max(self) -> int:
        """The largest colour difference at any pixel of any picture."""
        return max((int(case.colors.max) for case in self.cases if case.colors is not None), default=0)

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "reference": "PyTorch float32, weights before rounding",
            "backend": self.backend,
            "weights": self.precision,
            "tolerance": asdict(TOLERANCES[self.precision]),
            "prompt_mode": self.prompt_mode,
            "masks_gated": self.masks_gated,
            "summary": self.summary(),
            "failures": list(self.failures),
            "cases": [_rounded(asdict(case)) for case in self.cases],
        }

    def summary(self) -> dict[str, Any]:
        """The worst figures over all cases, and how many pictures of each kind stand behind them."""
        colors = [case.colors for case in self.cases if case.colors is not None]
        rounded = [case.rounded for case in self.cases if case.rounded is not None]
        ious = [case.mask_iou for case in self.cases if case.mask_iou is not None]
        lowest = [case.mask_iou_lowest for case in self.cases if case.mask_iou_lowest is not None]
        return _rounded(
            {
                "probes": sum(case.kind == "probe" for case in self.cases),
                "generated": sum(case.kind == "generated" for case in self.cases),
                "real": sum(case.kind == "real" for case in self.cases),
                "raw_max": max(case.raw.max for case in self.cases),
                "raw_mean": max(case.raw.mean for case in self.cases),
                "raw_relative": max(case.raw.relative for case in self.cases),
                "raw_psnr": min(case.raw.psnr for case in self.cases),
                "unexplained_relative": max((d.relative for d in rounded), default=None),
                "color_max": max((d.max for d in colors), default=None),
                "color_mean": max((d.mean for d in colors), default=None),
                "color_relative": max((d.relative for d in colors), default=None),
                "color_psnr": min((d.psnr for d in colors), default=None),
                "mask_iou": float(np.mean(ious)) if ious else None,
                "mask_iou_lowest": min(lowest, default=None),
            }
        )


def difference(got: np.ndarray, expected: np.ndarray) -> Difference:
    """Compare two colour arrays of one shape; a NaN in `got` makes every figure NaN."""
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    delta = np.abs(got - expected)
    rms = float(np.sqrt(np.mean(delta**2)))
    psnr = PSNR_CEILING if rms == 0 else 20 * math.log10(COLOR_RANGE / rms) if math.isfinite(rms) else math.nan
    # Under one colour unit of spread the picture is flat, and relative figures would mean nothing.
    spread = max(float(expected.std()), 1.0)
    return Difference(float(delta.max()), float(delta.mean()), rms / spread, min(psnr, PSNR_CEILING))


def verify_bundle(
    root: Path,
    module: nn.Module,
    samples: Sequence[Sample],
    *,
    probes: bool = True,
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> ParityReport:
    """Run a bundle through the runtime and compare it with its network.

    Args:
        root: the bundle's folder; its manifest names the precision, the pixel pipeline and the prompt mode.
        module: the network in eval mode with its float32 weights before any rounding.
        samples: pictures to run through the whole pipeline.
        probes: also run the network alone on noise of sizes that no picture here has.
        threads: for the runtime's backend; None leaves the choice to it.
        progress: called with the name of each case before it runs.
    Raises:
        Gen2SegError: the runtime cannot open or run the bundle. A difference is no error: see
            `ParityReport.failures`.
    """
    tell = progress or (lambda _name: None)
    bundle = Bundle.open(root)
    manifest = bundle.manifest
    precision = manifest.precision.weights
    mode = manifest.prompt.mode
    trained = manifest.weights.state == "trained"
    # Reference prompting cuts relative to the closest colour, and on untrained colours every cut is
    # arbitrary: there masks may flip although the colours agree, so they are reported and not judged.
    gate_masks = trained and (mode == "metric" or precision == "float32")

    networks = Networks(module, rounded_module(module) if precision == "float16" else None)
    backend = open_backend(bundle, "onnxruntime", threads)
    segmenter = Segmenter.open(root, backend="onnxruntime", threads=threads)
    cases = []
    for shape in _probe_shapes(manifest.input) if probes else ():
        tell("probe " + "x".join(map(str, shape)))
        cases.append(_probe(backend.run, networks, shape))
    for sample in samples:
        tell(sample.name)
        cases.append(_compare(backend.run, segmenter, networks, sample, manifest.input))
    tolerance = TOLERANCES[precision]
    failures = [failure for case in cases for failure in tolerance.failures(case, gate_masks)]
    return ParityReport(precision, backend.name, mode, gate_masks, tuple(cases), tuple(failures))


Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Networks:
    """The network as it was trained, and with its weights rounded as in the bundle (None where they are not)."""

    exact: nn.Module
    rounded: nn.Module | None

    def compare(self, run: Run, x: Tensor) -> tuple[Difference, Difference | None, Tensor]:
        """Differences of the bundle's raw output from both, and the output of the exact one."""
        got, expected = run(x.numpy()), self.exact(x)
        rounded = difference(got, self.rounded(x).numpy()) if self.rounded is not None else None
        return difference(got, expected.numpy()), rounded, expected


def _probe_shapes(spec: InputSpec) -> tuple[tuple[int, int, int], ...]:
    if spec.resize.rule == "fixed":
        height, width = spec.buckets[0]
        return ((1, height, width), (2, height, width))
    return PROBE_SHAPES


@torch.no_grad()
def _probe(run: Run, networks: Networks, shape: tuple[int, int, int]) -> CaseReport:
    batch, height, width = shape
    noise = np.random.default_rng([batch, height, width]).standard_normal((batch, 3, height, width))
    raw, rounded, _ = networks.compare(run, torch.from_numpy(noise.astype(np.float32)))
    return CaseReport(f"probe-{batch}x{height}x{width}", "probe", shape, raw, rounded)


@torch.no_grad()
def _compare(run: Run, segmenter: Segmenter, networks: Networks, sample: Sample, spec: InputSpec) -> CaseReport:
    x, content = reference_input(sample.image, spec)
    raw, rounded, output = networks.compare(run, x)
    encoding = segmenter.encode(sample.image)
    expected = truncated(output, content)
    if encoding.colors.shape != expected.shape:
        raise ExportError(f"{sample.name}: colours {encoding.colors.shape}, expected {expected.shape}")
    twin = Encoding(
        expected,
        encoding.size,
        bundle_id=encoding.bundle_id,
        bundle_name=encoding.bundle_name,
        prompt=encoding.prompt,
    )
    ious = _mask_ious(encoding, twin)
    return CaseReport(
        name=sample.name,
        kind=sample.kind,
        shape=(1, *x.shape[2:]),
        raw=raw,
        rounded=rounded,
        colors=difference(encoding.colors, expected),
        mask_iou=float(np.mean(ious)),
        mask_iou_lowest=min(ious),
    )


def _mask_ious(got: Encoding, expected: Encoding) -> list[float]:
    height, width = got.size
    steps = (np.arange(CLICKS_PER_SIDE) + 0.5) / CLICKS_PER_SIDE
    clicks = [[(int(x), int(y))] for y in steps * height for x in steps * width]
    ious = []
    for a, b in zip(got.masks(clicks), expected.masks(clicks), strict=True):
        union = np.count_nonzero(a | b)
        ious.append(np.count_nonzero(a & b) / union if union else 1.0)
    return ious


def _rounded(value: Any) -> Any:
    """The same JSON value with floats to six digits; NaN and infinity, which JSON has not, become None."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
