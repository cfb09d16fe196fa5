"""How many objects keep their number in a stream: `python -m bench.identity [DATA_FOLDER]`.

A window wanders over a large picture, along a path that turns, so that objects come into view and leave it. An object
counts in a frame if an instance covers it with an intersection over union of at least one half; its number is kept
if it is the one it had when it counted last. What was out of view in between starts anew. Three columns: the numbers
as `instances()` gives them, the tracker without the frames themselves (no camera movement), the tracker.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen2seg_runtime.instances import Instances
from gen2seg_runtime.stream import InstanceTracker

_COVERED = 0.5
_SMALLEST = 64  # pixels in view below which an object does not count


@dataclass
class Retention:
    """Objects seen again, and how many of them under the number they had."""

    kept: int = 0
    seen_again: int = 0

    @property
    def percent(self) -> float:
        """100 · kept / seen again."""
        return 100 * self.kept / max(1, self.seen_again)


class RetentionMeter:
    """Counts over one sequence."""

    def __init__(self, total: Retention | None = None) -> None:
        self.total = total or Retention()
        self._last: dict[int, int] = {}

    def add(self, truth: np.ndarray, labels: np.ndarray) -> None:
        """One frame: (H, W) true numbers that last, and the numbers to judge; 0 = background in both."""
        ids, areas = np.unique(labels, return_counts=True)
        area_of = dict(zip(ids.tolist(), areas.tolist(), strict=True))
        numbers, true_areas = np.unique(truth, return_counts=True)
        in_view = (numbers > 0) & (true_areas >= _SMALLEST)
        self._last = {number: last for number, last in self._last.items() if number in numbers[in_view]}
        for number, area in zip(numbers[in_view], true_areas[in_view], strict=True):
            under, common = np.unique(labels[truth == number], return_counts=True)
            shares = [
                c / (area + area_of[i] - c) if i else 0 for i, c in zip(under.tolist(), common.tolist(), strict=True)
            ]
            best = int(np.argmax(shares))
            if shares[best] < _COVERED:
                continue
            number, found = int(number), int(under[best])
            if number in self._last:
                self.total.seen_again += 1
                self.total.kept += self._last[number] == found
            self._last[number] = found


def wander(size: tuple[int, int], window: tuple[int, int], frames: int, step: float) -> Iterator[tuple[int, int]]:
    """Upper left corners (y, x) of a window that turns within a picture, about `step` pixels a frame."""
    reach_y, reach_x = size[0] - window[0], size[1] - window[1]
    pace = step / max(1.0, np.hypot(reach_x, reach_y) / 2)
    for t in range(frames):
        y = (1 - np.cos(pace * t)) / 2 * reach_y
        x = (1 - np.cos(1.31 * pace * t + 0.4)) / 2 * reach_x
        yield round(y), round(x)


def _sequences(data: Path | None) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    from PIL import Image

    from gen2seg.data.scenes import render_scene
    from gen2seg_runtime.formats import read_label_png

    for seed in range(6):
        yield "scenes", *render_scene(seed, 640)
    for name in ("coco_val2017", "nuts", "dsb2018", "mushrooms") if data else ():
        for path in sorted((data / name / "images").iterdir())[:40]:  # type: ignore[operator]
            truth = read_label_png(data / name / "instances" / f"{path.stem}.png")  # type: ignore[operator]
            if min(truth.shape) >= 400:
                yield name, np.asarray(Image.open(path).convert("RGB")), truth


def measure(data: Path | None, steps: Sequence[float], frames: int, per_set: int) -> dict[tuple[str, float], list]:
    """(set, pixels a frame) -> [Retention without a tracker, without the frames, with both]."""
    from gen2seg_runtime import Segmenter

    segmenter = Segmenter.open()
    results: dict[tuple[str, float], list] = {}
    used: dict[str, int] = {}
    for name, picture, truth in _sequences(data):
        used[name] = used.get(name, 0) + 1
        if used[name] > per_set:
            continue
        window = (int(truth.shape[0] * 0.7), int(truth.shape[1] * 0.7))
        for step in steps:
            totals = results.setdefault((name, step), [Retention(), Retention(), Retention()])
            meters = [RetentionMeter(total) for total in totals]
            trackers = InstanceTracker(), InstanceTracker()
            for y, x in wander((truth.shape[0], truth.shape[1]), window, frames, step):
                view = np.s_[y : y + window[0], x : x + window[1]]
                found: Instances = segmenter.encode(picture[view]).instances()
                meters[0].add(truth[view], found.labels)
                meters[1].add(truth[view], trackers[0].update(found).labels)
                meters[2].add(truth[view], trackers[1].update(found, picture[view]).labels)
    return results


def main() -> None:
    """Print the table."""
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("GEN2SEG_DATA", "../shared/data"))
    results = measure(data if data.is_dir() else None, steps=(4, 16), frames=12, per_set=3)
    print("| set | pixels a frame | objects seen again | kept as numbered | tracker, frames unseen | tracker |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (name, step), totals in results.items():
        shares = " | ".join(f"{each.percent:.1f} %" for each in totals)
        print(f"| {name} | {step:g} | {totals[0].seen_again} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
