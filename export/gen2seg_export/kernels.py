"""The kernels that a GPU runtime launches, compiled ahead of time, for bundles made for GPUs."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from gen2seg_export.bundle_writer import package_versions
from gen2seg_export.errors import ExportError
from gen2seg_export.parts import DONE, Parts, digest_json, file_facts, link_or_copy
from gen2seg_export.registry import GPU_TARGETS

COMPILER = "gen2seg_kernels.aot"
FOLDER = "kernels"
TIMEOUT = 1800  # seconds


def add_kernels(parts: Parts, root: Path, targets: Sequence[str]) -> None:
    """Put `kernels/` (a .cubin per kernel and architecture, and their launch contract) into a bundle for GPUs.

    Does nothing for bundles without a GPU target.

    Raises:
        ExportError: the compiler is missing or fails.
    """
    if not GPU_TARGETS & set(targets):
        return
    if find_spec(COMPILER) is None or find_spec("triton") is None:
        raise ExportError("a bundle for GPUs carries compiled kernels, and compiling them needs triton")
    names = runtime_kernels()

    def make(folder: Path) -> Mapping[str, object]:
        command = [sys.executable, "-m", COMPILER, "-o", str(folder)]
        for name in names:
            command += ["--kernel", name]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=True)
        except subprocess.CalledProcessError as error:
            raise ExportError(f"the kernels could not be compiled: {error.stderr.strip()[-800:]}") from error
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"the kernels could not be compiled within {TIMEOUT} s") from error
        return {"kernels": list(names)}

    folder, _, _ = parts.part(
        FOLDER, {"kernels": list(names), "code": _kernel_code(), "versions": package_versions()}, make
    )
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != DONE:
            link_or_copy(path, root / FOLDER / path.name)


def runtime_kernels() -> tuple[str, ...]:
    """Names of the compiled kernels that painting colours and prompting need."""
    discover = import_module(f"{COMPILER}.discover")
    modules = [module for module in discover.triton_modules() if ".prompt." in module or ".colors." in module]
    names = (variant.name for variant in discover.all_variants(modules))
    return tuple(sorted(dict.fromkeys(names)))


def _kernel_code() -> str:
    spec = find_spec("gen2seg_kernels")
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    return digest_json([file_facts(path)["sha256"] for path in sorted(root.rglob("*.py"))])
