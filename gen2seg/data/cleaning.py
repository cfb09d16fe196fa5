"""Which pictures of a data set are trained on, found by reading every label map once and remembered.

Source: gen2seg (arXiv 2505.15263): pictures without any instance are dropped, and scenes with fewer than 10 objects.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gen2seg_runtime.files import atomic_write

from .categories import restricted, usable
from .sets import DataSet, DataSetError, Frame

VARIABLE = "GEN2SEG_CACHE"
_VERSION = 2
_SAVE_EVERY = 2000  # pictures read between two writes of the cache

Progress = Callable[[int, int], None]  # pictures done, pictures in all


@dataclass(frozen=True)
class Cleaned:
    """What is left of a data set, and what was dropped for which reason."""

    frames: tuple[Frame, ...]
    unreadable: tuple[str, ...]  # one message a file
    without_objects: int
    poor_scenes: int  # pictures in scenes with too few objects
    hidden: int  # too much area of other categories, or no allowed object

    def describe(self) -> str:
        """One line of text."""
        dropped = {
            "unreadable": len(self.unreadable),
            "without objects": self.without_objects,
            "in scenes with too few objects": self.poor_scenes,
            "with too much of other categories": self.hidden,
        }
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count)
        return f"{len(self.frames):,} pictures" + (f"; dropped: {reasons}" if reasons else "")


def clean(
    data: DataSet, least_objects: int = 0, categories: Collection[str] = (), progress: Progress | None = None
) -> Cleaned:
    """Read the label maps that are not in the cache, and choose.

    Args:
        data: the data set.
        least_objects: scenes with fewer objects over all their pictures are dropped.
        categories: train on these only; none for all.
        progress: told how far the reading is.
    Raises:
        DataSetError: nothing is left.
    """
    facts = _facts(data, categories, progress or (lambda _done, _all: None))
    objects: dict[str, set[int]] = defaultdict(set)
    for frame in data.frames:
        objects[frame.scene].update(facts[frame.image].get("ids", ()))
    kept, unreadable, empty, poor, hidden = [], [], 0, 0, 0
    for frame in data.frames:
        fact = facts[frame.image]
        if "error" in fact:
            unreadable.append(fact["error"])
        elif not fact["ids"]:
            empty += 1
        elif len(objects[frame.scene]) < least_objects:
            poor += 1
        elif not fact["usable"]:
            hidden += 1
        else:
            kept.append(frame)
    result = Cleaned(tuple(kept), tuple(unreadable), empty, poor, hidden)
    if not kept:
        raise DataSetError(f"{data.root}: nothing to train on: {result.describe()}")
    return result


def _facts(data: DataSet, categories: Collection[str], progress: Progress) -> dict[str, dict[str, Any]]:
    """For each picture: the ids in it and whether it is usable, or the error that its files give."""
    path = _cache_file(data, categories)
    known = _read_cache(path)
    facts: dict[str, dict[str, Any]] = {}
    fresh = 0
    for done, frame in enumerate(data.frames, 1):
        stamp = _stamp(data.root, frame)
        fact = known.get(frame.image)
        if fact is None or fact["stamp"] != stamp:
            fact = {"stamp": stamp, **_read_fact(data, frame, categories)}
            fresh += 1
            if fresh % _SAVE_EVERY == 0:  # an interrupted first reading of a large set goes on from here
                _write_cache(path, known | facts)
        facts[frame.image] = fact
        progress(done, len(data.frames))
    if fresh:  # what another part of the same folder (COCO's other split) has left there stays
        _write_cache(path, known | facts)
    return facts


def _read_fact(data: DataSet, frame: Frame, categories: Collection[str]) -> dict[str, Any]:
    try:
        sample = data.read(frame, categories=bool(categories))
    except DataSetError as error:
        return {"error": str(error)}
    ids = [int(i) for i in np.unique(sample.ids) if i]
    return {"ids": ids, "usable": usable(restricted(sample, categories)) if categories else True}


def _stamp(root: Path, frame: Frame) -> list[int | str]:
    """Changes when a file of the frame does, or when the frame gets its labels from another one."""
    stamp: list[int | str] = [frame.labels]
    file, _, entry = frame.labels.rpartition("#")
    for name in (frame.image, file if file and entry.isdigit() else frame.labels):
        try:
            status = (root / name).stat()
            stamp += [status.st_mtime_ns, status.st_size]
        except OSError:
            stamp += [0, 0]
    return stamp


def _cache_file(data: DataSet, categories: Collection[str]) -> Path:
    key = json.dumps([_VERSION, data.kind, str(data.root.resolve()), sorted(categories)])
    base = os.environ.get(VARIABLE) or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gen2seg"
    return Path(base) / "data-sets" / f"{data.kind}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def _read_cache(path: Path) -> dict[str, dict[str, Any]]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # nothing remembered, or half a file: read the pictures again
    good = isinstance(known, dict) and all(isinstance(fact, dict) and "stamp" in fact for fact in known.values())
    return known if good else {}


def _write_cache(path: Path, facts: dict[str, dict[str, Any]]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(json.dumps(facts).encode())
    except OSError as error:
        raise DataSetError(f"{path}: cannot remember what is in the data set: {error}; set {VARIABLE}") from error
