"""Long runs: the same bits from many threads, and no growth of memory.

    python -m tests.robustness.soak [--encodes 20000] [--prompts 1000] [--threads 16]

The embedded network on small pictures of changing sizes (its manifest without the enlargement to 384 pixels).
Memory: the line that fits the resident size after the first quarter of the encodes best must not rise by more than
`slope_bound` bytes an encode.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gen2seg_runtime import Encoding, Segmenter, default_bundle_path
from gen2seg_runtime.formats import encode_rle

_SIZES = ((33, 47), (64, 64), (50, 96), (90, 41), (21, 88))
_WARM_SHARE = 0.25


def small_bundle(folder: Path) -> Path:
    """The embedded bundle, but small pictures stay small."""
    source, target = default_bundle_path(), folder / "small"
    shutil.copytree(source, target)
    manifest = json.loads((source / "bundle.json").read_text())
    manifest["input"]["resize"]["enlarge_below"] = 0
    (target / "bundle.json").write_text(json.dumps(manifest))
    return target


def picture(index: int) -> np.ndarray:
    """Blocks of colour under noise, another one for each number, of one of five sizes."""
    rng = np.random.default_rng(index)
    height, width = _SIZES[index % len(_SIZES)]
    blocks = rng.integers(0, 256, (4, 4, 3), np.uint8).repeat(height // 4 + 1, 0).repeat(width // 4 + 1, 1)
    noise = rng.integers(0, 30, (height, width, 3), np.uint8)
    return np.maximum(blocks[:height, :width], noise)


@dataclass(frozen=True)
class MemoryReport:
    """Encodes, seconds, the fitted slope in bytes an encode and its bound, resident MiB warm and at the end."""

    encodes: int
    seconds: float
    slope: float
    slope_bound: float
    warm_mib: float
    last_mib: float

    @property
    def passed(self) -> bool:
        return self.slope <= self.slope_bound

    def __str__(self) -> str:
        return (
            f"{self.encodes} encodes with prompts in {self.seconds:.0f} s: resident {self.warm_mib:.1f} MiB after "
            f"warm-up, {self.last_mib:.1f} MiB at the end; slope {self.slope:.1f} bytes an encode "
            f"(bound {self.slope_bound:g})"
        )


def slope_bound(encodes: int) -> float:
    """Two MiB over the encodes after warm-up: the allocator's own unrest was a tenth of that."""
    return 2 * (1 << 20) / (encodes * (1 - _WARM_SHARE))


def soak_memory(segmenter: Segmenter, encodes: int, save_to: Path) -> MemoryReport:
    """Encode, prompt in both modes, find instances and edges, save and load, again and again."""
    every = max(1, encodes // 400)
    places, sizes = [], []
    start = time.monotonic()
    for i in range(encodes):
        encoding = segmenter.encode(picture(i % 997))
        height, width = encoding.size
        encoding.mask([(i % width, i % height)])
        encoding.mask([(i % width, i % height), (0, 0)], labels=[1, 0], mode="reference")
        if i % 10 == 0:
            encode_rle(encoding.instances().labels > 0)
            encoding.edges()
        if i % 50 == 0:
            encoding.save(save_to)
            Encoding.load(save_to)
        del encoding
        if i >= encodes * _WARM_SHARE and i % every == 0:
            places.append(i)
            sizes.append(resident_bytes())
    slope = float(np.polyfit(places, sizes, 1)[0])
    seconds = time.monotonic() - start
    return MemoryReport(encodes, seconds, slope, slope_bound(encodes), sizes[0] / 2**20, sizes[-1] / 2**20)


def resident_bytes() -> int:
    """Resident memory of this process (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def check_threads(segmenter: Segmenter, threads: int, prompts: int) -> list[str]:
    """Threads that ask the same encodings at the same time, from their very first click on.

    Returns:
        What differed from the answers of one thread, in words; empty where every bit agrees.
    """
    pictures = [picture(i) for i in range(len(_SIZES))]
    alone = [segmenter.encode(each) for each in pictures]
    shared = [segmenter.encode(each) for each in pictures]
    calls = _calls(alone)
    # Every thread asks the same questions, but begins with another one.
    expected = [_digest(call(alone[index])) for index, call in calls]
    differences: list[str] = []
    gate = threading.Barrier(threads)

    def work(number: int) -> None:
        gate.wait()
        try:
            for step in range(prompts):
                place = (step + number * 7) % len(calls)
                index, call = calls[place]
                if _digest(call(shared[index])) != expected[place]:
                    differences.append(f"thread {number}, step {step}: question {place} has another answer")
                if step % 100 == 0 and _digest(segmenter.encode(pictures[index]).colors) != _digest(
                    alone[index].colors
                ):
                    differences.append(f"thread {number}, step {step}: encode gave other colours")
        except Exception as error:
            differences.append(f"thread {number}: {type(error).__name__}: {error}")

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return differences


def _calls(encodings: list[Encoding]) -> list[tuple[int, Callable[[Encoding], Any]]]:
    """(number of the encoding, a question to it), 125 of them."""
    calls: list[tuple[int, Callable[[Encoding], Any]]] = []
    for index, encoding in enumerate(encodings):
        height, width = encoding.size
        for k in range(5):
            x, y = (k * 7 + 3) % width, (k * 11 + 2) % height
            calls += [
                (index, lambda e, x=x, y=y: e.mask([(x, y)], mode="metric")),
                (index, lambda e, x=x, y=y: e.mask([(x, y)], mode="reference")),
                (index, lambda e, x=x, y=y: e.masks([[(x, y), (0, 0)], [(x, y)]], labels=[[1, 0], None])),
                (index, lambda e, x=x, y=y: e.mask_box((x, y, x + 9, y + 9))),
                (index, lambda e, x=x, y=y: e.refine((0, 0), 0, e.refine((x, y), 1)).mask),
            ]
    return calls


def _digest(array: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes() + repr(array.shape).encode()).digest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encodes", type=int, default=20_000)
    parser.add_argument("--prompts", type=int, default=1_000, help="of each thread")
    parser.add_argument("--threads", type=int, default=16)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gen2seg-soak-") as folder:
        segmenter = Segmenter.open(small_bundle(Path(folder)), threads=1)
        start = time.monotonic()
        differences = check_threads(segmenter, asked.threads, asked.prompts)
        seconds = time.monotonic() - start
        print(f"{asked.threads} threads × {asked.prompts} prompts in {seconds:.0f} s: {len(differences)} differences")
        print("\n".join(differences[:20]), end="\n" if differences else "", flush=True)
        memory = soak_memory(segmenter, asked.encodes, Path(folder) / "a.enc.png")
        print(memory)
    return 1 if differences or not memory.passed else 0


if __name__ == "__main__":
    sys.exit(main())
