"""Forward and backward of the instance colouring loss, beside a loop over instances."""

import numpy as np
import pytest
import torch

from bench.rivals import coloring_loss_loop
from gen2seg_kernels import instance_coloring_loss


def _inputs(instances: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(5)
    side = int(np.ceil(np.sqrt(instances)))
    rows = np.arange(480)[:, None] * side // 480
    columns = np.arange(640)[None] * side // 640
    labels = (rows * side + columns) % (instances + 1)
    colors = torch.from_numpy(rng.uniform(0, 255, (3, 480, 640)).astype(np.float32))
    return colors, torch.from_numpy(labels.astype(np.int64))


def _loop(colors: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    leaf = colors.clone().requires_grad_()
    loss = coloring_loss_loop(leaf, labels)
    loss.backward()
    return loss.detach()


def _ours(colors: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    leaf = colors[None].clone().requires_grad_()
    loss = instance_coloring_loss(leaf, labels[None])
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("instances", [20, 100])
@pytest.mark.parametrize("way", [_ours, _loop], ids=["ours", "loop over instances"])
def test_loss(benchmark, way, instances: int) -> None:
    benchmark.group = f"loss forward + backward, 480x640, {instances} instances"
    inputs = _inputs(instances)
    loss = benchmark.pedantic(way, args=inputs, rounds=3, warmup_rounds=1)
    assert float(loss) == pytest.approx(float(_ours(*inputs)), rel=1e-3)
