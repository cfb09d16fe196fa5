"""What a network is trained for: contrastive warm-up, the paper's loss, or repainting (pretraining)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gen2seg.config import ObjectiveConfig
from gen2seg.data.mixture import Batch
from gen2seg_kernels.loss.autograd import instance_coloring_terms

MARGIN = 80.0  # colour units: pixels of different instances this far apart are not pushed any more
MEAN_MARGIN = 48.0  # the same between means, anywhere in the picture
SCALE = 32.0  # colour units: where the pull to the instance's mean turns from quadratic to linear
PAIR_RADII = 6  # distances at which pixel pairs are drawn


def contrastive_loss(
    colors: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    valid: Tensor | None = None,
    ignore_background: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Teach a fresh network to paint: like colours inside an instance, unlike ones across borders.

    The instance colouring loss is a finetuning loss: its gradient all but vanishes where colours are far
    apart, and it collapses on a network that cannot paint yet. Hinges keep pulling instead:

        push = (1 - d/80)+² on pixel pairs of different labels, pull = min(d/80, 3) on equal ones, at
        random distances from 1.5 pixels to half the picture; smooth L1 to the instance's mean
        (background: black); (1 - d/48)+² between all means of a picture.

    Small instances weigh more: pairs by 1/sqrt(area), the pull to the mean by sqrt(area). Each call looks
    at every second row and column of either side of a pair, at random phases: a quarter of the work.

    Args:
        colors: (B, 3, H, W) float32 in [0, 255]; H and W even.
        labels: (B, H, W) int, 0 = background, ids up to a few hundred (they size tables).
        generator: draws the pairs.
        valid: (B, H, W) bool; pixels that are False take part in nothing. None: all are valid.
        ignore_background: (B,) bool; where True the background is unlabelled: it is pushed away from the
            instances, but pulled to nothing. None: nowhere.
    Returns:
        the loss, and its detached terms by name.
    """
    batch, _, height, width = colors.shape
    per_image = int(labels.max()) + 2  # the last entry of each picture holds what is not valid
    ids = labels.long() if valid is None else torch.where(valid, labels.long(), per_image - 1)
    index = ids + torch.arange(batch, device=labels.device).view(batch, 1, 1) * per_image
    area = torch.bincount(index.flatten(), minlength=batch * per_image).float()
    counts = area.new_ones(batch, per_image)
    counts[:, -1] = 0
    pulled = counts.clone()
    if ignore_background is not None:
        pulled[ignore_background, 0] = 0
    counts, pulled = counts.flatten(), pulled.flatten()
    color_phases = _phases(colors)
    index_phases = [phase[:, 0] for phase in _phases(index[:, None])]

    phase = _draw(4, generator)
    compact, means = _pull_to_means(color_phases[phase], index_phases[phase], pulled, per_image)

    pair_weight = torch.rsqrt(area.clamp(min=1))
    push, pull = colors.new_zeros(()), colors.new_zeros(())
    longest = min(height, width) / 2
    for band in range(PAIR_RADII):
        (p, a), (q, b) = _pair_windows(height, width, _radius(band, longest, generator), generator)
        ids_a, ids_b = index_phases[p][:, a[0], a[1]], index_phases[q][:, b[0], b[1]]
        squared = (color_phases[p][:, :, a[0], a[1]] - color_phases[q][:, :, b[0], b[1]]).square().sum(dim=1)
        distance = (squared + 1).sqrt() / MARGIN
        differ = ids_a != ids_b
        weight = torch.maximum(pair_weight[ids_a], pair_weight[ids_b]) * counts[ids_a] * counts[ids_b]
        across = weight * differ
        inside = (weight - across) * pulled[ids_a]
        push = push + (across * F.relu(1 - distance).square()).sum() / (across.sum() + 1e-3)
        pull = pull + (inside * distance.clamp(max=3)).sum() / (inside.sum() + 1e-3)
    push, pull = push / PAIR_RADII, pull / PAIR_RADII

    counted = (area > 0) & (pulled > 0)
    separate = _push_means_apart(means.view(batch, per_image, 3), counted.view(batch, per_image))
    total = 4 * push + pull + compact + 0.5 * separate
    terms = {"push": push, "pull": pull, "compact": compact, "separate": separate}
    return total, {name: value.detach() for name, value in terms.items()}


def _phases(x: Tensor) -> tuple[Tensor, ...]:
    """(B, C, H, W) -> its four (B, C, H/2, W/2) grids of even/odd rows and columns, row phase first."""
    batch, channels, height, width = x.shape
    split = x.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(3, 5, 0, 1, 2, 4)
    return split.reshape(4, batch, channels, height // 2, width // 2).unbind(0)


def _pull_to_means(colors: Tensor, index: Tensor, pulled: Tensor, per_image: int) -> tuple[Tensor, Tensor]:
    """Smooth L1 to the means, averaged over instances by sqrt(area) times `pulled` (B*K,); and the means (B*K, 3)."""
    batch = colors.shape[0]
    entries = batch * per_image
    flat = colors.permute(0, 2, 3, 1).reshape(-1, 3)
    index = index.flatten()
    area = torch.bincount(index, minlength=entries).float()
    inverse = (1 / area.clamp(min=1))[:, None]
    means = flat.new_zeros(entries, 3).index_add(0, index, flat) * inverse
    is_background = torch.arange(entries, device=colors.device) % per_image == 0
    means = means.masked_fill(is_background[:, None], 0.0)
    distance = F.smooth_l1_loss(flat / SCALE, means.index_select(0, index) / SCALE, reduction="none")
    per_instance = (flat.new_zeros(entries, 3).index_add(0, index, distance) * inverse).sum(1)
    share = (area.sqrt() * pulled).view(batch, per_image)
    share = share / share.sum(dim=1, keepdim=True).clamp(min=1e-3)
    return (per_instance.view(batch, per_image) * share).sum(dim=1).mean(), means


def _push_means_apart(means: Tensor, present: Tensor) -> Tensor:
    """means (B, K, 3), present (B, K) bool -> mean over pictures of the mean hinge over pairs."""
    between = (means[:, :, None] - means[:, None]).square().sum(dim=-1)
    counted = (present[:, :, None] & present[:, None]).float().triu(1)
    apart = F.relu(1 - (between + 1).sqrt() / MEAN_MARGIN).square() * counted
    return (apart.sum((1, 2)) / counted.sum((1, 2)).clamp(min=1)).mean()


def _draw(below: int, generator: torch.Generator) -> int:
    return int(torch.randint(below, (), generator=generator))


def _radius(band: int, longest: float, generator: torch.Generator) -> float:
    """Log-uniform within band `band` of PAIR_RADII equal bands between 1.5 pixels and `longest`."""
    at = (band + float(torch.rand((), generator=generator))) / PAIR_RADII
    return 1.5 * (longest / 1.5) ** at


Window = tuple[int, tuple[slice, slice]]


def _pair_windows(height: int, width: int, radius: float, generator: torch.Generator) -> tuple[Window, Window]:
    """A random vector of length `radius`: (phase, rows and columns in that phase's grid) of both ends."""
    turn = float(torch.rand((), generator=generator)) * math.pi
    dy, dx = round(radius * math.sin(turn)), round(radius * math.cos(turn))
    phase = _draw(4, generator)
    y, x = phase // 2 + dy, phase % 2 + dx
    other = (y % 2) * 2 + x % 2
    rows_a, rows_b = _overlap(height // 2, y // 2)
    columns_a, columns_b = _overlap(width // 2, x // 2)
    return (phase, (rows_a, columns_a)), (other, (rows_b, columns_b))


def _overlap(length: int, shift: int) -> tuple[slice, slice]:
    """Where i and i + shift both lie in [0, length)."""
    if shift >= 0:
        return slice(0, length - shift), slice(shift, length)
    return slice(-shift, length), slice(0, length + shift)


def damaged(images: Tensor, generator: torch.Generator) -> Tensor:
    """A copy with half of its 16-pixel squares set to grey and noise on the rest: (B, 3, H, W) in [-1, 1]."""
    batch, _, height, width = images.shape
    kept = torch.rand((batch, 1, height // 16, width // 16), generator=generator) > 0.5
    kept = kept.float().to(images.device).repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)
    noise = torch.randn(images.shape, generator=generator).to(images.device) * 0.2
    return (images + noise) * kept


def objective_loss(
    colors: Tensor, batch: Batch, clean: Tensor, config: ObjectiveConfig, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the objectives in `config`, and every term by name.

    Args:
        colors: (B, 3, H, W) float32 in [0, 255], what the network painted.
        batch: what it was shown, on the device of `colors`.
        clean: (B, 3, H, W) in [-1, 1], the undamaged picture (for `reconstruction`).
    """
    total = colors.new_zeros(())
    terms: dict[str, Tensor] = {}
    if config.contrastive:
        loss, parts = contrastive_loss(colors, batch.labels, generator, batch.valid, batch.ignore_background)
        total = total + config.contrastive * loss
        terms |= parts
    if config.coloring:
        loss, parts = instance_coloring_terms(
            colors,
            batch.labels,
            ignore_background=batch.ignore_background,
            valid=batch.valid,
            **_coloring_options(config),
        )
        total = total + config.coloring * loss
        terms |= {name: torch.as_tensor(value) for name, value in parts.items()}
    if config.reconstruction:
        loss = F.l1_loss(colors / 127.5 - 1, clean)
        total = total + config.reconstruction * loss
        terms["reconstruction"] = loss.detach()
    return total, terms


def _coloring_options(config: ObjectiveConfig) -> dict[str, Any]:
    options: dict[str, Any] = dict(config.coloring_options)
    if config.squared:
        # Huber is d²/2 up to its delta, which no colour difference reaches.
        options |= {"huber_delta": 1e6, "intra_weight": 2 * options.get("intra_weight", 1.0)}
    return options
