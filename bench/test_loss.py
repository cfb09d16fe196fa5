"""Forward and backward of the instance colouring loss, beside the ways that others compute it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.measure import copy_bandwidth, peak_growth
from bench.rivals.loss import broadcast, compiled_broadcast, loop_over_instances
from gen2seg_kernels import instance_coloring_loss
from gen2seg_kernels.threads import thread_count

Loss = Callable[[Tensor, Tensor], Tensor]
MOST_SECONDS, MOST_BYTES = 60.0, 12e9
# Colours in, labels in, gradient out: what no implementation can avoid to move, per pixel.
BYTES_PER_PIXEL = 3 * 4 + 8 + 3 * 4


def ours(colors: Tensor, labels: Tensor) -> Tensor:
    return instance_coloring_loss(colors[None], labels[None])


@dataclass(frozen=True)
class Way:
    """One implementation, with a rough cost from which hopeless cases are told before they run."""

    run: Loss
    seconds_per_pair: float
    bytes_per_pair: float
    seconds_per_call: float = 0.0


WAYS = {
    "ours": Way(ours, 1e-9, 0),
    "loop over instances": Way(loop_over_instances, 6e-8, 0),
    "broadcast": Way(broadcast, 1.2e-7, 60),
    "torch.compile": Way(compiled_broadcast, 1e-8, 1, 20.0),
}
CASES = [
    pytest.param(size, instances, id=f"{size[0]}x{size[1]}-{instances}")
    for size in ((224, 224), (480, 640), (1024, 1024))
    for instances in (20, 100, 400, 1250)
]


@dataclass
class Table:
    """The measured medians, printed side by side when all is done."""

    rows: dict[tuple[tuple[int, int], int], dict[str, str]] = field(default_factory=dict)
    seconds: dict[tuple[tuple[int, int], int], dict[str, float]] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        yield f"\nloss forward + backward, {thread_count()} threads; median (min..max), peak memory growth"
        for case, row in self.rows.items():
            pixels, pairs = case[0][0] * case[0][1], case[0][0] * case[0][1] * case[1]
            yield f"{case[0][0]}x{case[0][1]}, {case[1]} instances"
            base = self.seconds.get(case, {}).get("ours")
            for way, text in row.items():
                mine = self.seconds.get(case, {}).get(way)
                ratio = f"; ours is {mine / base:.0f} times as fast" if base and mine and way != "ours" else ""
                yield f"  {way:20} {text}{ratio}"
            if base:
                bound = pixels * BYTES_PER_PIXEL / copy_bandwidth()
                yield (
                    f"  {'roofline':20} {1e3 * bound:.2f} ms for {pixels * BYTES_PER_PIXEL / 1e6:.1f} MB at "
                    f"{copy_bandwidth() / 1e9:.1f} GB/s; ours takes {base / bound:.0f} times that: it evaluates "
                    f"{pairs / base / 1e9:.2f} G pixel-instance pairs per second"
                )


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    measured = Table()
    yield measured
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(*measured.lines(), sep="\n")


def _inputs(size: tuple[int, int], instances: int) -> tuple[Tensor, Tensor]:
    """Blocks of labels 0..instances with noise around a colour each, as a network under training paints."""
    rng = np.random.default_rng(5)
    side = int(np.ceil(np.sqrt(instances)))
    rows = np.arange(size[0])[:, None] * side // size[0]
    columns = np.arange(size[1])[None] * side // size[1]
    labels = (rows * side + columns + 1) % (instances + 1)
    labels[:4] = 0
    table = rng.uniform(0, 255, (instances + 1, 3))
    colors = table[labels].transpose(2, 0, 1) + rng.normal(0, 30, (3, *size))
    return torch.from_numpy(colors.astype(np.float32)), torch.from_numpy(labels)


def _forward_and_backward(loss: Loss, colors: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    leaf = colors.clone().requires_grad_()
    value = loss(leaf, labels)
    value.backward()
    assert leaf.grad is not None
    return value.item(), leaf.grad


def _reason_to_skip(way: Way, size: tuple[int, int], instances: int, full: bool) -> str | None:
    pairs = size[0] * size[1] * instances
    if not full and (size[0] > 480 or instances > 400):
        return "only with --full"
    seconds, memory = way.seconds_per_pair * pairs + way.seconds_per_call, way.bytes_per_pair * pairs
    if seconds > MOST_SECONDS:
        return f"about {seconds:.0f} s"
    if memory > MOST_BYTES:
        return f"about {memory / 1e9:.0f} GB of memory"
    return None


@pytest.mark.parametrize(("size", "instances"), CASES)
@pytest.mark.parametrize("name", WAYS)
def test_loss(benchmark, request, table: Table, name: str, size: tuple[int, int], instances: int) -> None:
    way = WAYS[name]
    reason = _reason_to_skip(way, size, instances, request.config.getoption("--full", default=False))
    row = table.rows.setdefault((size, instances), {}) if reason != "only with --full" else {}
    if reason is not None:
        row[name] = f"skipped: {reason}"
        pytest.skip(reason)
    benchmark.group = f"loss forward + backward, {size[0]}x{size[1]}, {instances} instances"
    colors, labels = _inputs(size, instances)
    _forward_and_backward(way.run, *_inputs((32, 32), 5))  # what happens once: loading, compiling
    value, grad = _forward_and_backward(ours, colors, labels)
    memory = peak_growth(lambda: _forward_and_backward(way.run, colors, labels))

    rounds = 20 if name == "ours" else 3 if way.seconds_per_pair * colors[0].numel() * instances < 3 else 1
    result = benchmark.pedantic(_forward_and_backward, args=(way.run, colors, labels), rounds=rounds)

    assert result[0] == pytest.approx(value, rel=1e-4)
    assert torch.linalg.norm(result[1] - grad) < 0.02 * torch.linalg.norm(grad)  # rivals sum up in float32
    stats = benchmark.stats.stats
    benchmark.extra_info["peak_MB"] = memory
    table.seconds.setdefault((size, instances), {})[name] = stats.median
    row[name] = f"{1e3 * stats.median:.1f} ms ({1e3 * stats.min:.1f}..{1e3 * stats.max:.1f})" + (
        "" if memory is None else f", {memory:.0f} MB"
    )
