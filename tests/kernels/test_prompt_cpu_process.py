"""The C path and the process around it: fork, memory, and what happens without the extension."""

import os
import subprocess
import sys

import numpy as np
import pytest

native = pytest.importorskip("gen2seg_kernels._native", reason="the package was installed without its C extension")

CLICK = """
import numpy as np
from gen2seg_kernels import prompt_mask
image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
print(int(prompt_mask(image, [(5, 7)]).sum()))
"""


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )


def test_without_the_extension_one_warning_names_the_reason():
    code = "import sys; sys.modules['gen2seg_kernels._native'] = None" + CLICK + "prompt_mask(image, [(5, 7)])\n"
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RuntimeWarning") == 1
    assert "import of gen2seg_kernels._native halted" in done.stderr
    assert done.stdout == run(CLICK).stdout


def test_the_environment_chooses():
    plain = run(CLICK + "import sys; print('gen2seg_kernels._native' in sys.modules)", GEN2SEG_KERNELS="reference")
    assert plain.stdout.split()[1] == "False"
    assert plain.stderr == ""
    assert run(CLICK, GEN2SEG_KERNELS="cpu").stdout.split()[0] == plain.stdout.split()[0]
    missing = run("import sys; sys.modules['gen2seg_kernels._native'] = None" + CLICK, GEN2SEG_KERNELS="cpu")
    assert missing.returncode != 0
    assert "ImportError" in missing.stderr or "ModuleNotFoundError" in missing.stderr
    assert "must be cpu or reference, got 'gpu'" in run(CLICK, GEN2SEG_KERNELS="gpu").stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_threads_of_its_own():
    code = (
        CLICK
        + """
import os
for _ in range(3):
    prompt_mask(image, [(5, 7)], threads=2)
    child = os.fork()
    if child == 0:
        same = prompt_mask(image, [(5, 7)], threads=2).sum() == prompt_mask(image, [(5, 7)], threads=1).sum()
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
"""
    )
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_calls_at_one_size_allocate_nothing_after_the_first():
    resource = pytest.importorskip("resource")
    image = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    out = np.empty((1, 600, 800), bool)
    points, signs, starts = np.array([[5.0, 7.0]]), np.ones(1, bool), np.array([0, 1])

    def faults(calls):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(calls):
            native.prompt_reference(image, points, signs, starts, out, 1, 0.01, 3.0)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults(2)
    # Fresh memory of the scratch's size would cost about a thousand page faults per call.
    assert faults(20) < 200
