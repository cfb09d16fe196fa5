"""`make gpu-check TUNE=1`: times candidates for the loss's tiles on this card and writes the best into the table."""

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.gpu_check.device import Card, Timer
from gen2seg_kernels.loss import tiles as table
from gen2seg_kernels.loss.config import LossConfig
from gen2seg_kernels.loss.tiles import Tiles

INSTANCES = (20, 400)
LINE = 120  # characters of the longest line of source

# As `gen2seg_kernels.loss.triton.loss_and_grad`, whose keyword `tiles` is what is tried.
TiledLoss = Callable[..., Any]


def measure(
    loss: TiledLoss, device: str, timer: Timer, base: Tiles, size: tuple[int, int]
) -> Iterator[tuple[Tiles, float]]:
    """Every candidate and its seconds, summed over images with few and with many instances."""
    rng = np.random.default_rng(4)
    pred = torch.tensor(rng.uniform(0, 255, (1, 3, *size)), dtype=torch.float32, device=device)
    labels = [torch.from_numpy(rng.integers(0, n + 1, (1, *size))).to(device) for n in INSTANCES]
    for tiles in table.candidates(base):
        yield (
            tiles,
            sum(
                timer(lambda t=target, w=tiles: loss(pred, t, [False], None, LossConfig(), True, tiles=w))
                for target in labels
            ),
        )


def combine(timed: list[tuple[Tiles, float]]) -> Tiles:
    """The best of the candidates, part by part: each differs from the first, the base, in one kernel's sizes."""
    base, base_seconds = timed[0]
    best: dict[frozenset[str], tuple[float, dict[str, int]]] = {}
    for tiles, seconds in timed[1:]:
        changed = {f.name: getattr(tiles, f.name) for f in fields(tiles) if f.name != "measured_on"}
        changed = {name: value for name, value in changed.items() if value != getattr(base, name)}
        part = frozenset(name.partition("_")[0] for name in changed)
        if seconds < min(base_seconds, best.get(part, (np.inf, {}))[0]):
            best[part] = (seconds, changed)
    return replace(base, **{name: value for _, changed in best.values() for name, value in changed.items()})


def write_entry(capability: int, tiles: Tiles, path: Path = Path(table.__file__)) -> str:
    """Writes the table's source anew with another entry, laid out as `ruff format` does; returns the entry.

    Raises:
        ValueError: `path` holds no table.
    """
    source = path.read_text()
    head, opening, rest = source.partition("TABLE: dict[int, Tiles] = {\n")
    _, closing, tail = rest.partition("\n}\n")
    if not opening or not closing:
        raise ValueError(f"{path}: holds no table of tiles")
    entries = {**table.TABLE, capability: tiles}
    body = "\n".join(_entry(known, entries[known]) for known in sorted(entries))
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(head + opening + body + closing + tail)
    temporary.replace(path)
    return _entry(capability, tiles).strip()


def _entry(capability: int, tiles: Tiles) -> str:
    changed = {f.name: getattr(tiles, f.name) for f in fields(tiles) if getattr(tiles, f.name) != f.default}
    sizes = [f"{name}={json.dumps(value)}" for name, value in changed.items()]
    line = f"    {capability}: Tiles({', '.join(sizes)}),"
    if len(line) <= LINE:
        return line + ("" if tiles.measured_on else "  # untuned")
    inner = f"        {', '.join(sizes)}"
    lines = [inner] if len(inner) <= LINE else [f"        {size}," for size in sizes]
    return "\n".join([f"    {capability}: Tiles(", *lines, "    ),"])


def tune(loss: TiledLoss, card: Card, device: str, timer: Timer, size: tuple[int, int] = (480, 640)) -> Tiles:
    """Times the candidates, prints them, and returns the best combination, marked with the card's name."""
    timed = []
    for tiles, seconds in measure(loss, device, timer, table.tiles_for(card.capability), size):
        timed.append((tiles, seconds))
        print(f"  {seconds * 1e3:8.3f} ms  {tiles}")
    return replace(combine(timed), measured_on=card.name)
