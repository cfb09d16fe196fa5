"""What the network paints while it is trained, as sheets to look at."""

from pathlib import Path

import numpy as np
import torch

from gen2seg.contact_sheet import fit_tile, make_sheet
from gen2seg.data.mixture import Batch
from gen2seg_runtime.files import atomic_write

from .network import Network
from .state import TrainState

MOST = 4  # pictures on a sheet


@torch.no_grad()
def save_samples(run: Path, state: TrainState, network: Network, batch: Batch, normalize: bool = True) -> Path:
    """Write `run/samples/step-N.png`: pictures, their instances, and what the network paints now."""
    module = state.result
    was_training = module.training
    module.eval()
    device = next(module.parameters()).device
    images = batch.images[:MOST]
    colors = network.colors(module(network.prepare(images.to(device))), normalize).clamp(0, 255).to(torch.uint8).cpu()
    module.train(was_training)
    lines = []
    for image, labels, painted in zip(images, batch.labels, colors, strict=False):
        pictures = (image.permute(1, 2, 0).numpy(), _label_colors(labels.numpy()), painted.permute(1, 2, 0).numpy())
        lines.append([fit_tile(np.ascontiguousarray(picture)) for picture in pictures])
    sheet = make_sheet(["picture", "instances", f"step {state.step}"], [""] * len(lines), lines)
    path = run / "samples" / f"step-{state.step:08d}.png"
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as file:
        sheet.save(file, "PNG")
    return path


def _label_colors(labels: np.ndarray) -> np.ndarray:
    table = np.random.default_rng(0).integers(60, 256, (int(labels.max()) + 1, 3)).astype(np.uint8)
    table[0] = 0
    return table[labels]
