"""What training pulls at: hand-checkable cases of the contrastive objective."""

import pytest
import torch

from gen2seg.config import ObjectiveConfig
from gen2seg.training.objectives import (
    _overlap,
    _pair_windows,
    _phases,
    contrastive_loss,
    damaged,
    objective_loss,
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _halves() -> torch.Tensor:
    labels = torch.zeros(1, 32, 32, dtype=torch.int32)
    labels[:, :, :16] = 1
    labels[:, 16:, 16:] = 2
    return labels


def _painted(labels: torch.Tensor, table: list[list[float]]) -> torch.Tensor:
    return torch.tensor(table)[labels.long()].permute(0, 3, 1, 2).contiguous()


def test_perfect_colours_cost_almost_nothing() -> None:
    labels = _halves()
    colors = _painted(labels, [[0.0, 0, 0], [255, 0, 0], [0, 255, 0]])
    loss, terms = contrastive_loss(colors, labels, _generator())
    # sqrt(0 + 1) / 80 is what the smoothed distance of equal colours leaves
    assert terms["pull"] == pytest.approx(1 / 80, abs=1e-3)
    assert terms["push"] == 0
    assert terms["compact"] == 0
    assert terms["separate"] == 0
    assert loss == pytest.approx(1 / 80, abs=1e-3)


def test_one_colour_for_all_is_pushed_apart() -> None:
    labels = _halves()
    colors = torch.full((1, 3, 32, 32), 100.0, requires_grad=True)
    loss, terms = contrastive_loss(colors, labels, _generator())
    assert terms["push"] > 0.9
    assert terms["separate"] > 0.3  # the two instances coincide, the background's mean is black
    loss.backward()
    assert colors.grad is not None
    assert colors.grad.abs().sum() > 0


def test_background_is_pulled_to_black() -> None:
    labels = torch.zeros(1, 32, 32, dtype=torch.int32)
    labels[:, :4, :4] = 1
    black = contrastive_loss(_painted(labels, [[0.0, 0, 0], [200, 0, 0]]), labels, _generator())[1]
    grey = contrastive_loss(_painted(labels, [[90.0, 90, 90], [200, 0, 0]]), labels, _generator())[1]
    assert grey["compact"] > black["compact"] + 1


def test_phases_hold_every_pixel_once() -> None:
    x = torch.arange(64.0).view(1, 1, 8, 8)
    phases = _phases(x)
    for row in (0, 1):
        for column in (0, 1):
            torch.testing.assert_close(phases[row * 2 + column], x[:, :, row::2, column::2])


def test_pairs_are_the_asked_distance_apart() -> None:
    ys, xs = torch.meshgrid(torch.arange(64), torch.arange(48), indexing="ij")
    y_phases, x_phases = _phases(ys[None, None]), _phases(xs[None, None])
    for seed in range(40):
        (p, a), (q, b) = _pair_windows(64, 48, 9.0, _generator(seed))
        dy = y_phases[q][..., b[0], b[1]] - y_phases[p][..., a[0], a[1]]
        dx = x_phases[q][..., b[0], b[1]] - x_phases[p][..., a[0], a[1]]
        assert dy.unique().numel() == 1
        assert dx.unique().numel() == 1
        assert torch.hypot(dy[0, 0, 0, 0].float(), dx[0, 0, 0, 0].float()) == pytest.approx(9, abs=1)


def test_overlap_of_a_shift_and_its_opposite() -> None:
    assert _overlap(10, 3) == (slice(0, 7), slice(3, 10))
    assert _overlap(10, -3) == (slice(3, 10), slice(0, 7))


def test_damage_hides_half_of_the_squares() -> None:
    images = torch.ones(4, 3, 128, 128)
    seen = damaged(images, _generator())
    hidden = (seen == 0).float().mean()
    assert 0.4 < hidden < 0.6


def test_objectives_add_up() -> None:
    labels = _halves()
    colors = torch.rand(1, 3, 32, 32, generator=_generator()) * 255
    clean = torch.zeros(1, 3, 32, 32)
    alone, _ = objective_loss(colors, labels, clean, ObjectiveConfig(contrastive=1.0), _generator())
    both, terms = objective_loss(colors, labels, clean, ObjectiveConfig(contrastive=1.0, coloring=0.5), _generator())
    from gen2seg_kernels import instance_coloring_loss

    assert both == pytest.approx(float(alone + 0.5 * instance_coloring_loss(colors, labels)), rel=1e-5)
    assert {"push", "pull", "compact", "separate"} < set(terms)
    repaint, terms = objective_loss(
        torch.full_like(colors, 255),
        labels,
        clean,
        ObjectiveConfig(contrastive=0, reconstruction=1.0),
        _generator(),
    )
    assert repaint == pytest.approx(1.0)
    assert set(terms) == {"reconstruction"}
