"""Full-size mae-b, mae-h and dino-b with random weights: specialised against the libraries' own, in one run.

    python -m bench.specialized_vit mae-b mae-h dino-b

One line of JSON each: difference by stage (largest, over the largest value), cost before and after, seconds of both
in torch float32, taken in turns. mae-h needs 8 GB of memory.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch

from gen2seg_export.families.dino import open_dino
from gen2seg_export.families.mae import open_mae
from gen2seg_export.model import ExportModel

ROUNDS = 5


@torch.no_grad()
def measure(backbone: str, rounds: int = ROUNDS) -> dict[str, object]:
    """Compare and time one backbone on a picture of noise."""
    model = open_dino(random_weights=True) if backbone == "dino-b" else open_mae(backbone, random_weights=True)
    picture = torch.randn(1, 3, *model.input.buckets[0], generator=torch.Generator().manual_seed(0))
    expected = model.reference(picture)
    found, differences = picture, {}
    for stage in model.stages:  # the chain as it runs: differences add up
        found = stage.module(found)
        differences[stage.name] = float((found - expected[stage.name]).abs().max() / expected[stage.name].abs().max())
    seconds = _in_turns(
        {"library": lambda: model.reference(picture), "specialised": lambda: _chain(model, picture)}, rounds
    )
    assert model.before is not None
    assert model.after is not None
    return {
        "backbone": backbone,
        "relative_difference": differences,
        "before": vars(model.before),
        "after": vars(model.after),
        "median_seconds": {name: round(statistics.median(times), 4) for name, times in seconds.items()},
        "spread_seconds": {name: [round(min(times), 4), round(max(times), 4)] for name, times in seconds.items()},
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _chain(model: ExportModel, picture: torch.Tensor) -> torch.Tensor:
    for stage in model.stages:
        picture = stage.module(picture)
    return picture


def _in_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    for name in sys.argv[1:] or ["mae-b", "mae-h", "dino-b"]:
        print(json.dumps(measure(name)), flush=True)
