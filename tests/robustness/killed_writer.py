"""A process that writes two versions of every kind of output in turn until it is killed; see test_killed_writers.py."""

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gen2seg_runtime import Encoding
from gen2seg_runtime.files import atomic_directory
from gen2seg_runtime.formats import FORMATS

FOLDER_FILES = 5


def encodings() -> list[Encoding]:
    """Two encodings whose every output differs."""
    rng = np.random.default_rng(7)
    colors = [np.zeros((60, 80, 3), np.uint8) for _ in range(2)]
    colors[0][5:25, 5:30] = (200, 20, 20)
    colors[1][30:55, 40:70] = (20, 200, 20)
    # Noise makes the files large enough to be caught half written.
    noisy = [np.maximum(c, rng.integers(0, 9, c.shape, np.uint8)) for c in colors]
    return [Encoding(c, (480, 640), bundle_id="0" * 64, bundle_name=f"version {i}") for i, c in enumerate(noisy)]


def writers(folder: Path) -> list[Callable[[Encoding], None]]:
    """Each writes one output of an encoding under a fixed name."""
    found = {}

    def instances(encoding: Encoding):
        return found.setdefault(encoding.bundle_name, encoding.instances())

    def write_folder(encoding: Encoding) -> None:
        with atomic_directory(folder / "results", overwrite=True) as place:
            for i in range(FOLDER_FILES):
                (place / f"{i}.txt").write_text(encoding.bundle_name)

    calls: list[Callable[[Encoding], None]] = [lambda e: e.save(folder / "a.enc.png"), write_folder]
    for kind in FORMATS.values():
        calls.append(lambda e, kind=kind: kind.write(folder / f"a{kind.suffix}", instances(e), "photo.jpg"))
    return calls


def main() -> None:
    folder = Path(sys.argv[1])
    versions, calls = encodings(), writers(folder)
    for call in calls:
        call(versions[0])
    os.write(1, b"ready\n")
    for i in itertools.count(1):
        for call in calls:
            call(versions[i % 2])


if __name__ == "__main__":
    main()
