"""The device by cuda-python: a FAKE driver module keeps the calls, and the real one has every name that is called."""

import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gen2seg_runtime.errors import BackendError
from gen2seg_runtime.gpu.cuda import CudaDevice

CALLS = [
    "cuInit",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuCtxSetCurrent",
    "cuMemAlloc",
    "cuMemFree",
    "cuStreamCreate",
    "cuStreamDestroy",
    "cuStreamSynchronize",
    "cuMemcpyHtoDAsync",
    "cuMemcpyDtoHAsync",
    "cuMemsetD8Async",
    "cuStreamBeginCapture",
    "cuStreamEndCapture",
    "cuGraphInstantiate",
    "cuGraphDestroy",
    "cuGraphLaunch",
    "cuGraphExecDestroy",
]
GIVES = {
    "cuDeviceGetAttribute": 8,
    "cuMemAlloc": 4096,
    "cuStreamCreate": 7,
    "cuStreamEndCapture": "graph",
    "cuGraphInstantiate": "executable",
}


class FakeCuda:
    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=SimpleNamespace(value=1))
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR="major", CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR="minor"
    )
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL="thread local")

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fails = ""

    def __getattr__(self, name: str) -> Any:
        if name not in CALLS:
            raise AttributeError(name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((name, *arguments))
            status = 2 if name == self.fails else 0
            return (status, GIVES.get(name, f"{name}'s")) if status == 0 else (status, None)

        return call


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    made = FakeCuda()
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", made)
    return made


def test_every_call(cuda: FakeCuda):
    device = CudaDevice(3)
    array = np.arange(6, dtype=np.float32)
    address, stream = device.allocate(24), device.open_stream()
    device.upload(address, array, stream)
    device.clear(address, 24, stream)
    device.download(array, address, stream)
    device.wait(stream)
    graph = device.capture(stream, lambda: cuda.calls.append(("work",)))
    device.replay(graph, stream)
    device.close_graph(graph)
    device.close_stream(stream)
    device.free(address)
    assert (device.name, device.capability) == ("cuda:3", 88)
    assert cuda.calls == [
        ("cuInit", 0),
        ("cuDeviceGet", 3),
        ("cuDeviceGetAttribute", "major", "cuDeviceGet's"),
        ("cuDeviceGetAttribute", "minor", "cuDeviceGet's"),
        ("cuDevicePrimaryCtxRetain", "cuDeviceGet's"),
        ("cuCtxSetCurrent", "cuDevicePrimaryCtxRetain's"),
        ("cuMemAlloc", 24),
        ("cuStreamCreate", 1),
        ("cuMemcpyHtoDAsync", 4096, array.ctypes.data, 24, 7),
        ("cuMemsetD8Async", 4096, 0, 24, 7),
        ("cuMemcpyDtoHAsync", array.ctypes.data, 4096, 24, 7),
        ("cuStreamSynchronize", 7),
        ("cuStreamBeginCapture", 7, "thread local"),
        ("work",),
        ("cuStreamEndCapture", 7),
        ("cuGraphInstantiate", "graph", 0),
        ("cuGraphDestroy", "graph"),
        ("cuGraphLaunch", "executable", 7),
        ("cuGraphExecDestroy", "executable"),
        ("cuStreamDestroy", 7),
        ("cuMemFree", 4096),
    ]


def test_a_refused_call_is_named(cuda: FakeCuda):
    device = CudaDevice()
    cuda.fails = "cuMemAlloc"
    with pytest.raises(BackendError, match="cuda:0: the CUDA driver's cuMemAlloc failed: 2"):
        device.allocate(1)


def test_an_error_while_capturing_ends_the_capture(cuda: FakeCuda):
    def work() -> None:
        raise BackendError("refused")

    with pytest.raises(BackendError, match="refused"):
        CudaDevice().capture(7, work)
    assert cuda.calls[-1] == ("cuStreamEndCapture", 7)


def test_arrays_must_be_dense(cuda: FakeCuda):
    with pytest.raises(ValueError, match="C-contiguous"):
        CudaDevice().upload(0, np.zeros((4, 4), np.float32).T[::2], 7)


def test_no_cuda_python(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    with pytest.raises(BackendError, match=r"pip install 'gen2seg\[gpu\]'"):
        CudaDevice()


def test_no_driver(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch):
    def missing(flags: int) -> Any:
        raise RuntimeError("no libcuda")

    monkeypatch.setattr(cuda, "cuInit", missing, raising=False)
    with pytest.raises(BackendError, match="no CUDA driver here: no libcuda"):
        CudaDevice()


def test_the_real_module_has_every_call():
    driver = pytest.importorskip("cuda.bindings.driver")
    assert driver is import_module("cuda.bindings.driver")
    for name in CALLS:
        assert hasattr(driver, name), name
    assert hasattr(driver.CUstream_flags, "CU_STREAM_NON_BLOCKING")
    assert hasattr(driver.CUstreamCaptureMode, "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL")
    for end in ("MAJOR", "MINOR"):
        assert hasattr(driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_{end}")
