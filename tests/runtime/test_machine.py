"""Probes of this machine, and the GPU probe on a FAKE driver library."""

import ctypes
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gen2seg_runtime import machine
from gen2seg_runtime.cuda_probe import CudaFacts, Gpu, _driver_version, read_cuda
from gen2seg_runtime.machine import Machine


def driver(status: int = 0, **wrong: Any) -> SimpleNamespace:
    """libcuda's calls for two GPUs; writes where the real one does."""

    def write(target: Any, value: Any) -> int:
        target._obj.value = value
        return 0

    def name(buffer: Any, length: int, device: Any) -> int:
        buffer.value = (b"first", b"second")[device.value]
        return 0

    numbers = {(75, 0): 8, (76, 0): 6, (75, 1): 12, (76, 1): 0}
    calls = {
        "cuInit": lambda flags: status,
        "cuDriverGetVersion": lambda target: write(target, 13000),
        "cuDeviceGetCount": lambda target: write(target, 2),
        "cuDeviceGet": lambda target, index: write(target, index),
        "cuDeviceGetName": name,
        "cuDeviceTotalMem_v2": lambda target, device: write(target, 100 + device.value),
        "cuDeviceGetAttribute": lambda target, which, device: write(target, numbers[which, device.value]),
    }
    return SimpleNamespace(**(calls | wrong))


def test_the_gpus_that_a_driver_offers():
    names = []
    facts = read_cuda(lambda name: names.append(name) or driver())
    assert facts.gpus == (Gpu("first", 86, 100), Gpu("second", 120, 101))
    assert facts.cuda_version == 13000
    assert names == ["nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"]


def missing(name: str) -> Any:
    raise OSError(name)


@pytest.mark.parametrize(
    "library",
    [
        missing,
        lambda name: driver(status=100),
        lambda name: SimpleNamespace(),
        lambda name: driver(cuDeviceGet=lambda *_: 1),
    ],
    ids=["no library", "no device", "another library", "a driver that fails"],
)
def test_no_gpu(library: Any):
    assert read_cuda(library) == CudaFacts()


def test_the_real_library_is_asked_where_there_is_one():
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        assert Machine().gpus() == ()
        assert Machine().cuda_version() is None
        assert Machine().driver_version() is None


def test_driver_version(tmp_path: Path):
    path = tmp_path / "version"
    assert _driver_version(path) is None
    path.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun\nGCC version:  gcc 12.3.0\n")
    assert _driver_version(path) == "580.65.06"
    path.write_text("nothing")
    assert _driver_version(path) is None


def test_libraries(monkeypatch: pytest.MonkeyPatch):
    here = Machine()
    assert here.installed("numpy")
    assert not here.installed("no_such_module")
    assert not here.installed("no_such_module.part")
    assert here.version("numpy") is not None
    assert here.version("no-such-distribution") is None
    assert here.load_error("json") is None
    assert here.load_error("no_such_module") == "ModuleNotFoundError: No module named 'no_such_module'"
    assert "CPUExecutionProvider" in here.onnx_providers()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert not here.installed("onnxruntime")
    assert here.onnx_providers() == ()


def test_memory_and_processor(monkeypatch: pytest.MonkeyPatch):
    found = Machine().memory()
    assert 0 < found.available <= found.total
    assert Machine().cpu_name()
    monkeypatch.setattr(machine, "_container_memory", lambda: (1 << 20, 1 << 19))
    assert Machine().memory() == machine.Memory(1 << 20, 1 << 19)


def test_a_containers_memory(tmp_path: Path):
    assert machine._container_memory(tmp_path) == (None, 0)
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine._container_memory(tmp_path) == (None, 0)
    (tmp_path / "memory.max").write_text("1000\n")
    assert machine._container_memory(tmp_path) == (1000, 550)  # what was read from files can be dropped


def test_where_the_system_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert machine._cpuinfo("flags", tmp_path / "none") is None
    total, available = machine._system_memory(tmp_path / "none")
    assert 0 < available <= total

    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr("os.sysconf", unknown)
    assert machine._system_memory(tmp_path / "none")[1] >= 1 << 62
