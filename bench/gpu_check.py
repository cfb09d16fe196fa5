"""`make gpu-check`: what this version runs on an NVIDIA GPU, proven on one, or said to be unproven.

So far that is the training side's loss; the kernels and the engines follow with their own checks.
"""

import sys

import numpy as np
import torch

from gen2seg_kernels import instance_coloring_loss
from gen2seg_kernels.loss.reference import instance_coloring_reference

TOLERANCE = 1e-5


def main() -> int:
    if not torch.cuda.is_available():
        print("gpu-check: no NVIDIA GPU here; nothing was run and nothing is claimed")
        return 0
    print(f"gpu-check: {torch.cuda.get_device_name()}, torch {torch.__version__}")
    rng = np.random.default_rng(0)
    worst = 0.0
    for instances in (1, 20, 400):
        labels = rng.integers(0, instances + 1, (1, 96, 128))
        colors = rng.uniform(0, 255, (1, 3, 96, 128)).astype(np.float32)
        expected, _ = instance_coloring_reference(colors, labels)
        got = instance_coloring_loss(torch.from_numpy(colors).cuda(), torch.from_numpy(labels).cuda())
        worst = max(worst, abs(float(got) - expected) / max(1e-12, abs(expected)))
    print(f"loss on the device against float64: relative difference {worst:.2e}, allowed {TOLERANCE:.0e}")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
