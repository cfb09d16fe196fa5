"""Automatic masks of `instances()` beside those of other ways to cut a picture: `python -m bench.automatic_masks`.

AR@10, AR@100, AR@1000 and mIoU as `gen2seg.evaluation.automatic` counts them, the mean over the sets of GEN2SEG_DATA.
Every set is halved (every second picture): the constants of `instances()` and the setting of every rival (by AR@100)
come from pictures of the first half, the figures from the second. All work at the size at which the network paints;
rivals are given the picture, and also the network's colours. Their regions have no scores: the larger ones come
first, which suits them best. Of a thousand masks and more only the first thousand count.

    python -m bench.automatic_masks [--data FOLDER] [--pictures 24] [--tuned-on 8] [--half first] [--sets] [BUNDLE]
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.rivals.partitions import partitioners
from gen2seg.evaluation.automatic import LIMITS, MaskCounts, average_recall, count_masks
from gen2seg.evaluation.datasets import Sample, find_samples, read_labels
from gen2seg.evaluation.systems import Segments
from gen2seg_runtime import Encoding, Segmenter
from gen2seg_runtime.images import read_image
from gen2seg_runtime.resample import resize_colors, resize_labels


@dataclass
class Totals:
    """What one method found in one set."""

    found: np.ndarray = field(default_factory=lambda: np.zeros((len(LIMITS), 10)))
    best: list[np.ndarray] = field(default_factory=list)
    masks: int = 0
    pictures: int = 0
    seconds: float = 0.0

    def add(self, counts: MaskCounts, seconds: float) -> None:
        self.found = self.found + counts.found
        self.best.append(counts.best)
        self.masks += counts.masks
        self.pictures += 1
        self.seconds += seconds

    def row(self) -> np.ndarray:
        """AR at each of LIMITS, mIoU, masks and milliseconds a picture."""
        best = np.concatenate(self.best)
        recall = average_recall(self.found, len(best))
        return np.array([*recall, best.mean(), self.masks / self.pictures, 1e3 * self.seconds / self.pictures])


@dataclass(frozen=True)
class Picture:
    """A picture and its colours at the size at which the network paints, and who is where in it."""

    image: np.ndarray
    encoding: Encoding
    truth: np.ndarray
    instances: list[int]


def our_instances(picture: Picture) -> tuple[MaskCounts, float]:
    start = time.perf_counter()
    found = picture.encoding.instances()
    seconds = time.perf_counter() - start
    segments = Segments(found.labels, [record.score for record in found.records])
    return count_masks(segments, picture.truth, picture.instances), seconds


def our_hierarchy(picture: Picture) -> tuple[MaskCounts, float]:
    start = time.perf_counter()
    found = picture.encoding.instances(hierarchy=True)
    seconds = time.perf_counter() - start
    return count_masks(found.masks(), picture.truth, picture.instances), seconds


def _rival(name: str, setting: float, painted: bool) -> Callable[[Picture], tuple[MaskCounts, float]]:
    def count(picture: Picture) -> tuple[MaskCounts, float]:
        source = picture.encoding.colors if painted else picture.image
        start = time.perf_counter()
        regions = partitioners()[name].cut(source, setting)
        seconds = time.perf_counter() - start
        regions = resize_labels(regions.astype(np.int32), picture.truth.shape)  # type: ignore[arg-type]
        segments = Segments(regions + 1, np.bincount(regions.ravel()).tolist())
        return count_masks(segments, picture.truth, picture.instances), seconds

    return count


Method = Callable[[Picture], tuple[MaskCounts, float]]


def measure(pictures: Iterator[tuple[str, Picture]], methods: dict[str, Method]) -> dict[str, dict[str, Totals]]:
    """Method -> set -> totals."""
    results: dict[str, dict[str, Totals]] = {name: defaultdict(Totals) for name in methods}
    for set_name, picture in pictures:
        for name, method in methods.items():
            results[name][set_name].add(*method(picture))
    return results


def mean_row(sets: dict[str, Totals]) -> np.ndarray:
    return np.mean([totals.row() for totals in sets.values()], axis=0)


def load(samples: list[Sample], segmenter: Segmenter) -> Iterator[tuple[str, Picture]]:
    for sample in samples:
        image = read_image(sample.image)
        truth = read_labels(sample, (image.shape[0], image.shape[1]))
        if not truth.any():
            continue
        encoding = segmenter.encode(image)
        small = resize_colors(image, encoding.colors.shape[:2])  # type: ignore[arg-type]
        yield sample.set_name, Picture(small, encoding, truth, np.unique(truth[truth > 0]).tolist())


def halves(data: Path, limit: int) -> tuple[list[Sample], list[Sample]]:
    """Every second picture of each set, and the others."""
    by_set: dict[str, list[Sample]] = defaultdict(list)
    for sample in find_samples(data, None, limit):
        by_set[sample.set_name].append(sample)
    first = [sample for samples in by_set.values() for sample in samples[0::2]]
    return first, [sample for samples in by_set.values() for sample in samples[1::2]]


def choose(pictures: Iterator[tuple[str, Picture]]) -> dict[str, Method]:
    """The rivals, each at its setting with the best AR@100."""
    ways = {
        (name, painted, setting): _rival(name, setting, painted)
        for name, each in partitioners().items()
        for painted in (False, True)
        for setting in each.settings
    }
    results = measure(pictures, {str(key): method for key, method in ways.items()})
    chosen: dict[str, Method] = {}
    for painted in (False, True):
        for name, each in partitioners().items():
            keys = [(name, painted, setting) for setting in each.settings]
            best = max(keys, key=lambda key: mean_row(results[str(key)])[LIMITS.index(100)])
            chosen[f"{name} {best[2]:g}, {'colours' if painted else 'picture'}"] = ways[best]
    return chosen


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", type=Path, help="default: the embedded model")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GEN2SEG_DATA", "../shared/data")))
    parser.add_argument("--pictures", type=int, default=24, help="of a set, both halves together")
    parser.add_argument("--tuned-on", type=int, default=8, help="pictures of a set from which halves rivals are tuned")
    parser.add_argument("--half", choices=("first", "second"), default="second", help="which pictures are judged")
    parser.add_argument("--sets", action="store_true", help="also instances() set by set")
    options = parser.parse_args()
    segmenter = Segmenter.open(options.bundle)
    methods = {"instances()": our_instances, "instances(hierarchy=True)": our_hierarchy}
    first, second = halves(options.data, options.pictures)
    if options.tuned_on:
        few = [sample for sample in halves(options.data, options.tuned_on)[0] if sample in first]
        methods |= choose(load(few or first, segmenter))
    results = measure(load(first if options.half == "first" else second, segmenter), methods)
    some = next(iter(results.values()))
    pictures = sum(totals.pictures for totals in some.values())
    print(f"{pictures} pictures of {len(some)} sets, the {options.half} half of each\n")
    print("| | AR@10 | AR@100 | AR@1000 | mIoU | masks a picture | ms a picture |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, sets in results.items():
        _print_row(name, mean_row(sets))
    if options.sets:
        print("\n| set | AR@10 | AR@100 | AR@1000 | mIoU | masks a picture | ms a picture |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for name in list(results)[:2]:
            for set_name, totals in results[name].items():
                _print_row(f"{set_name}, {name}", totals.row())


def _print_row(name: str, row: np.ndarray) -> None:
    print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in row[:4]) + f" | {row[4]:.0f} | {row[5]:.0f} |")


if __name__ == "__main__":
    main()
