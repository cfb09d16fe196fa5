"""Every launch of painting and prompting through the REAL launcher: its contract check, with a FAKE driver under it."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton")

from gen2seg_kernels.aot.contract import FILE_NAME, Contract, Kernel, Parameter, Target, to_json
from gen2seg_kernels.launch import CompiledKernels
from gen2seg_kernels.prompt.metric import MetricCut
from gen2seg_kernels.prompt.request import Prompt, ReferenceCut
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.errors import BackendError, NetworkOutputError
from gen2seg_runtime.gpu.encoding import open_prompter
from gen2seg_runtime.gpu.launcher import open_kernels
from gen2seg_runtime.gpu.paint import DevicePainter
from gen2seg_runtime.gpu.prompt import DevicePrompter
from gen2seg_runtime.io_spec import OutputSpec

from .conftest import BundleMaker
from .fake_gpu import FakeDevice

CUBIN = b"not compiled"
PTX = {"i32": "u32", "fp32": "f32"}


class FakeDriver:
    """Keeps (kernel, grid, stream) of each launch."""

    def __init__(self, capability: int = 86) -> None:
        self.capability = capability
        self.launches: list[tuple[str, Any, int]] = []

    def compute_capability(self) -> int:
        return self.capability

    def max_shared_bytes(self) -> int:
        return 100 << 10

    def load(self, cubin: bytes, entry: str) -> tuple[Any, Any]:
        assert cubin == CUBIN
        return entry, entry

    def allow_shared_bytes(self, function: Any, size: int) -> None:
        raise AssertionError(function)

    def launch(self, function: Any, grid: Any, block: Any, shared_bytes: int, stream: int, arguments: int) -> None:
        self.launches.append((function, tuple(grid), stream))

    def unload(self, module: Any) -> None: ...


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A contract with every kernel's arguments, grid and constants, and nothing compiled behind it."""
    from gen2seg_kernels.aot.discover import all_variants

    root = tmp_path_factory.mktemp("kernels")
    kernels = {}
    variants = all_variants(["gen2seg_kernels.colors.triton", "gen2seg_kernels.prompt.triton"])
    for variant in variants:
        kinds = {name: kind for name, kind in variant.signature.items() if kind != "constexpr"}
        parameters = tuple(Parameter(name, kind, PTX.get(kind, "u64")) for name, kind in kinds.items())
        rules = [compile(rule, "rule", "eval").co_names for rule in variant.grid]
        only_grid = sorted(set().union(*rules) - {"cdiv"} - set(kinds) - set(variant.constexprs))
        file = f"{variant.name}.sm_86.cubin"
        (root / file).write_bytes(CUBIN)
        digest = hashlib.sha256(CUBIN).hexdigest()
        numbers = (0, 32, 0, 0, 0)
        target = Target(86, False, file, len(CUBIN), digest, variant.grid, (128, 1, 1), *numbers, variant.constexprs)
        kernels[variant.name] = Kernel(variant.name, "", variant.name, parameters, tuple(only_grid), (target,))
    (root / FILE_NAME).write_text(to_json(Contract("3.8", kernels)))
    return root


def test_the_launcher_takes_every_launch(folder: Path):
    device, driver = FakeDevice(), FakeDriver()
    kernels = CompiledKernels(folder, driver=driver)
    prompter = DevicePrompter(device, kernels)
    colors = prompter.load(np.zeros((20, 50, 3), np.uint8))
    prompt = Prompt(np.array([[3.0, 4.0], [40.0, 19.0]]), np.array([True, False]))
    prompter.masks(colors, [prompt, prompt], MetricCut())
    prompter.masks(colors, [prompt], ReferenceCut())
    prompter.mask_with_confidence(colors, prompt, MetricCut())
    painter = DevicePainter(device, kernels)
    raw = device.allocate(12 * 32 * 64)
    stream = device.open_stream()
    with pytest.raises(NetworkOutputError, match="or are none"):  # the fake wrote no range
        painter.paint(raw, (32, 64), (20, 50), OutputSpec(normalization="sd", range=None), stream)
    for gamma in (None, 0.7):
        painter.paint(raw, (32, 64), (20, 50), OutputSpec(gamma=gamma), stream)
    launched = {name for name, _, _ in driver.launches}
    assert launched == set(kernels.contract.kernels)
    assert driver.launches[0] == ("prompt_pack", (1, 1, 1), 7001)
    assert ("prompt_near", (3 * 2, 4, 1), 7001) in driver.launches
    assert ("colors_paint", (1, 3, 1), stream) in driver.launches


def test_a_gpu_that_nothing_was_compiled_for(folder: Path):
    with pytest.raises(BackendError, match=r"cuda:0: .*sm_90.*sm_86"):
        DevicePrompter(FakeDevice(), CompiledKernels(folder, driver=FakeDriver(90)))


def test_a_bundle_without_kernels(make_bundle: BundleMaker):
    with pytest.raises(BackendError, match="holds no compiled kernels"):
        open_kernels(Bundle.open(make_bundle()))


def test_no_driver(make_bundle: BundleMaker, folder: Path):
    try:
        import ctypes

        ctypes.CDLL("libcuda.so.1")
        pytest.skip("there is a driver here")
    except OSError:
        pass
    files = {"model.onnx": ("model", b"graph"), "kernels/kernels.json": ("kernel", (folder / FILE_NAME).read_bytes())}
    bundle = Bundle.open(make_bundle(None, files))
    for opened in (open_kernels, open_prompter):
        with pytest.raises(BackendError, match=r"CUDA driver|cuda-python"):
            opened(bundle)
