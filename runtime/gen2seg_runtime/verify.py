"""Repeat a bundle's own verification: its goldens through each backend, against the limits it was written with.

No torch: what the network must give, computed by its PyTorch float32 form before any rounding, lies in the bundle.
"""

import io
import math
import tokenize
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gen2seg_runtime.backends import open_backend, usable_backends
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.difference import Difference, difference, stage_difference
from gen2seg_runtime.errors import BackendError, BundleIntegrityError, ImageError, ImageReadError, NetworkOutputError
from gen2seg_runtime.images import load_picture, pixel_limit, read_image
from gen2seg_runtime.manifest import GoldenRecord
from gen2seg_runtime.mask_agreement import mask_ious
from gen2seg_runtime.segmenter import Segmenter

COLOR_PEAK = 255.0


@dataclass(frozen=True)
class GoldenCheck:
    """One golden through one backend.

    Attributes:
        colors: of the uint8 colours; None where the backend gave none.
        stages: of the stages whose output lies in the bundle.
        mask_iou: mean over a grid of clicks, reported and not judged; None where there are no colours.
        failures: what is over a limit, in words; empty where all is well.
    """

    backend: str
    image: str
    colors: Difference | None
    stages: Mapping[str, Difference]
    failures: tuple[str, ...]
    mask_iou: float | None = None


@dataclass(frozen=True)
class Verification:
    """What was run, and whether it holds."""

    checks: tuple[GoldenCheck, ...]
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "checks": [_json(asdict(check)) for check in self.checks],
            "failures": list(self.failures),
        }


def verify_goldens(
    bundle: Bundle,
    backends: Sequence[str] = (),
    threads: int | None = None,
    progress: Callable[[str, str], None] | None = None,
) -> Verification:
    """Run every golden of a bundle through backends and compare with the limits of its manifest.

    Args:
        bundle: opened, so that every digest was compared.
        backends: names, "auto" among them; empty: "auto", and each one that can run the whole bundle here.
        threads: see `gen2seg_runtime.threads.thread_count`.
        progress: called with (backend, picture) before each run.
    Returns:
        All figures. A backend that is unknown, does not open or does not run is a failure here and no exception.
    Raises:
        BackendError: no `backends` were given, and none here can run the bundle.
        BundleError, BundleIOError: a golden cannot be read.
    """
    goldens = bundle.manifest.goldens
    if not goldens:
        return Verification((), ("the bundle holds no goldens: there is nothing to compare with",))
    names = tuple(dict.fromkeys(backends)) if backends else ("auto", *usable_backends(bundle))
    checks: list[GoldenCheck] = []
    failures: list[str] = []
    seen: set[tuple[str, ...]] = set()
    for name in names:
        try:
            backend = open_backend(bundle, name, threads)
        except BackendError as error:
            if not backends and name == "auto":
                raise
            failures.append(f"{name}: {error}")
            continue
        ran_by = tuple(session.backend for _, session in backend.sessions)
        if not backends and ran_by in seen:
            continue  # "auto" is one of the others
        seen.add(ran_by)
        segmenter = Segmenter(bundle, backend)
        for golden in goldens:
            if progress is not None:
                progress(backend.name, golden.image)
            checks.append(_check(bundle, segmenter, golden))
        del segmenter, backend  # two libraries at once would hold the weights twice
    failures += [f"{check.backend}: {failure}" for check in checks for failure in check.failures]
    return Verification(tuple(checks), tuple(failures))


def _check(bundle: Bundle, segmenter: Segmenter, golden: GoldenRecord) -> GoldenCheck:
    trained = bundle.manifest.weights.state == "trained"
    image, expected = (_picture(bundle, path) for path in (golden.image, golden.colors))
    name = segmenter.backend_name
    try:
        stages, encoding = segmenter.encode_with_stages(image)
    except (BackendError, NetworkOutputError) as error:
        return GoldenCheck(name, golden.image, None, {}, (f"{golden.image}: {error}",))
    if encoding.colors.shape != expected.shape:
        found = f"{golden.image}: colours {encoding.colors.shape}, expected {expected.shape}"
        return GoldenCheck(name, golden.image, None, {}, (found,))
    colors = difference(encoding.colors, expected, COLOR_PEAK)
    failures = []
    if not colors.max <= golden.max_difference:
        failures.append(
            f"{golden.image}: colours differ by {colors.max:.0f}, at most {golden.max_difference} is allowed"
        )
    if golden.min_psnr is not None and not colors.psnr >= golden.min_psnr:
        failures.append(f"{golden.image}: colour PSNR {colors.psnr:.1f} dB is below {golden.min_psnr:g}")
    found_stages: dict[str, Difference] = {}
    for stage, path in golden.stages.items():
        if stage not in stages:
            failures.append(f"{golden.image}: no stage {stage!r} in the bundle")
            continue
        wanted = _array(bundle, path)
        if stages[stage].shape != wanted.shape:
            failures.append(f"{golden.image}: stage {stage!r} gave {stages[stage].shape}, expected {wanted.shape}")
            continue
        found_stages[stage] = figures = stage_difference(stages[stage], wanted, trained)
        if golden.max_relative is not None and not figures.relative <= golden.max_relative:
            failures.append(
                f"{golden.image}: stage {stage!r} differs by {figures.relative:.3g} relative, "
                f"at most {golden.max_relative:g} is allowed"
            )
    iou = float(np.mean(mask_ious(encoding, expected)))
    return GoldenCheck(name, golden.image, colors, found_stages, tuple(failures), iou)


def _json(value: Any) -> Any:
    """NaN and infinity, which JSON has not, become None."""
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _picture(bundle: Bundle, path: str) -> np.ndarray:
    content = io.BytesIO(bundle.read(path))
    try:
        return read_image(load_picture(content, path, pixel_limit()))
    except (ImageError, ImageReadError) as error:
        raise BundleIntegrityError(f"{bundle.root / path}: no picture: {error}") from error


def read_float32(data: bytes) -> np.ndarray:
    """The float32 array of a .npy file's content (row by row); the header decides nothing about memory.

    Raises:
        ValueError: anything else.
    """
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        # Not np.load: that opens archives and pickles too.
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, kind = readers[version](file)
    except (KeyError, TypeError, EOFError, OverflowError, SyntaxError, tokenize.TokenError) as error:
        raise ValueError(f"damaged header: {error}") from error
    values = np.frombuffer(data, np.uint8, offset=file.tell())
    if kind != np.float32 or fortran or min(shape, default=1) < 0 or 4 * math.prod(shape) != values.size:
        raise ValueError(f"{values.size} bytes of {kind} for the shape {shape}")
    return values.view(np.float32).reshape(shape) if values.size else np.empty(shape, np.float32)


def _array(bundle: Bundle, path: str) -> np.ndarray:
    try:
        return read_float32(bundle.read(path))
    except ValueError as error:
        raise BundleIntegrityError(f"{bundle.root / path}: no .npy array of float32: {error}") from error
