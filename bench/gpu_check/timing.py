"""The kernels' times beside those of plain PyTorch on the same card, and beside its memory bandwidth."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from bench.gpu_check.device import Card, Timer, bandwidth_line
from bench.gpu_check.loss_parity import Loss
from bench.gpu_check.prompt_parity import Masks
from bench.rivals import loss as loss_rivals
from gen2seg_kernels.loss.config import LossConfig
from gen2seg_kernels.prompt.metric import MetricCut
from gen2seg_kernels.prompt.request import ReferenceCut, check_prompt

SIZES = ((480, 640), (1024, 1024))
INSTANCES = (20, 100, 400)
PROMPTS = (1, 16, 256)
MOST_BYTES = 12 << 30  # a rival that needs more is skipped


def copy_line(card: Card, device: str, timer: Timer, size: int = 1 << 28) -> str:
    """What a plain copy reaches: the practical limit."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return bandwidth_line("copy", 2 * size, timer(lambda: target.copy_(source)), card)


def time_loss(
    loss: Loss, card: Card, device: str, timer: Timer, sizes: tuple = SIZES, instances: tuple = INSTANCES
) -> Iterator[str]:
    """Forward and backward: ours, and the published loop over instances."""
    rng = np.random.default_rng(2)
    for size in sizes:
        for count in instances:
            labels = torch.from_numpy(rng.integers(0, count + 1, (1, *size))).to(device)
            colors = torch.tensor(rng.uniform(0, 255, (1, 3, *size)), dtype=torch.float32, device=device)
            config = LossConfig()
            seconds = timer(lambda p=colors, t=labels, c=config: loss(p, t, [False], None, c, True))
            moved = colors.nbytes + labels.nbytes + colors.nbytes  # colours and labels read, gradient written
            name = f"loss {size[0]}x{size[1]}, {count} instances"
            rival = timer(lambda p=colors, t=labels: _published_loss(p[0], t[0], device))
            yield bandwidth_line(name, moved, seconds, card)
            pairs = size[0] * size[1] * count / seconds / 1e9
            yield f"  {pairs:.1f} G pixel-instance pairs a second"
            yield f"  published loop {rival * 1e3:.1f} ms, {rival / seconds:.1f}x"


def time_prompts(
    masks: Masks, card: Card, device: str, timer: Timer, sizes: tuple = SIZES, prompts: tuple = PROMPTS
) -> Iterator[str]:
    """Masks of K prompts: ours in both modes, and the published steps as PyTorch operations on all prompts at once."""
    from bench.rivals.prompt import broadcast_tensors

    rng = np.random.default_rng(3)
    for height, width in sizes:
        colors = torch.from_numpy(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).to(device)
        for count in prompts:
            points = rng.uniform(0, 1, (count, 2)) * (width - 1, height - 1)
            requests = [check_prompt(point[None], None, height, width) for point in points]
            seconds = {}
            for mode, cut in (("reference", ReferenceCut()), ("metric", MetricCut())):
                seconds[mode] = timer(lambda c=colors, r=requests, cut=cut: masks(c, r, cut))
                name = f"prompt {height}x{width}, {count} prompts, mode {mode}"
                yield bandwidth_line(name, height * width * (3 + count), seconds[mode], card)
            if count * height * width * 4 * 8 > MOST_BYTES:
                yield f"  PyTorch, mode reference: skipped, it needs more than {MOST_BYTES >> 30} GB"
                continue
            features, places = colors.float(), torch.from_numpy(points).float().to(device)
            rival = timer(_on(device, lambda f=features, p=places: broadcast_tensors(f, p)))
            yield f"  PyTorch, mode reference: {rival * 1e3:.2f} ms, {rival / seconds['reference']:.1f}x"


def _published_loss(colors: torch.Tensor, labels: torch.Tensor, device: str) -> None:
    pred = colors.detach().requires_grad_()
    with torch.device(device):  # the rival makes its own small tensors
        loss_rivals.loop_over_instances(pred, labels).backward()


def _on(device: str, call: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        with torch.device(device):
            return call()

    return run
