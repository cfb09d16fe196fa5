"""`find_instances` needs so many bytes a pixel and no more, results included (measured in a process of its own)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Prints the most bytes a pixel that the process needed beyond what it had with the colours in memory.
MEASURE = """
import sys
import cv2
import numpy as np
from gen2seg_runtime.instances import find_instances

def status(name):
    with open("/proc/self/status") as file:
        return 1024 * int(next(line for line in file if line.startswith(name)).split()[1])

height, width, coarse, hierarchy = (int(value) for value in sys.argv[1:])
rng = np.random.default_rng(0)
seeds = rng.integers(0, 256, (height // coarse, width // coarse, 3), np.uint8)
colors = cv2.resize(seeds, (width, height), interpolation=cv2.INTER_CUBIC) if coarse > 1 else seeds
find_instances(colors[:64, :64], hierarchy=True)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS")
found = find_instances(colors, hierarchy=bool(hierarchy))
assert len(found)
print((status("VmHWM") - before) / (height * width))
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("size", "coarse", "hierarchy", "most"),
    [
        ((2160, 3840), 40, False, 32),  # 4K, regions of some 1,600 pixels
        ((1200, 1000), 1, False, 64),  # noise, where every sixteenth pixel begins a leaf
        ((1200, 1000), 1, True, 72),
    ],
    ids=["4K", "noise", "noise, hierarchy"],
)
def test_memory_is_bounded(size: tuple[int, int], coarse: int, hierarchy: bool, most: float):
    path = os.pathsep.join(str(ROOT / part) for part in ("", "export", "runtime", "kernels"))
    arguments = [str(value) for value in (*size, coarse, int(hierarchy))]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < most
