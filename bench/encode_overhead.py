"""What `Segmenter.encode` costs beyond the bare ONNX Runtime session, call by call in turn, on the embedded model.

    python -m bench.encode_overhead [--rounds 40] [--height 480] [--width 640] [--threads N] [--cpu-time]

One round runs the bare session and the whole encode once each, so that both meet the same state of the machine;
reported are the medians and the median of the rounds' differences. `--cpu-time` counts processor time (for one
thread, on a busy machine) in place of the clock's.
"""

import argparse
import time

import numpy as np

from gen2seg.data.scenes import render_scene
from gen2seg_runtime import Segmenter
from gen2seg_runtime.preprocess import network_input, plan_geometry


def measure(height: int, width: int, rounds: int, threads: int | None, cpu_time: bool) -> dict[str, float]:
    """Milliseconds: the bare session, the encode, and the difference; and that as a share of the session."""
    clock = time.process_time if cpu_time else time.perf_counter
    picture = np.ascontiguousarray(render_scene(11, max(height, width))[0][:height, :width])
    segmenter = Segmenter.open(threads=threads)
    spec = segmenter.manifest.input
    x = network_input(picture, spec, plan_geometry((height, width), spec))
    ((_, stage),) = segmenter._backend.sessions  # type: ignore[attr-defined]
    session, names, feed = stage._session, [stage._stage.output], {stage._stage.input: x}  # type: ignore[attr-defined]
    bare, whole = [], []
    for _ in range(rounds + 3):  # the first three only warm up
        start = clock()
        session.run(names, feed)
        middle = clock()
        segmenter.encode(picture)
        bare.append(middle - start)
        whole.append(clock() - middle)
    ours = 1000 * float(np.median(np.subtract(whole[3:], bare[3:])))
    network = 1000 * float(np.median(bare[3:]))
    return {"network": network, "encode": 1000 * float(np.median(whole[3:])), "ours": ours, "share": ours / network}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--cpu-time", action="store_true")
    asked = parser.parse_args()
    found = measure(asked.height, asked.width, asked.rounds, asked.threads, asked.cpu_time)
    print(
        f"{asked.width}×{asked.height}: session {found['network']:.2f} ms, encode {found['encode']:.2f} ms, "
        f"difference {found['ours']:+.2f} ms ({found['share']:+.1%})"
    )


if __name__ == "__main__":
    main()
