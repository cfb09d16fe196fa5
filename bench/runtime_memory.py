"""Peak memory of one way to a mask, measured in a process of its own.

    python -m bench.runtime_memory ours onnxruntime

One line of JSON on stdout: what was done so far -> megabytes that were resident at most until then.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.measure import resident_peak

SIZE = (480, 640)
Peaks = dict[str, float]


def measure(*job: str) -> Peaks:
    """Run a job of `JOBS` in a fresh process.

    Raises:
        RuntimeError: it failed, with the end of what it said.
    """
    command = [sys.executable, "-m", "bench.runtime_memory", *job]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    if done.returncode:
        raise RuntimeError(f"{' '.join(job)}: {done.stderr.strip()[-1000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _ours(note: Callable[[str], None], backend: str) -> None:
    from gen2seg_runtime import Segmenter

    segmenter = Segmenter.open(backend=backend)
    note("open")
    encoding = segmenter.encode(_picture())
    note("encode")
    encoding.masks([[(x, 200)] for x in range(0, 500, 5)])
    note("100 clicks")
    encoding.instances()
    encoding.edges()
    note("instances, edges")


def _bare(note: Callable[[str], None], backend: str) -> None:
    from bench.rivals.bare import bare_session
    from gen2seg_runtime.bundle import Bundle
    from gen2seg_runtime.threads import thread_count

    run = bare_session(Bundle.open(), backend, thread_count())
    note("open")
    run(np.zeros((1, 3, *SIZE), np.float32))
    note("encode")


def _scripts(note: Callable[[str], None]) -> None:
    from bench.rivals.prompt import prompt_full_image
    from bench.rivals.scripts import TorchScripts
    from gen2seg_runtime.bundle import Bundle
    from gen2seg_runtime.threads import thread_count

    scripts = TorchScripts(Bundle.open().manifest, thread_count())
    note("open")
    colors = scripts.encode(_picture())
    note("encode")
    prompt_full_image(colors, 320, 200)
    note("1 click")


def _sam(note: Callable[[str], None], folder: str) -> None:
    # Only what inference needs is imported: the rival's module brings PyTorch with it, which its users do without.
    import onnxruntime

    from gen2seg_runtime.threads import thread_count

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    encoder, decoder = (
        onnxruntime.InferenceSession(f"{folder}/{part}.onnx", options, providers=["CPUExecutionProvider"])
        for part in ("encoder", "decoder")
    )
    note("open")
    features = encoder.run(None, {encoder.get_inputs()[0].name: np.zeros((1, 3, 1024, 1024), np.float32)})[0]
    note("encode")
    click = (features, np.full((1, 1, 1, 2), 500, np.float32), np.ones((1, 1, 1), np.int64))
    decoder.run(None, dict(zip([item.name for item in decoder.get_inputs()], click, strict=True)))
    note("1 click")


JOBS: dict[str, Callable[..., None]] = {"ours": _ours, "bare": _bare, "scripts": _scripts, "sam": _sam}


def _picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def _main(name: str, *arguments: str) -> None:
    peaks: Peaks = {}
    # Not getrusage: its peak starts with that of the process that started this one.
    JOBS[name](lambda what: peaks.__setitem__(what, resident_peak() / 1e6), *arguments)
    print(json.dumps(peaks))
    sys.stdout.flush()
    os._exit(0)  # what libraries do at their end is not what is measured


if __name__ == "__main__":
    _main(*sys.argv[1:])
