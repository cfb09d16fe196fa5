"""The gate: the bundle, run by the runtime that users run, against the PyTorch network in float32.

Compared per picture: what every stage gives, the uint8 colours that the whole runtime makes of the picture, and
the masks of a grid of clicks on both colour images. Apart from that: the prompt kernel against its plain form on
the very same colours.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gen2seg_export.cases import Case, References
from gen2seg_export.errors import ExportError
from gen2seg_export.tolerances import carried, loosest, stage_tolerance_name
from gen2seg_runtime.backends import open_backend
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.difference import Difference, difference, stage_difference
from gen2seg_runtime.encoding import Encoding
from gen2seg_runtime.errors import NetworkOutputError
from gen2seg_runtime.mask_agreement import click_grid, mask_ious
from gen2seg_runtime.segmenter import Segmenter

COLOR_PEAK = 255.0
PAINTING = 1  # colour units: a value beside a whole number may be truncated to either side
KERNEL_PIXELS = 2e-5  # share of pixels in which the two forms of the prompt kernel may differ


@dataclass(frozen=True)
class CaseReport:
    """One picture, or one probe of the network alone (then `colors` and the masks are None)."""

    name: str
    kind: str
    shape: tuple[int, ...]  # (N, H, W) of the network's input
    stages: Mapping[str, Difference]
    colors: Difference | None = None
    mask_iou: float | None = None
    mask_iou_lowest: float | None = None
    painting: int | None = None  # largest difference of the colours to those that plain code makes of the same output


@dataclass(frozen=True)
class ParityReport:
    """What one backend was compared on, with which tolerances, and what failed. `to_json` is free of machine paths.

    Attributes:
        backend: its name; those of a mixed chain joined by "+".
        tolerances: stage -> row of `TOLERANCES`, `carried` over the stages up to it; the colours have that of the
            last stage.
        masks_gated: whether mask IoU is judged or only reported.
        kernel_pixels: largest share of pixels in which the prompt kernel differs from its plain form.
    """

    backend: str
    tolerances: Mapping[str, str]
    prompt_mode: str
    masks_gated: bool
    cases: tuple[CaseReport, ...]
    failures: tuple[str, ...]
    kernel_pixels: float | None = None

    @property
    def passed(self) -> bool:
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        return _rounded(
            {
                "passed": self.passed,
                "reference": "PyTorch float32, weights before rounding",
                "backend": self.backend,
                "tolerance": {name: asdict(limits) for name, limits in carried(self.tolerances).items()},
                "prompt_mode": self.prompt_mode,
                "masks_gated": self.masks_gated,
                "kernel_pixels": self.kernel_pixels,
                "summary": self.summary(),
                "failures": list(self.failures),
                "cases": [asdict(case) for case in self.cases],
            }
        )

    def summary(self) -> dict[str, Any]:
        """The worst figures over all cases, and how many pictures of each kind stand behind them."""
        colors = [case.colors for case in self.cases if case.colors is not None]
        ious = [case.mask_iou for case in self.cases if case.mask_iou is not None]
        lowest = [case.mask_iou_lowest for case in self.cases if case.mask_iou_lowest is not None]
        counts = {kind: sum(case.kind == kind for case in self.cases) for kind in _KINDS}
        stages = {name: _worst([case.stages[name] for case in self.cases]) for name in self.tolerances}
        return _rounded(
            {
                **counts,
                "stages": {name: asdict(worst) for name, worst in stages.items() if worst is not None},
                "colors": asdict(worst) if (worst := _worst(colors)) is not None else None,
                "mask_iou": float(np.mean(ious)) if ious else None,
                "mask_iou_lowest": min(lowest, default=None),
            }
        )


_KINDS = ("probe", "golden", "generated", "real")


def _worst(found: Sequence[Difference]) -> Difference | None:
    if not found:
        return None
    return Difference(
        max=max(d.max for d in found),
        mean=max(d.mean for d in found),
        relative=max(d.relative for d in found),
        psnr=min(d.psnr for d in found),
    )


@dataclass
class Gate:
    """The limits of one opened bundle, and what was found to be over them."""

    tolerances: Mapping[str, str]
    gate_masks: bool
    trained: bool = True
    failures: list[str] = field(default_factory=list)

    def judge(self, case: CaseReport, spans: Mapping[str, float]) -> None:
        """Note every figure of a case that is out of tolerance; `spans`: the range of each stage's reference."""
        limits = carried(self.tolerances)
        for name, found in case.stages.items():
            self.failures += limits[name].stage_failures(f"{case.name}, stage {name}", found, spans[name])
        last = limits[list(limits)[-1]]
        if case.colors is not None and self.trained:
            self.failures += last.color_failures(case.name, case.colors)
        elif case.colors is not None:
            self.failures += last.untrained_failures(case.name, list(case.stages.values())[-1])
        if case.painting is not None and case.painting > PAINTING:
            self.failures.append(f"{case.name} colours: {case.painting} from those of the bundle's own raw output")
        if self.gate_masks and case.mask_iou is not None and not case.mask_iou >= last.mask_iou:
            self.failures.append(f"{case.name}: mean mask IoU {case.mask_iou:.4g} is below {last.mask_iou:g}")


def verify_bundle(
    root: Path,
    cases: Sequence[Case],
    references: References,
    *,
    backend: str = "auto",
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> ParityReport:
    """Run a bundle through the runtime and compare it with its network.

    Args:
        root: the bundle's folder; its manifest names the precisions, the pixel pipeline and the prompt mode.
        cases: the inputs.
        references: what the network gives for them.
        backend: as for `Segmenter.open`.
        threads: for the runtime's backend; None leaves the choice to it.
        progress: called with the name of each case before it runs.
    Raises:
        Gen2SegError: the runtime cannot open the bundle. A difference, NaN and infinity are no errors: see
            `ParityReport.failures`.
    """
    bundle = Bundle.open(root)
    chain = open_backend(bundle, backend, threads)
    segmenter = Segmenter(bundle, chain)
    manifest = bundle.manifest
    mode = manifest.prompt.mode
    ran_by = {name: session.backend for name, session in chain.sessions}
    rows = [stage_tolerance_name(stage, ran_by[stage.name]) for stage in manifest.chain]
    # Errors are carried on: a stage cannot be closer than what it was given.
    tolerances = {stage.name: loosest(rows[: i + 1]) for i, stage in enumerate(manifest.chain)}
    # Reference prompting cuts relative to the closest colour, and on untrained colours every cut is
    # arbitrary: there masks may flip although the colours agree, so they are reported and not judged.
    trained = manifest.weights.state == "trained"
    gate_masks = trained and (mode == "metric" or rows == ["float32"] * len(rows))
    gate = Gate(tolerances, gate_masks, trained)
    reports = []
    kernel_pixels = None
    for case in cases:
        if progress is not None:
            progress(case.name)
        expected = references.stages(case)
        try:
            report, encoding = _compare(segmenter, chain.run_stages, case, expected, references, trained)
        except NetworkOutputError as error:
            gate.failures.append(f"{case.name}: {error}")
            continue
        reports.append(report)
        gate.judge(report, {name: float(np.ptp(value)) for name, value in expected.items()})
        if encoding is not None and kernel_pixels is None:
            kernel_pixels = _kernel_difference(encoding)
    if kernel_pixels is not None and not kernel_pixels <= KERNEL_PIXELS:
        gate.failures.append(f"the prompt kernel differs from its plain form in {kernel_pixels:.2g} of the pixels")
    return ParityReport(
        chain.name, tolerances, mode, gate.gate_masks, tuple(reports), tuple(gate.failures), kernel_pixels
    )


def _compare(
    segmenter: Segmenter,
    run_stages: Callable[[np.ndarray], dict[str, np.ndarray]],
    case: Case,
    expected: Mapping[str, np.ndarray],
    references: References,
    trained: bool,
) -> tuple[CaseReport, Encoding | None]:
    shape = (case.x.shape[0], *case.x.shape[2:])
    if case.image is None:
        stages = _stage_differences(run_stages(case.x), expected, case, trained)
        return CaseReport(case.name, case.kind, shape, stages), None
    got, encoding = segmenter.encode_with_stages(case.image)
    stages = _stage_differences(got, expected, case, trained)
    colors = references.colors(case)
    if encoding.colors.shape != colors.shape:
        raise ExportError(f"{case.name}: colours {encoding.colors.shape}, expected {colors.shape}")
    ious = mask_ious(encoding, colors)
    # Under one colour unit of spread the picture is flat, and relative figures would mean nothing.
    found = difference(encoding.colors, colors, COLOR_PEAK, least_spread=1.0)
    plain = references.paint(case, list(got.values())[-1])
    painting = int(np.abs(encoding.colors.astype(np.int16) - plain).max())
    iou = float(np.mean(ious))
    return CaseReport(case.name, case.kind, shape, stages, found, iou, min(ious), painting), encoding


def _stage_differences(
    got: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], case: Case, trained: bool
) -> dict[str, Difference]:
    if list(got) != list(expected):
        raise ExportError(f"the bundle has stages {list(got)}, its reference {list(expected)}")
    for name, value in got.items():
        if value.shape != expected[name].shape:
            raise ExportError(f"{case.name}: stage {name!r} gives {value.shape}, expected {expected[name].shape}")
    return {name: stage_difference(value, expected[name], trained) for name, value in got.items()}


def _kernel_difference(encoding: Encoding) -> float:
    """Largest share of pixels in which the fast and the plain reference prompt differ on one picture's colours."""
    from gen2seg_kernels import prompt_masks
    from gen2seg_kernels.prompt.reference import prompt_mask_reference

    colors = encoding.colors
    clicks = click_grid((colors.shape[0], colors.shape[1]), 2)
    shares = []
    for click, mask in zip(clicks, prompt_masks(colors, clicks, mode="reference"), strict=True):
        plain = prompt_mask_reference(colors, np.asarray(click, np.float64))
        shares.append(float(np.mean(mask != plain)))
    return max(shares)


def _rounded(value: Any) -> Any:
    """The same JSON value with floats to six digits; NaN and infinity, which JSON has not, become None."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
