"""The launcher with a FAKE driver: what it would tell the driver is checked call by call; nothing runs on a GPU."""

import ctypes
import hashlib
import struct
import subprocess
import sys

import pytest

from gen2seg_kernels.aot.contract import FILE_NAME, Contract, Kernel, Parameter, Target, to_json
from gen2seg_kernels.aot.errors import ContractError, CubinIntegrityError, DriverError, LaunchError, NoCubinError
from gen2seg_kernels.launch import CompiledKernels

PARAMETERS = (
    Parameter("x_ptr", "*fp16", "u64", alignment=16),
    Parameter("n", "i32", "u32"),
    Parameter("scale", "fp32", "f32"),
    Parameter("big", "i64", "u64"),
    Parameter("on", "i1", "u8"),
    Parameter("global_scratch", "*u8", "u64", scratch=True),
    Parameter("profile_scratch", "*u8", "u64", scratch=True),
)
FORMATS = ("Q", "i", "f", "q", "b", "Q", "Q")
ARGUMENTS = {"x_ptr": 4096, "n": 1500, "scale": 0.5, "big": -7, "on": True, "images": 3}


class FakeDriver:
    """Stands for the CUDA driver: keeps what it was told, and reads arguments back as the device would."""

    def __init__(self, capability=86, shared=100 << 10):
        self.capability, self.shared = capability, shared
        self.loaded, self.launches, self.allowed, self.unloaded = [], [], [], []

    def compute_capability(self):
        return self.capability

    def max_shared_bytes(self):
        return self.shared

    def load(self, cubin, entry):
        self.loaded.append((cubin, entry))
        return f"module {len(self.loaded)}", f"function {len(self.loaded)}"

    def allow_shared_bytes(self, function, size):
        self.allowed.append((function, size))

    def launch(self, function, grid, block, shared_bytes, stream, arguments):
        addresses = (ctypes.c_void_p * len(FORMATS)).from_address(arguments)
        values = [
            struct.unpack(letter, ctypes.string_at(address, struct.calcsize(letter)))[0]
            for letter, address in zip(FORMATS, addresses, strict=True)
        ]
        self.launches.append((function, grid, block, shared_bytes, stream, values))

    def unload(self, module):
        self.unloaded.append(module)


def target(sm, cubin, shared_bytes=1024, exact=False, grid=("cdiv(n, BLOCK)", "images", "1")):
    digest = hashlib.sha256(cubin).hexdigest()
    name = f"toy.sm_{sm}.cubin"
    return Target(sm, exact, name, len(cubin), digest, grid, (128, 1, 1), shared_bytes, 30, 0, 0, 0, {"BLOCK": 1024})


@pytest.fixture
def folder(tmp_path):
    targets = (target(80, b"for 80"), target(86, b"for 86", shared_bytes=64 << 10), target(90, b"for 90a", exact=True))
    kernel = Kernel("toy", "Toy.", "toy_entry", PARAMETERS, ("images",), targets)
    (tmp_path / FILE_NAME).write_text(to_json(Contract("3.8.0", {"toy": kernel})))
    for item, cubin in zip(targets, (b"for 80", b"for 86", b"for 90a"), strict=True):
        (tmp_path / item.file).write_bytes(cubin)
    return tmp_path


def test_a_launch_follows_the_contract(folder):
    driver = FakeDriver()
    with CompiledKernels(folder, driver=driver) as kernels:
        kernels.launch("toy", ARGUMENTS, stream=9)
        kernels.launch("toy", {**ARGUMENTS, "n": 1})
    assert driver.loaded == [(b"for 86", "toy_entry")]  # once
    assert driver.allowed == [("function 1", 64 << 10)]
    assert driver.launches == [
        ("function 1", (2, 3, 1), (128, 1, 1), 64 << 10, 9, [4096, 1500, 0.5, -7, 1, 0, 0]),
        ("function 1", (1, 3, 1), (128, 1, 1), 64 << 10, 0, [4096, 1, 0.5, -7, 1, 0, 0]),
    ]
    assert driver.unloaded == ["module 1"]


def test_a_grid_of_the_callers_own(folder):
    driver = FakeDriver()
    kernels = CompiledKernels(folder, driver=driver)
    arguments = {name: value for name, value in ARGUMENTS.items() if name != "images"}
    kernels.launch("toy", arguments, grid=(5, 4, 3))
    assert driver.launches[0][1] == (5, 4, 3)
    with pytest.raises(LaunchError, match="a grid of"):
        kernels.launch("toy", arguments, grid=(1, 65536, 1))


def test_the_file_of_the_device_is_taken(folder):
    for capability, cubin in ((80, b"for 80"), (89, b"for 86"), (90, b"for 90a")):
        driver = FakeDriver(capability)
        CompiledKernels(folder, driver=driver).launch("toy", ARGUMENTS)
        assert driver.loaded[0][0] == cubin
        assert driver.allowed == ([("function 1", 64 << 10)] if cubin == b"for 86" else [])


def test_a_device_without_a_file_is_told_what_there_is(folder):
    with pytest.raises(NoCubinError, match=r"this device, sm_75; .* has sm_80, sm_86, sm_90a"):
        CompiledKernels(folder, driver=FakeDriver(75)).launch("toy", ARGUMENTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": None}, "n must be i32, got NoneType"),
        ({"n": 1.0}, "n must be i32, got float"),
        ({"n": 2**31}, "n must be i32, got 2147483648"),
        ({"n": True}, "n must be i32, got a bool"),
        ({"n": 0}, r"grid of \(0, 3, 1\)"),
        ({"x_ptr": 4097}, "multiple of 16"),
        ({"x_ptr": "here"}, "a device address"),
        ({"m": 1}, r"has no arguments \['m'\]"),
        ({"global_scratch": 1}, r"has no arguments \['global_scratch'\]"),
    ],
)
def test_wrong_arguments_never_reach_the_driver(folder, change, message):
    driver = FakeDriver()
    with pytest.raises(LaunchError, match=message):
        CompiledKernels(folder, driver=driver).launch("toy", {**ARGUMENTS, **change})
    assert driver.launches == []


@pytest.mark.parametrize("name", ["scale", "images"])
def test_a_missing_argument_is_named(folder, name):
    arguments = {key: value for key, value in ARGUMENTS.items() if key != name}
    with pytest.raises(LaunchError, match=name):
        CompiledKernels(folder, driver=FakeDriver()).launch("toy", arguments)


def test_nothing_unchecked_is_loaded(folder):
    driver = FakeDriver()
    (folder / "toy.sm_86.cubin").write_bytes(b"for 8X")
    with pytest.raises(CubinIntegrityError, match="expected sha256"):
        CompiledKernels(folder, driver=driver).launch("toy", ARGUMENTS)
    with pytest.raises(LaunchError, match="bytes of shared memory"):
        CompiledKernels(folder, driver=FakeDriver(shared=48 << 10)).launch("toy", ARGUMENTS)
    with pytest.raises(ContractError, match="unknown kernel 'tow'; known: toy"):
        CompiledKernels(folder, driver=driver).launch("tow", {})
    assert driver.loaded == []


def test_the_launcher_needs_neither_torch_nor_triton_and_loads_no_cuda(folder):
    code = f"""
import sys
sys.modules["torch"] = sys.modules["triton"] = None
from gen2seg_kernels.launch import CompiledKernels
from gen2seg_kernels.aot.contract import read_contract
from pathlib import Path
read_contract(Path({str(folder)!r}))
assert not [name for name in sys.modules if name.partition(".")[0] == "cuda"]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class FakeBindings:
    """Stands for `cuda.bindings.driver`: statuses as it returns them, handles as text."""

    class CUdevice_attribute:
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 8
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 6

    def cuInit(self, flags):
        return (0,)

    def cuDeviceGet(self, number):
        return 0, f"device {number}"

    def cuDevicePrimaryCtxRetain(self, device):
        return 0, f"context of {device}"

    def cuCtxSetCurrent(self, context):
        assert context == "context of device 1"
        return (0,)

    def cuDeviceGetAttribute(self, attribute, device):
        return 0, attribute

    def cuModuleLoadData(self, data):
        return (209,)  # CUDA_ERROR_NO_BINARY_FOR_GPU


def test_what_the_driver_refuses_is_raised(monkeypatch):
    from gen2seg_kernels.cuda_driver import open_driver

    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", FakeBindings())
    driver = open_driver(1)
    assert driver.compute_capability() == 86
    with pytest.raises(DriverError, match="cuModuleLoadData failed: 209"):
        driver.load(b"", "toy")
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    with pytest.raises(ImportError, match=r"gen2seg\[gpu\]"):
        open_driver()
