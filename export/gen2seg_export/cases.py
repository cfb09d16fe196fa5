"""What an export is judged on: pictures and probes, as the network takes them, and what PyTorch makes of them."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gen2seg_export.errors import ExportError
from gen2seg_export.model import Cost
from gen2seg_export.reference import reference_colors, reference_input
from gen2seg_export.samples import (
    Sample,
    bucket_scene,
    calibration_scenes,
    golden_scenes,
    real_samples,
    verification_scenes,
)
from gen2seg_runtime.files import atomic_write
from gen2seg_runtime.manifest import InputSpec, OutputSpec

# Sizes that no tracer saw, beside those of the pictures: one stride, a batch, very elongated (in strides).
PROBE_SHAPES = ((1, 1, 1), (2, 2, 3), (1, 3, 64), (1, 12, 1))

# Operations that all references together may take; a picture of Stable Diffusion 2 takes 5e12, in half a minute.
REFERENCE_BUDGET = 10e12
MOST_GENERATED = 5
MOST_REAL = 12
# Pictures to measure a plan's ranges on; and to quantize on, where a ViT-B gained 4 to 15 dB from 12 in place of 3.
RANGE_PICTURES = 2
INT8_PICTURES = 10
INT8_FEWEST = 4


@dataclass(frozen=True)
class Case:
    """One input of the network.

    Attributes:
        name, kind: "probe" (noise), or of the picture: "golden", "generated", "real" or "calibration".
        x: float32 (N, 3, H, W).
        content: (height, width) of the picture in it; for a probe all of it.
        image: uint8 [H, W, 3]; None for a probe.
    """

    name: str
    kind: str
    x: np.ndarray
    content: tuple[int, int]
    image: np.ndarray | None = None


def plan_cases(spec: InputSpec, cost: Cost | None, images: Path | None, max_images: int | None) -> list[Case]:
    """The cases that judge a bundle: few for a network that takes long, but every size in any case.

    Args:
        spec: the manifest's input.
        cost: of one picture; None counts as cheap.
        images: a folder of real pictures, or None.
        max_images: how many pictures, generated and real ones, may be run at most; None: as the cost suggests.
            One more is run for each bucket that none of them falls into.
    Raises:
        ExportError, ImageReadError: see `real_samples`.
    """
    affordable = MOST_GENERATED + MOST_REAL + 2
    if cost is not None and cost.flops > 0:
        affordable = min(affordable, max(2, int(REFERENCE_BUDGET / cost.flops)))
    count = affordable if max_images is None else max_images
    goldens = golden_scenes()[: max(1, min(2, count - 1))]
    left = max(0, count - len(goldens))
    real = [] if images is None else real_samples(images, min(MOST_REAL, left)) if left else []
    scenes = verification_scenes()[: max(0, min(MOST_GENERATED, left - len(real)))]
    cases = _probes(spec)
    cases += [picture_case(sample, "golden", spec) for sample in goldens]
    cases += [picture_case(sample, sample.kind, spec) for sample in (*scenes, *real)]
    seen = {case.x.shape[2:] for case in cases}
    unseen = [bucket_scene(*bucket) for bucket in spec.buckets if bucket not in seen]
    return [*cases, *(picture_case(sample, sample.kind, spec) for sample in unseen)]


def calibration_cases(spec: InputSpec, cost: Cost | None, precision: str) -> list[Case]:
    """Pictures to calibrate on, none of those that judge: more for int8, as the network's cost allows."""
    count = RANGE_PICTURES
    if precision == "int8":
        affordable = INT8_PICTURES if cost is None or cost.flops <= 0 else int(REFERENCE_BUDGET / cost.flops)
        count = max(INT8_FEWEST, min(INT8_PICTURES, affordable))
    return [picture_case(sample, "calibration", spec) for sample in calibration_scenes()[:count]]


def picture_case(sample: Sample, kind: str, spec: InputSpec) -> Case:
    """A picture as the network takes it."""
    x, content = reference_input(sample.image, spec)
    return Case(sample.name, kind, x.numpy(), content, sample.image)


def _probes(spec: InputSpec) -> list[Case]:
    if not spec.dynamic or spec.buckets:
        return []  # `plan_cases` has a picture for every size that the network is run at
    cases = []
    for batch, rows, columns in PROBE_SHAPES:
        height, width = rows * spec.pad.multiple, columns * spec.pad.multiple
        noise = np.random.default_rng([batch, height, width]).standard_normal((batch, 3, height, width))
        name = f"probe-{batch}x{height}x{width}"
        cases.append(Case(name, "probe", noise.astype(np.float32), (height, width)))
    return cases


class References:
    """What the PyTorch network gives for the cases, stage by stage, kept on disk.

    Args:
        folder: where; made if missing.
        key: names the weights and the network.
        output: the manifest's, for the colours.
    """

    def __init__(self, folder: Path, key: str, output: OutputSpec):
        self._folder = folder
        self._key = key
        self._output = output

    def compute(
        self,
        cases: Sequence[Case],
        reference: Callable[[Tensor], Mapping[str, Tensor]],
        progress: Callable[[str], None] | None = None,
    ) -> None:
        """Run the reference on every case that no run has seen yet.

        Raises:
            ExportError: it gives NaN or infinity.
        """
        self._folder.mkdir(exist_ok=True)
        for case in cases:
            path = self._path(case)
            if path.is_file():
                continue
            if progress is not None:
                progress(case.name)
            with torch.no_grad():
                outputs = {name: value.numpy() for name, value in reference(torch.from_numpy(case.x)).items()}
            for name, value in outputs.items():
                if not np.isfinite(value).all():
                    raise ExportError(f"the PyTorch network gives NaN or infinity for {case.name} in stage {name!r}")
            arrays: dict[str, Any] = dict(outputs)
            with atomic_write(path) as file:
                np.savez(file, **arrays)

    def stages(self, case: Case) -> dict[str, np.ndarray]:
        """Name of the stage -> float32 (N, C, H, W)."""
        with np.load(self._path(case), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}

    def raw(self, case: Case) -> np.ndarray:
        """What the last stage gives."""
        return list(self.stages(case).values())[-1]

    def colors(self, case: Case) -> np.ndarray:
        """uint8 [h, w, 3] of a picture."""
        return self.paint(case, self.raw(case))

    def paint(self, case: Case, raw: np.ndarray) -> np.ndarray:
        """uint8 [h, w, 3]: what plain code makes of a raw output float32 (1, 3, H, W) for the picture."""
        return reference_colors(torch.from_numpy(raw), case.content, self._output)

    def inputs(self, cases: Sequence[Case], stage: str, names: Sequence[str]) -> list[np.ndarray]:
        """What a stage takes for each case: the picture, or what the stage before it (in `names`) gives."""
        index = list(names).index(stage)
        if index == 0:
            return [case.x for case in cases]
        return [self.stages(case)[names[index - 1]] for case in cases]

    def _path(self, case: Case) -> Path:
        return self._folder / f"{self.digest(case)[:32]}.npz"

    def digest(self, case: Case) -> str:
        """SHA-256 that names a case together with the network that it is for."""
        digest = hashlib.sha256(f"{self._key} {case.x.shape}".encode())
        digest.update(np.ascontiguousarray(case.x).data)
        return digest.hexdigest()


def picture_folder(images: str | os.PathLike[str] | None, variable: str = "GEN2SEG_DATA") -> Path | None:
    """The folder asked for (it must exist), else the data folder where there is one."""
    if images is not None:
        return Path(images)
    data = os.environ.get(variable)
    return Path(data) if data and Path(data).is_dir() else None
