"""The algorithms to beat, written as the published method runs them: whole-image maps, loops over instances."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F


def prompt_full_image(colors: np.ndarray, x: float, y: float, sigma: float = 0.01, threshold: int = 3) -> np.ndarray:
    """Point prompt with torch maps over the whole image and OpenCV contrib's joint bilateral filter.

    colors (H, W, 3) uint8 -> bool (H, W).
    """
    height, width = colors.shape[:2]
    features = torch.from_numpy(np.ascontiguousarray(colors)).float()
    rows = torch.linspace(0, 1, height).view(-1, 1)
    columns = torch.linspace(0, 1, width).view(1, -1)
    offset = (columns - x / max(1, width - 1)) ** 2 + (rows - y / max(1, height - 1)) ** 2
    weights = torch.exp(-offset / (2 * sigma**2))
    weights = ((2 * weights - 1) + 1) / 2
    query = (weights[..., None] * features).sum((0, 1)) / (weights.sum() + 1e-6)
    similarity = 1 / ((features - query).norm(dim=2) + 1e-6)
    low, high = similarity.min(), similarity.max()
    grey = ((similarity - low) / (high - low + 1e-6) * 255).to(torch.uint8).numpy()
    # Only the contrib build has it, and its type stubs know it no better.
    smooth = cv2.ximgproc.jointBilateralFilter(  # pyright: ignore[reportAttributeAccessIssue]
        np.ascontiguousarray(colors), grey, 9, 75, 75
    )
    return smooth > threshold


def coloring_loss_loop(colors: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The instance colouring loss as a loop over instances with boolean masks; colors (3, H, W), labels (H, W)."""
    ids = [int(i) for i in torch.unique(labels)]
    intra, inter, means = colors.new_zeros(()), colors.new_zeros(()), []
    for instance in ids:
        mask = labels == instance
        inside = colors[:, mask]
        mean = inside.mean(dim=1) if instance else torch.zeros(3)
        means.append(mean)
        intra = intra + F.huber_loss(inside, mean[:, None].expand_as(inside), delta=1.0)
        if instance and not mask.all():
            squared = (colors[:, ~mask] - mean[:, None]).square().sum(dim=0)
            inter = inter + 10 / mask.sum().sqrt() * (300 / (1 + squared)).mean()
    pairs = [
        300 / (1 + (means[i] - means[j]).square().sum()) for i in range(len(means)) for j in range(i + 1, len(means))
    ]
    between = torch.stack(pairs).mean() if pairs else colors.new_zeros(())
    return (intra + inter + between) / len(ids)
