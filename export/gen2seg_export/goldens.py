"""Small pictures with the colours that the bundle must give for them, stored inside the bundle."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from gen2seg_export.reference import reference_colors
from gen2seg_export.samples import Sample
from gen2seg_runtime.manifest import GoldenRecord, InputSpec
from gen2seg_runtime.segmenter import Segmenter

# Another CPU sums in another order, which can move a truncated value by one; one more for safety.
MARGIN = 2


def write_goldens(root: Path, module: nn.Module, samples: Sequence[Sample], spec: InputSpec) -> list[GoldenRecord]:
    """Write each sample and its colours by the PyTorch network, as PNG, under `root`/goldens.

    The colours are those before any rounding of the weights: whoever checks a bundle against them, without
    torch, repeats the parity check and not only the machine's own past.
    """
    (root / "goldens").mkdir()
    goldens = []
    for sample in samples:
        golden = GoldenRecord(
            image=f"goldens/{sample.name}.png",
            colors=f"goldens/{sample.name}.colors.png",
            max_difference=MARGIN,
        )
        Image.fromarray(sample.image).save(root / golden.image, optimize=True)
        Image.fromarray(reference_colors(module, sample.image, spec)).save(root / golden.colors, optimize=True)
        goldens.append(golden)
    return goldens


def measured_goldens(root: Path, goldens: Sequence[GoldenRecord], threads: int | None = None) -> list[GoldenRecord]:
    """The goldens, each limited to the difference that this bundle shows here plus the margin."""
    segmenter = Segmenter.open(root, backend="onnxruntime", threads=threads)
    measured = []
    for golden in goldens:
        got = segmenter.encode(root / golden.image).colors.astype(int)
        with Image.open(root / golden.colors) as picture:
            expected = np.asarray(picture).astype(int)
        limit = min(int(np.abs(got - expected).max()) + MARGIN, 255)
        measured.append(replace(golden, max_difference=limit))
    return measured
