"""What training pulls at: hand-checkable cases of the contrastive objective."""

import pytest
import torch

from gen2seg.config import ObjectiveConfig
from gen2seg.data.mixture import Batch
from gen2seg.training.objectives import (
    _overlap,
    _pair_windows,
    _phases,
    contrastive_loss,
    damaged,
    objective_loss,
)
from gen2seg_kernels import instance_coloring_loss


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


def _batch(labels: torch.Tensor, valid: torch.Tensor | None = None, ignored: bool = False) -> Batch:
    return Batch(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), labels, valid, torch.tensor([ignored]))


def test_objectives_add_up() -> None:
    labels = _halves()
    colors = torch.rand(1, 3, 32, 32, generator=_generator()) * 255
    clean = torch.zeros(1, 3, 32, 32)
    batch = _batch(labels)
    alone, _ = objective_loss(colors, batch, clean, ObjectiveConfig(contrastive=1.0), _generator())
    both, terms = objective_loss(colors, batch, clean, ObjectiveConfig(contrastive=1.0, coloring=0.5), _generator())
    assert both == pytest.approx(float(alone + 0.5 * instance_coloring_loss(colors, labels)), rel=1e-5)
    assert {"push", "pull", "compact", "separate"} < set(terms)
    repaint, terms = objective_loss(
        torch.full_like(colors, 255),
        batch,
        clean,
        ObjectiveConfig(contrastive=0, reconstruction=1.0),
        _generator(),
    )
    assert repaint == pytest.approx(1.0)
    assert set(terms) == {"reconstruction"}


@pytest.mark.parametrize("ignored", [False, True])
def test_the_paper_loss_sees_valid_pixels_and_ignored_backgrounds(ignored: bool) -> None:
    labels = _halves()
    valid = torch.ones(1, 32, 32, dtype=torch.bool)
    valid[:, :8] = False
    colors = torch.rand(1, 3, 32, 32, generator=_generator()) * 255
    config = ObjectiveConfig(contrastive=0, coloring=1.0, coloring_options={"inter_weight": 30.0})
    loss, _ = objective_loss(colors, _batch(labels, valid, ignored), colors, config, _generator())
    expected = instance_coloring_loss(colors, labels, valid=valid, ignore_background=ignored, inter_weight=30.0)
    assert loss == pytest.approx(float(expected), rel=1e-6)


def test_the_squared_pull_is_the_variance() -> None:
    """Alone in its picture, an instance pays its variance and nothing else."""
    labels = torch.ones(1, 32, 32, dtype=torch.int32)
    colors = torch.rand(1, 3, 32, 32, generator=_generator()) * 255
    config = ObjectiveConfig(contrastive=0, coloring=1.0, squared=True)
    loss, _ = objective_loss(colors, _batch(labels), colors, config, _generator())
    variance = colors.double().var((2, 3), correction=0).mean()
    assert loss == pytest.approx(float(variance), rel=1e-6)


@pytest.mark.parametrize("what", ["invalid", "ignored background"])
def test_contrastive_gradient_stays_off(what: str) -> None:
    """Invalid pixels get no gradient; an unlabelled background alone in its picture is pulled to nothing."""
    labels = _halves()
    valid = torch.ones(1, 32, 32, dtype=torch.bool)
    if what == "invalid":
        valid[:, :, 20:] = False
        off = ~valid
    else:
        labels = torch.zeros_like(labels)
        off = torch.ones_like(valid)
    colors = (torch.rand(1, 3, 32, 32, generator=_generator()) * 255).requires_grad_()
    loss, _ = contrastive_loss(colors, labels, _generator(), valid, torch.tensor([what != "invalid"]))
    (grad,) = torch.autograd.grad(loss, colors)
    assert not grad.permute(0, 2, 3, 1)[off].any()
    if what == "invalid":
        assert grad.permute(0, 2, 3, 1)[valid].any()


def test_a_pushed_away_background_still_pushes() -> None:
    """Unlabelled ground of an instance's colour is pushed off it."""
    labels = torch.zeros(1, 32, 32, dtype=torch.int32)
    labels[:, 8:24, 8:24] = 1
    colors = torch.full((1, 3, 32, 32), 100.0, requires_grad=True)
    with torch.no_grad():
        colors[:, 0, 8:24, 8:24] += 1  # the gradient of a distance of 0 has no direction
    loss, terms = contrastive_loss(colors, labels, _generator(), None, torch.tensor([True]))
    (grad,) = torch.autograd.grad(loss, colors)
    assert terms["push"] > 0
    assert grad[0, 0][labels[0] == 0].sum() > 0
