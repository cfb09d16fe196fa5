"""The instance colouring loss written out from its formula: NumPy, float64, one loop over instances.

Source: Khangaonkar and Pirsiavash, gen2seg, arXiv 2505.15263. This is the definition that the fast
versions are measured against; it is not meant for training.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gen2seg_kernels.loss.config import LossConfig

Float = NDArray[np.float64]


def instance_coloring_reference(
    pred: ArrayLike,
    labels: ArrayLike,
    ignore_background: ArrayLike | None = None,
    valid: ArrayLike | None = None,
    config: LossConfig | None = None,
) -> tuple[float, Float]:
    """The loss and its gradient with respect to `pred`.

    Args:
        pred: (B, 3, H, W) real, colours in 0..255.
        labels: (B, H, W) integer, 0 = background.
        ignore_background: (B,) bool; None ignores none.
        valid: (B, H, W) bool; None takes all pixels.
        config: the weights; None takes the defaults.

    Returns:
        The mean over the images, and (B, 3, H, W) float64.

    Raises:
        ValueError: a valid label is negative.
    """
    colors, ids = np.asarray(pred, np.float64), np.asarray(labels)
    batch = len(colors)
    ignored = np.zeros(batch, bool) if ignore_background is None else np.asarray(ignore_background)
    take = np.ones(ids.shape, bool) if valid is None else np.asarray(valid)
    if (ids[take] < 0).any():
        raise ValueError(f"labels must be >= 0 where valid, got {ids[take].min()}")
    losses = np.zeros(batch)
    grad = np.zeros(colors.shape)
    for b in range(batch):
        terms, image_grad = image_terms(
            colors[b][:, take[b]].T, ids[b][take[b]], bool(ignored[b]), config or LossConfig()
        )
        losses[b] = terms.sum()
        grad[b][:, take[b]] = image_grad.T / batch
    return float(losses.mean()), grad


def image_terms(pixels: Float, ids: NDArray[np.integer], ignored: bool, config: LossConfig) -> tuple[Float, Float]:
    """One image's valid pixels (P, 3) -> intra, inter, mean-level term (3,) and the gradient of their sum."""
    members = {int(k): ids == k for k in np.unique(ids)}
    counted = [k for k in members if not (k == 0 and ignored)]
    means = np.array([pixels[members[k]].mean(0) if k else np.zeros(3) for k in counted]).reshape(-1, 3)
    mean_grad = np.zeros_like(means)
    terms = np.zeros(3)
    grad = np.zeros_like(pixels)

    for n, k in enumerate(counted):  # intra: each pixel toward its instance's mean
        inside = members[k]
        difference = pixels[inside] - means[n]
        size = np.abs(difference)
        delta = config.huber_delta
        huber = np.where(size <= delta, 0.5 * difference**2, delta * (size - 0.5 * delta))
        slope = np.clip(difference, -delta, delta) * config.intra_weight / difference.size
        terms[0] += config.intra_weight * huber.mean()
        grad[inside] += slope
        mean_grad[n] -= slope.sum(0)

    for n, k in enumerate(counted):  # inter: all other pixels away from the instance's mean
        outside = ~members[k]
        if k == 0 or not outside.any():
            continue
        weight = config.inter_weight / np.sqrt(members[k].sum())
        difference = pixels[outside] - means[n]
        closeness = 1.0 / (1.0 + (difference**2).sum(1))
        push = -2.0 * difference * (closeness**2)[:, None] * weight * config.separation / outside.sum()
        terms[1] += weight * config.separation * closeness.mean()
        grad[outside] += push
        mean_grad[n] -= push.sum(0)

    pairs = max(len(counted) * (len(counted) - 1) // 2, 1)
    for n in range(len(counted)):  # mean level: the means away from each other
        difference = means[n] - means[n + 1 :]
        closeness = 1.0 / (1.0 + (difference**2).sum(1))
        scale = config.mean_weight * config.mean_separation / pairs
        push = -2.0 * difference * (closeness**2)[:, None] * scale
        terms[2] += scale * closeness.sum()
        mean_grad[n] += push.sum(0)
        mean_grad[n + 1 :] -= push

    for n, k in enumerate(counted):  # a mean moves with each of its pixels; the background's is fixed
        if k:
            grad[members[k]] += mean_grad[n] / members[k].sum()
    share = max(len(counted), 1)
    return terms / share, grad / share
