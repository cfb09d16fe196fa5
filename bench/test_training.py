"""One training step per backbone, split into its parts: what share of it is the loss?

Networks are the real ones where two cores can train them in seconds; else their width is cut, which makes the rest
of the step cheaper and so the loss's share larger than it really is.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.rivals.loss import loop_over_instances
from gen2seg.config import DataConfig, SourceConfig, TrainConfig, load_config
from gen2seg.data.batches import open_batches
from gen2seg.data.mixture import Batch
from gen2seg.data.scenes import render_scene
from gen2seg.training.families import open_network
from gen2seg.training.network import Network
from gen2seg_kernels import instance_coloring_loss

LEAST_INSTANCES = 20  # in a picture
PARTS = ("data", "forward", "loss", "backward", "update")
UNET = {"block_out_channels": [96, 192, 384, 384], "attention_head_dim": [3, 6, 12, 12]}


@dataclass(frozen=True)
class Case:
    """A backbone, its architecture, the size of its pictures, how much smaller than the real one it is."""

    backbone: str
    size: tuple[int, int]
    architecture: dict[str, Any] = field(default_factory=dict)
    note: str = "real size"
    batch: int = 2
    full_only: bool = False


CASES = {
    "tiny": Case("tiny", (256, 256), batch=8),
    "mae-b": Case("mae-b", (224, 224)),
    "mae-h": Case("mae-h", (224, 224), full_only=True),
    "dino-b": Case("dino-b", (224, 224), batch=1, note="real networks, batch 1"),
    "sd2": Case("sd2", (128, 128), {"unet": UNET}, note="real VAE, U-Net 0.3 as wide, 128x128"),
}


@dataclass
class Table:
    """Medians in seconds by case and part, printed when all is done."""

    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        yield f"\none training step, {torch.get_num_threads()} thread(s), float32, medians in ms"
        yield f"{'':8} {''.join(f'{part:>10}' for part in PARTS)}   loss/step  loop over instances (its share)"
        for name, row in self.rows.items():
            step = sum(row[part] for part in PARTS)
            rival = f"{1e3 * row['loop']:.0f} ms, {row['loop'] / row['loss']:.0f} times ours"
            share = row["loop"] / (step - row["loss"] + row["loop"])
            yield (
                f"{name:8} {''.join(f'{1e3 * row[part]:10.1f}' for part in PARTS)}   {row['loss'] / step:9.2%}  "
                f"{rival} ({share:.0%}); {CASES[name].note}, {CASES[name].batch} pictures"
            )
        yield from self.notes


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    measured = Table()
    yield measured
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(*measured.lines(), sep="\n")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Generated scenes of 480 x 640 with many instances as a plain folder: JPEG and 16-bit PNG."""
    root = tmp_path_factory.mktemp("pictures")
    for part in ("images", "instances"):
        (root / part).mkdir()
    scenes = ((number, *render_scene(number, 640)) for number in count())
    rich = (scene for scene in scenes if len(np.unique(scene[2][:480])) > LEAST_INSTANCES)
    for number, rgb, labels in islice(rich, 8):
        Image.fromarray(rgb[:480]).save(root / "images" / f"{number}.jpg", quality=92)
        Image.fromarray(labels[:480].astype(np.uint16)).save(root / "instances" / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEN2SEG_CACHE", str(root / "cache"))
        yield root


def _config(case: Case, pictures: Path) -> TrainConfig:
    source = SourceConfig("folder", str(pictures), size=case.size)
    data = DataConfig(sources={"scenes": source}, batch=case.batch, workers=0)
    recipe = load_config(case.backbone)
    model = replace(recipe.model, vae=None, gradient_checkpointing=False)
    return replace(recipe, init=None, architecture=case.architecture, model=model, data=data)


def _loss(colors: Tensor, batch: Batch) -> Tensor:
    return instance_coloring_loss(colors, batch.labels, ignore_background=batch.ignore_background)


def _loop(colors: Tensor, batch: Batch) -> Tensor:
    pairs = zip(colors, batch.labels, strict=True)
    return torch.stack([loop_over_instances(picture, labels) for picture, labels in pairs]).mean()


def _with_gradient(loss: Callable[[Tensor, Batch], Tensor], colors: Tensor, batch: Batch) -> tuple[float, Tensor]:
    leaf = colors.detach().requires_grad_()
    value = loss(leaf, batch)
    value.backward()
    assert leaf.grad is not None
    return value.item(), leaf.grad


class Step:
    """A training step as `gen2seg.training.run` takes it, with a stopwatch; `seconds` grows by a list a part."""

    def __init__(self, network: Network, config: TrainConfig) -> None:
        self.network = network
        self.batches = open_batches(config.data, 1000, 1, 0)
        self.trained = [p for p in network.module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-6, fused=True)
        self.count = 0
        self.seconds: dict[str, list[float]] = {part: [] for part in PARTS}

    def __call__(self) -> tuple[Tensor, Batch]:
        marks = [time.perf_counter()]
        batch = self.batches[self.count]
        marks.append(time.perf_counter())
        colors = self.network.colors(self.network.module(self.network.prepare(batch.images)))
        marks.append(time.perf_counter())
        _, gradient = _with_gradient(_loss, colors, batch)
        marks.append(time.perf_counter())
        colors.backward(gradient)
        marks.append(time.perf_counter())
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        marks.append(time.perf_counter())
        self.count += 1
        for part, start, end in zip(PARTS, marks, marks[1:], strict=False):
            self.seconds[part].append(end - start)
        return colors.detach(), batch


@pytest.mark.parametrize("name", CASES)
def test_step(benchmark, request, table: Table, pictures: Path, name: str) -> None:
    case = CASES[name]
    if case.full_only and not request.config.getoption("--full", default=False):
        pytest.skip("only with --full: about 12 GB of memory")
    benchmark.group = f"training step, {name}: {case.note}"
    config = _config(case, pictures)
    network = open_network(config)
    network.module.train()
    step = Step(network, config)
    step()  # what happens once: the optimizer's memory, caches
    step.seconds = {part: [] for part in PARTS}
    colors, batch = benchmark.pedantic(step, rounds=3)
    row = {part: float(np.median(times)) for part, times in step.seconds.items()}
    row["loss"], ours = _median(lambda: _with_gradient(_loss, colors, batch), 5)
    row["loop"], theirs = _median(lambda: _with_gradient(_loop, colors, batch), 1)
    assert theirs[0] == pytest.approx(ours[0], rel=1e-3)
    table.rows[name] = row
    benchmark.extra_info |= row


def _median(call: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    seconds, result = [], call()
    for _ in range(rounds):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)), result


def test_loss_at_the_size_of_sd2(benchmark, table: Table, pictures: Path) -> None:
    """The loss on 480 x 640 is measured; the rest of such a step is estimated from its operations and this
    machine's rate of matrix products, which no network exceeds: the true share is smaller."""
    benchmark.group = "loss of a picture of 480x640"
    case = replace(CASES["sd2"], size=(480, 640), batch=1, architecture={})
    config = _config(case, pictures)
    batch = open_batches(config.data, 1, 1, 0)[0]
    generator = torch.Generator().manual_seed(0)
    colors = torch.rand(int(batch.labels.max()) + 1, 3, generator=generator)[batch.labels.long()].permute(0, 3, 1, 2)
    colors = (255 * colors + 20 * torch.randn(colors.shape, generator=generator)).contiguous()
    benchmark.pedantic(_with_gradient, args=(_loss, colors, batch), rounds=20, warmup_rounds=1)
    seconds = benchmark.stats.stats.median
    loop, _ = _median(lambda: _with_gradient(_loop, colors, batch), 1)
    operations = _operations(config)
    rate = _product_rate()
    rest = operations / rate
    table.notes.append(
        f"480x640, {int(batch.labels.max())} instances: loss {1e3 * seconds:.1f} ms, loop over instances "
        f"{1e3 * loop:.0f} ms (measured). Forward and backward of the whole sd2: {operations / 1e12:.1f} TFLOP, at "
        f"least {rest:.0f} s at this machine's {rate / 1e9:.0f} GFLOP/s (estimated): the loss is at most "
        f"{seconds / (seconds + rest):.2%}, the loop {loop / (loop + rest):.2%}"
    )


def _operations(config: TrainConfig) -> float:
    """Floating point operations of forward and backward for one picture; nothing is computed."""
    with torch.device("meta"):
        module = open_network(config).module.to("meta")
        images = torch.empty(1, 3, *config.data.sources["scenes"].size)
        with FlopCounterMode(display=False) as counter:
            module(images).sum().backward()
    return float(counter.get_total_flops())


def _product_rate() -> float:
    """FLOP/s of a large float32 matrix product: best of three."""
    a = torch.randn(3000, 3000)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        _ = a @ a
        seconds.append(time.perf_counter() - start)
    return 2 * 3000**3 / min(seconds)
