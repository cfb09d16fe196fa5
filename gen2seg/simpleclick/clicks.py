"""A training step: an instance of each picture, simulated clicks on it, normalised focal loss."""

from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gen2seg.data.mixture import Batch

from .model import draw_clicks

MOST_ROUNDS = 3  # clicks after the first, each where the prediction before errs most


def click_loss(
    model: nn.Module, images: Tensor, batch: Batch, generator: torch.Generator
) -> tuple[Tensor, dict[str, Any]]:
    """Loss of one micro-batch, and its terms by name.

    As in RITM (Sofiiuk et al. 2022, arXiv 2102.06583), which SimpleClick follows: a random number of clicks is
    simulated by the network itself without gradient, then one forward pass is trained.

    Args:
        model: SimpleClick, perhaps wrapped.
        images: (B, 3, H, W) float32, normalised.
        batch: its labels name the instances; a picture without any takes no part.
        generator: draws instances and numbers of clicks.
    """
    targets = _choose(batch.labels, generator)
    valid = torch.ones_like(targets) if batch.valid is None else batch.valid
    valid = valid & targets.flatten(1).any(1)[:, None, None]
    truth, known = targets.cpu().numpy(), valid.cpu().numpy()
    size = (images.shape[2], images.shape[3])
    points: list[list[tuple[float, float]]] = [[] for _ in truth]
    signs: list[list[int]] = [[] for _ in truth]
    before = torch.zeros_like(images[:, :1])
    clicks = images.new_zeros(len(truth), 3, *size)
    rounds = int(torch.randint(MOST_ROUNDS + 1, (), generator=generator))
    for number in range(rounds + 1):
        found = before[:, 0].cpu().numpy() > 0.5
        for index in range(len(truth)):
            place = _next_click(found[index], truth[index], known[index])
            if place is not None:
                points[index].append(place[0])
                signs[index].append(place[1])
        discs = torch.stack([draw_clicks(p, s, size) for p, s in zip(points, signs, strict=True)])
        clicks = torch.cat([discs.to(images.device), before], dim=1)
        if number < rounds:
            with torch.no_grad():
                before = torch.sigmoid(model(images, clicks).float())
    logits = model(images, clicks).float()[:, 0]
    loss = normalized_focal_loss(logits, targets, valid)
    return loss, {"focal": loss.detach()}


def normalized_focal_loss(logits: Tensor, targets: Tensor, valid: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss divided by the sum of its own weights (1 - p)^gamma, picture by picture (Sofiiuk et al. 2019).

    Args:
        logits: (B, H, W) float32.
        targets, valid: (B, H, W) bool.
    """
    losses = F.binary_cross_entropy_with_logits(logits, targets.float(), reduction="none")
    weights = (1 - torch.exp(-losses.detach())) ** gamma * valid
    return ((weights * losses).sum((1, 2)) / (weights.sum((1, 2)) + 1e-6)).mean()


def _choose(labels: Tensor, generator: torch.Generator) -> Tensor:
    """bool (B, H, W): one instance of each picture at random."""
    chosen = []
    for picture in labels:
        ids = picture.unique()
        ids = ids[ids > 0]
        pick = int(torch.randint(max(1, len(ids)), (), generator=generator))
        chosen.append(picture == ids[pick] if len(ids) else torch.zeros_like(picture, dtype=torch.bool))
    return torch.stack(chosen)


def _next_click(found: np.ndarray, truth: np.ndarray, known: np.ndarray) -> tuple[tuple[int, int], int] | None:
    """The centre of the widest error and its sign (1: missed, 0: too much); None where nothing is wrong."""
    places = []
    for wrong, sign in ((truth & ~found & known, 1), (found & ~truth & known, 0)):
        depth = cv2.distanceTransform(np.pad(wrong.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        places.append((float(depth[y, x]), (int(x), int(y)), sign))
    depth, place, sign = max(places, key=lambda each: each[0])
    return (place, sign) if depth > 0 else None
