"""Every Triton kernel compiles for every architecture, without spills and within the committed table of resources.

The slowest test of the suite: it compiles all of them afresh, a minute or two on two cores. After a change that is
meant: python -m gen2seg_kernels.aot --update-table
"""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")
pytest.importorskip("torch")

from gen2seg_kernels.aot.architectures import ARCHITECTURES, is_exact
from gen2seg_kernels.aot.contract import read_contract, read_cubin
from gen2seg_kernels.aot.resources import complaints, read_table


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The output of the command that users run; a process of its own, as this one may interpret kernels."""
    folder = tmp_path_factory.mktemp("kernels")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "gen2seg_kernels.aot", "--all", "--check", "-o", str(folder)]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return folder, subprocess.run(command, capture_output=True, text=True, env=environment)


def test_nothing_spills_grows_or_is_left_out(compiled):
    folder, done = compiled
    assert done.returncode == 0, done.stderr
    assert complaints(read_contract(folder), read_table()[1]) == []
    assert "0 bytes spilled; compiled, not run on a GPU" in done.stdout


def test_every_kernel_has_every_architecture_and_its_file(compiled):
    folder, _ = compiled
    contract = read_contract(folder)
    prefixes = {name.partition("_")[0] for name in contract.kernels}
    assert prefixes == {"colors", "loss", "prompt"}
    for kernel in contract.kernels.values():
        assert tuple(target.sm for target in kernel.targets) == ARCHITECTURES
        assert [parameter.scratch for parameter in kernel.parameters[-2:]] == [True, True]
        for target in kernel.targets:
            read_cubin(folder, target)  # checks the digest
            assert target.exact == is_exact(target.sm)
