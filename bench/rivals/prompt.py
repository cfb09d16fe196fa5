"""Point prompts as others compute them: the published way, and as one would write it in PyTorch."""

from functools import cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def prompt_full_image(colors: np.ndarray, x: float, y: float, sigma: float = 0.01, threshold: int = 3) -> np.ndarray:
    """Point prompt with torch maps over the whole image and OpenCV contrib's joint bilateral filter.

    colors (H, W, 3) uint8 -> bool (H, W).
    """
    features = torch.from_numpy(np.ascontiguousarray(colors)).float()
    height, width = colors.shape[:2]
    rows = torch.linspace(0, 1, height).view(-1, 1)
    columns = torch.linspace(0, 1, width).view(1, -1)
    offset = (columns - float(x) / max(1, width - 1)) ** 2 + (rows - float(y) / max(1, height - 1)) ** 2
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


def full_image_each(colors: np.ndarray, points: np.ndarray) -> np.ndarray:
    """One prompt after the other: points (K, 2) -> bool (K, H, W)."""
    return np.stack([prompt_full_image(colors, float(x), float(y)) for x, y in points])


def broadcast(colors: np.ndarray, points: np.ndarray) -> np.ndarray:
    """All prompts at once in PyTorch, the filter as 49 shifted products: points (K, 2) -> bool (K, H, W)."""
    return broadcast_tensors(*_tensors(colors, points)).numpy()


def compiled_broadcast(colors: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The same through torch.compile."""
    return _compiled()(*_tensors(colors, points)).numpy()


def _tensors(colors: np.ndarray, points: np.ndarray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(np.ascontiguousarray(colors)).float(), torch.from_numpy(points).float()


@cache
def _compiled():
    return torch.compile(broadcast_tensors, dynamic=False)


def _similarity(features: Tensor, points: Tensor, sigma: float = 0.01) -> Tensor:
    """features (H, W, 3), points (K, 2) -> (K, H, W), 0..255."""
    height, width = features.shape[:2]
    rows = torch.linspace(0, 1, height).view(1, -1, 1)
    columns = torch.linspace(0, 1, width).view(1, 1, -1)
    x, y = (points / torch.tensor([max(1, width - 1), max(1, height - 1)]))[:, :, None, None].unbind(1)
    weights = torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    weights = ((2 * weights - 1) + 1) / 2
    query = torch.einsum("khw,hwc->kc", weights, features) / (weights.sum((1, 2)) + 1e-6)[:, None]
    similarity = 1 / ((features - query[:, None, None]).norm(dim=3) + 1e-6)
    low, high = similarity.amin((1, 2), keepdim=True), similarity.amax((1, 2), keepdim=True)
    return (similarity - low) / (high - low + 1e-6) * 255


def broadcast_tensors(features: Tensor, points: Tensor, threshold: int = 3) -> Tensor:
    """`broadcast` of tensors on one device: features (H, W, 3) and points (K, 2) float -> bool (K, H, W)."""
    height, width = features.shape[:2]
    grey = _similarity(features, points).floor()
    guide = F.pad(features.permute(2, 0, 1)[None], (4, 4, 4, 4), mode="reflect")[0]
    values = F.pad(grey[None], (4, 4, 4, 4), mode="reflect")[0]
    total, weight_sum = torch.zeros_like(grey), torch.zeros(height, width)
    for dy in range(-4, 5):
        for dx in range(-4, 5):
            if dy * dy + dx * dx > 16:
                continue
            rows, columns = slice(4 + dy, 4 + dy + height), slice(4 + dx, 4 + dx + width)
            l1 = (guide[:, rows, columns] - features.permute(2, 0, 1)).abs().sum(0)
            weight = torch.exp((l1 * l1 + (dy * dy + dx * dx)) * (-0.5 / 75**2))
            total += weight * values[:, rows, columns]
            weight_sum += weight
    return (total / weight_sum).round() > threshold
