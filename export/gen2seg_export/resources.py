"""What a bundle costs to run: latency and peak memory, measured in a process of its own without torch.

`python -m gen2seg_export.resources BUNDLE` prints the figures as JSON; `measure_resources` runs just that.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from gen2seg_export.errors import ExportError

RUNS = 7
SECONDS = 20.0  # that the repeated runs may take; a slow network is run once
PICTURE = (480, 640)  # height, width
TIMEOUT = 1200  # seconds


def measure_resources(root: Path, threads: int | None = None) -> dict[str, Any]:
    """Open the bundle in a fresh process, encode one picture several times, and say what that took.

    Returns:
        JSON values: `latency_ms` (median, least and most of up to `RUNS` calls of `Segmenter.encode`),
        `peak_memory_bytes` of that process (None where the system does not tell), and the machine.
    Raises:
        ExportError: the process failed or did not end in time.
    """
    command = [sys.executable, "-m", "gen2seg_export.resources", str(root), str(threads or 0)]
    # The child finds the packages where this process found them, installed or not.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    except subprocess.CalledProcessError as error:
        raise ExportError(f"the bundle could not be measured: {error.stderr.strip()[-800:]}") from error
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"the bundle could not be measured within {TIMEOUT} s") from error
    return json.loads(done.stdout)


def machine_description() -> dict[str, Any]:
    """Processor, cores and versions; nothing that names the machine or its folders."""
    import onnxruntime

    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _measure(root: Path, threads: int | None) -> dict[str, Any]:
    from gen2seg_runtime import Segmenter

    picture = np.random.default_rng(0).integers(0, 256, (*PICTURE, 3), dtype=np.uint8)
    start = time.perf_counter()
    segmenter = Segmenter.open(root, threads=threads)
    opened = time.perf_counter()
    segmenter.encode(picture)
    first = time.perf_counter()
    times = []
    for _ in range(max(1, min(RUNS, int(SECONDS / (first - opened))))):
        begin = time.perf_counter()
        segmenter.encode(picture)
        times.append(1000 * (time.perf_counter() - begin))
    return {
        "what": "measured once while exporting, on a machine that may have been busy; not a benchmark",
        "picture": list(PICTURE),
        "backend": segmenter.backend_name,
        "threads": threads,
        "open_ms": round(1000 * (opened - start), 1),
        "first_encode_ms": round(1000 * (first - opened), 1),
        "latency_ms": {
            "median": round(statistics.median(times), 1),
            "least": round(min(times), 1),
            "most": round(max(times), 1),
            "runs": len(times),
        },
        "peak_memory_bytes": _peak_memory(),
        "machine": machine_description(),
    }


def _peak_memory() -> int | None:
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: its figure outlives exec, and would be that of the exporter which started us.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return None


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]), int(sys.argv[2]) or None)))
