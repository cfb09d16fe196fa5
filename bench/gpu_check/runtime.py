"""`make gpu-check BUNDLE=DIR`: the GPU runtime without PyTorch, against the bundle's goldens and the CPU's masks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.gpu_check.checks import Check
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.gpu.segmenter import DeviceSegmenter
from gen2seg_runtime.verify import _picture

BACKENDS = ("tensorrt_rtx", "tensorrt")
REFERENCE_SHARE = 2e-5  # of the pixels, as for the kernels


def check_bundle(folder: Path, open_segmenter: Callable[..., Any] = DeviceSegmenter.open) -> Iterator[Check]:
    """Of each backend that has engines for all stages: colours of each golden, and clicks in both modes.

    Args:
        folder: a bundle with engines, compiled kernels and goldens.
        open_segmenter: in place of the real one; for tests.
    """
    bundle = Bundle.open(folder)
    for backend in BACKENDS:
        if not all(backend in stage.artifacts for stage in bundle.manifest.chain):
            continue
        with open_segmenter(folder, backend) as segmenter:
            for golden in bundle.manifest.goldens:
                picture, expected = (_picture(bundle, path) for path in (golden.image, golden.colors))
                with segmenter.encode(picture) as encoding:
                    colors = encoding.encoding.colors.astype(int)
                    off = float(np.abs(colors - expected).max()) if colors.shape == expected.shape else float("inf")
                    yield Check(f"{backend}: colours of {golden.image}", off, golden.max_difference)
                    yield from _clicks(f"{backend}: clicks on {golden.image}", encoding)


def _clicks(name: str, encoding: Any) -> Iterator[Check]:
    height, width = encoding.encoding.size
    prompts = [[(0, 0)], [(width // 2, height // 2)], [(width // 3, height // 4), (width - 1, height - 1)]]
    labels = [None, None, [1, 0]]
    for mode, allowed in (("metric", 0.0), ("reference", REFERENCE_SHARE)):
        there = encoding.masks(prompts, labels, mode=mode)
        here = encoding.encoding.masks(prompts, labels, mode=mode)
        yield Check(f"{name}, mode {mode}", float((there != here).mean()), allowed)
