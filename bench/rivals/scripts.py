"""A bundle's network the way the reference scripts run theirs: eager PyTorch, one picture, then whole-image maps."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gen2seg_export.reference import reference_colors, reference_input
from gen2seg_runtime.manifest import Manifest

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "tiny"


class TorchScripts:
    """The network in eager float32; clicks are `bench.rivals.prompt.prompt_full_image` on what `encode` gives."""

    def __init__(self, manifest: Manifest, threads: int) -> None:
        torch.set_num_threads(threads)
        self.net, self.manifest = _network(manifest), manifest

    def encode(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> colours (H, W, 3) uint8 at the size of the picture (Lanczos)."""
        x, content = reference_input(rgb, self.manifest.input)
        with torch.inference_mode():
            colors = reference_colors(self.net(x), content, self.manifest.output)
        height, width = rgb.shape[:2]
        if colors.shape[:2] == (height, width):
            return colors
        return np.asarray(Image.fromarray(colors).resize((width, height), Image.Resampling.LANCZOS))


def _network(manifest: Manifest) -> Any:
    """The same weights as the bundle's: the repository's own, or the library's module with the seeded random ones."""
    if manifest.backbone == "tiny":
        from gen2seg_export.source import load_source

        return load_source("tiny", CHECKPOINT).module.eval()
    from bench.rivals.export import library_net

    return library_net(manifest.backbone, None, None)
