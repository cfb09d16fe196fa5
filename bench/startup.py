"""How long a fresh process takes to import the runtime, and to its first mask with the embedded model.

    python -m bench.startup [--runs 9] [--graph-cache DIR|off]

Each figure is the median over processes, in milliseconds from the process' first line of Python on, by the clock and
as processor time. The interpreter's own start is not in it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
_CHILD = """
import time
clock, cpu = time.perf_counter(), time.process_time()
marks = {}
def mark(name):
    marks[name] = [1000 * (time.perf_counter() - clock), 1000 * (time.process_time() - cpu)]
import gen2seg_runtime
mark("import gen2seg_runtime")
import numpy as np
mark("NumPy is there")
from gen2seg_runtime import Segmenter
mark("Segmenter is there")
segmenter = Segmenter.open()
mark("opened")
encoding = segmenter.encode(np.full((384, 384, 3), 120, np.uint8))
mark("first encode")
encoding.mask([(100, 100)])
mark("first mask")
import json
print(json.dumps(marks))
"""


def measure(runs: int, graph_cache: str) -> dict[str, tuple[float, float]]:
    """Milestone -> median (clock, processor) milliseconds over fresh processes; the first one only warms the disk."""
    path = os.pathsep.join(str(ROOT / part) for part in ("", "export", "runtime", "kernels"))
    environment = os.environ | {"PYTHONPATH": path, "GEN2SEG_GRAPH_CACHE": graph_cache}
    found = []
    for _ in range(runs + 1):
        child = subprocess.run(
            [sys.executable, "-c", _CHILD], env=environment, capture_output=True, text=True, check=True
        )
        found.append(json.loads(child.stdout))
    return {
        name: (
            statistics.median(each[name][0] for each in found[1:]),
            statistics.median(each[name][1] for each in found[1:]),
        )
        for name in found[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--graph-cache", help="a folder, or off; default: off, then a fresh folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as fresh:
        for cache in [asked.graph_cache] if asked.graph_cache else ["off", fresh]:
            print(f"graph cache {'off' if cache == 'off' else 'on'}:")
            for name, (clock, cpu) in measure(asked.runs, cache).items():
                print(f"  {name:24} {clock:7.0f} ms, processor {cpu:7.0f} ms")


if __name__ == "__main__":
    main()
