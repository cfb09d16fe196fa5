""" "auto", options, and that a named backend never becomes another one; machines are made up."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gen2seg_runtime import Segmenter
from gen2seg_runtime.backends import choose_backends, onnxruntime_gpu, open_backend, registry
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.cuda_probe import Gpu
from gen2seg_runtime.errors import BackendError
from gen2seg_runtime.manifest import Manifest

from .conftest import BundleMaker
from .fake_machine import GIB, FakeProbes, rtx_machine

CARD = Gpu("card", 86, GIB)
CUDA = ("CUDAExecutionProvider", "CPUExecutionProvider")


def manifest_with(make_bundle: BundleMaker, backend: str | None = None, compute: str = "float16") -> Manifest:
    def change(manifest: dict[str, Any]) -> None:
        manifest["schema"] = "gen2seg.bundle/1.1"
        manifest["stages"] = [
            {
                "name": "network",
                "path": "model.onnx",
                "input": "image",
                "output": "colors",
                "precision": {"weights": compute, "compute": compute},
                "artifacts": {"tensorrt_rtx": ["net.engine"]},
                "facts": {"tensorrt_rtx": {"made_from": {"version": "1.7.1.116", "sms": [86]}}},
                "backend": backend,
            }
        ]

    files = {"model.onnx": ("model", b"graph"), "net.engine": ("artifact", b"engine")}
    return Bundle.open(make_bundle(change, files)).manifest


def test_auto_takes_an_engine_where_it_fits(make_bundle: BundleMaker):
    manifest = manifest_with(make_bundle, backend="openvino")
    [choice] = choose_backends(manifest, probes=rtx_machine())
    assert str(choice) == "network: tensorrt_rtx (the bundle holds an engine for this GPU)"


def test_auto_says_what_it_passed_over(make_bundle: BundleMaker):
    manifest = manifest_with(make_bundle, backend="openvino")
    both = FakeProbes(modules=("onnxruntime", "openvino"))
    [choice] = choose_backends(manifest, probes=both)
    assert choice.backend == "openvino"
    assert choice.why.startswith("the bundle prefers it; not tensorrt_rtx: the tensorrt_rtx backend needs: pip install")
    [choice] = choose_backends(manifest, probes=FakeProbes())
    assert choice.backend == "onnxruntime"
    assert "not openvino: the openvino backend needs: pip install 'gen2seg[openvino]'" in choice.why


def test_auto_names_every_reason_where_nothing_runs(make_bundle: BundleMaker):
    manifest = manifest_with(make_bundle, backend="openvino", compute="bfloat16")
    with pytest.raises(
        BackendError, match=r"nothing here can run stage 'network': tensorrt_rtx: .*E010\); openvino: .*"
    ):
        choose_backends(manifest, probes=FakeProbes())


@pytest.mark.parametrize(
    ("backend", "options", "message"),
    [
        ("auto", {"device_id": 1}, "belong to a named backend"),
        ("openvino", {"provider": "cuda"}, "'openvino' has no options provider; it takes: streams"),
        ("tensorrt_rtx", {"device": 1}, "has no options device; it takes: device_id"),
        ("tensorrt_rtx", {"device_id": -1}, "device_id must be a number from 0"),
        ("onnxruntime", {"device_id": True, "provider": "cuda"}, "device_id must be a number from 0"),
        ("onnxruntime", {"provider": "rocm"}, "unknown provider 'rocm'; this version has: cpu, cuda, tensorrt"),
        ("onnxruntime", {"device_id": 0}, "device_id need an option provider"),
        ("nothing", {}, "unknown backend 'nothing'; this version has: auto, onnxruntime"),
    ],
)
def test_wrong_options(make_bundle: BundleMaker, backend: str, options: dict[str, Any], message: str):
    with pytest.raises(BackendError, match=message):
        open_backend(Bundle.open(make_bundle()), backend, options=options)


def test_a_named_provider_that_is_not_there_is_an_error(make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "MACHINE", FakeProbes(cards=[CARD], cuda=13000))
    with pytest.raises(BackendError, match=r"no CUDAExecutionProvider.*pip install onnxruntime-gpu \(G2S-E021\)"):
        Segmenter.open(make_bundle(), backend="onnxruntime", options={"provider": "cuda"})


def test_provider_cpu_is_the_plain_backend(make_bundle: BundleMaker):
    backend = open_backend(Bundle.open(make_bundle()), "onnxruntime", threads=1, options={"provider": "cpu"})
    assert (backend.name, backend.device) == ("onnxruntime", "cpu")
    assert backend.run(np.zeros((1, 3, 32, 32), np.float32))[0, 0, 0, 0] == 127.5


class FakeOnnxRuntime:
    """A FAKE of an ONNX Runtime for GPUs: keeps what it is told, multiplies by two, has the real one's classes."""

    ExecutionMode = SimpleNamespace(ORT_SEQUENTIAL=0)
    GraphOptimizationLevel = SimpleNamespace(ORT_ENABLE_ALL=99)

    def __init__(self, takes: tuple[str, ...] = CUDA, fails: bool = False):
        self.takes, self.fails = takes, fails
        self.entries: dict[str, str] = {}
        self.sessions: list[tuple[Any, dict[str, Any]]] = []
        self.values: list[Any] = []
        self.registered: list[tuple[str, str]] = []
        self.devices: list[Any] = []
        outer = self

        class SessionOptions:
            def add_session_config_entry(self, key: str, value: str) -> None:
                outer.entries[key] = value

            def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
                outer.devices.append((devices, options))

        self.SessionOptions = SessionOptions
        self.OrtValue = SimpleNamespace(ortvalue_from_shape_and_type=self._value)

    def InferenceSession(self, graph: bytes, options: Any, **arguments: Any) -> Any:
        if self.fails:
            raise RuntimeError("nodes are assigned to the default CPU EP")
        self.sessions.append((graph, arguments))
        ends = [[SimpleNamespace(name=name, type="tensor(float)")] for name in ("image", "colors")]
        return SimpleNamespace(
            get_providers=lambda: list(self.takes),
            get_inputs=lambda: ends[0],
            get_outputs=lambda: ends[1],
            io_binding=lambda: FakeBinding(),
            run_with_iobinding=lambda binding: binding.run(),
        )

    def _value(self, shape: Any, kind: Any, place: str, index: int) -> Any:
        assert (kind, place) == (np.float32, "cuda")
        value = SimpleNamespace(array=np.full(shape, np.nan, np.float32), index=index)
        value.update_inplace = lambda x: np.copyto(value.array, x)
        self.values.append(value)
        return value

    def register_execution_provider_library(self, name: str, path: str) -> None:
        self.registered.append((name, path))

    def get_ep_devices(self) -> list[Any]:
        return [SimpleNamespace(ep_name=name) for name in ("CPUExecutionProvider", "NvTensorRTRTXExecutionProvider")]


class FakeBinding:
    def __init__(self) -> None:
        self.input: Any = None
        self.output: tuple[Any, ...] = ()
        self.result: np.ndarray | None = None

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        assert name == "image"
        self.input = lambda: value.array

    def bind_cpu_input(self, name: str, array: np.ndarray) -> None:
        assert name == "image"
        assert array.flags.c_contiguous
        self.input = lambda: array

    def bind_output(self, name: str, *place: Any) -> None:
        assert name == "colors"
        self.output = place

    def run(self) -> None:
        if self.input().shape[2] % 32:
            raise RuntimeError("no multiple of 32")
        self.result = 2 * self.input()

    def copy_outputs_to_cpu(self) -> list[np.ndarray]:
        assert self.result is not None
        return [self.result]


def gpu_machine(monkeypatch: pytest.MonkeyPatch, fake: FakeOnnxRuntime) -> None:
    modules = ("onnxruntime", "onnxruntime_ep_nv_tensorrt_rtx")
    probes = FakeProbes(modules, {"onnxruntime-gpu": "1.32"}, providers=CUDA, cards=[CARD, CARD], cuda=13000)
    monkeypatch.setattr(registry, "MACHINE", probes)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)


def test_cuda_binds_inputs_and_outputs_on_the_device(make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch):
    fake = FakeOnnxRuntime()
    gpu_machine(monkeypatch, fake)
    options = {"provider": "cuda", "device_id": 1, "provider_options": {"use_tf32": 0}}
    backend = open_backend(Bundle.open(make_bundle()), "onnxruntime", options=options)
    assert backend.device == "cuda:1 (CUDAExecutionProvider)"
    [(_, arguments)] = fake.sessions
    assert arguments["enable_fallback"] == 0
    assert arguments["providers"] == [("CUDAExecutionProvider", {"device_id": "1", "use_tf32": "0"})]
    assert fake.entries["session.disable_cpu_ep_fallback"] == "1"
    for value in (1, 2):
        x = np.full((1, 3, 32, 64), value, np.float32)
        np.testing.assert_array_equal(backend.run(x), 2 * x)
    assert len(fake.values) == 1  # bound once a shape
    assert fake.values[0].index == 1
    backend.run(np.zeros((1, 3, 64, 64), np.float32))
    assert len(fake.values) == 2
    with pytest.raises(BackendError, match=r"failed on an input of shape \(1, 3, 33, 64\).*no multiple"):
        backend.run(np.zeros((1, 3, 33, 64), np.float32))


def test_nodes_on_the_cpu_only_if_asked_for(make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch):
    fake = FakeOnnxRuntime()
    gpu_machine(monkeypatch, fake)
    open_backend(Bundle.open(make_bundle()), "onnxruntime", options={"provider": "cuda", "cpu_nodes": True})
    assert fake.entries == {}
    fake.fails = True
    with pytest.raises(BackendError, match="CUDAExecutionProvider refuses the model: nodes are assigned"):
        open_backend(Bundle.open(make_bundle(name="b")), "onnxruntime", options={"provider": "cuda"})


def test_another_provider_than_the_named_one_is_an_error(make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch):
    gpu_machine(monkeypatch, FakeOnnxRuntime(takes=("CPUExecutionProvider",)))
    with pytest.raises(
        BackendError, match="CUDAExecutionProvider was asked for, onnxruntime took CPUExecutionProvider"
    ):
        open_backend(Bundle.open(make_bundle()), "onnxruntime", options={"provider": "cuda"})


def test_the_plugin_is_registered_once(make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch):
    name = "NvTensorRTRTXExecutionProvider"
    fake = FakeOnnxRuntime(takes=(name, "CPUExecutionProvider"))
    gpu_machine(monkeypatch, fake)
    monkeypatch.setattr(onnxruntime_gpu, "_registered", set())
    plugin = SimpleNamespace(get_library_path=lambda: "libplugin.so")
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", plugin)
    options = {"provider": "nv_tensorrt_rtx", "provider_options": {"enable_cuda_graph": 1}}
    bundle = Bundle.open(make_bundle())
    for _ in range(2):
        x = np.ones((1, 3, 32, 32), np.float32)
        np.testing.assert_array_equal(open_backend(bundle, "onnxruntime", options=options).run(x), 2 * x)
    assert fake.registered == [(name, "libplugin.so")]
    [(devices, own), _] = fake.devices
    assert [device.ep_name for device in devices] == [name]
    assert own == {"enable_cuda_graph": "1"}
    with pytest.raises(BackendError, match="device 1 was asked for, the plugin has 1"):
        open_backend(bundle, "onnxruntime", options=options | {"device_id": 1})


def test_the_real_library_has_what_the_fake_has():
    import onnxruntime

    for name in ("register_execution_provider_library", "get_ep_devices", "InferenceSession", "OrtValue"):
        assert hasattr(onnxruntime, name)
    for name in ("io_binding", "run_with_iobinding", "get_providers"):
        assert hasattr(onnxruntime.InferenceSession, name)
    for name in ("bind_ortvalue_input", "bind_cpu_input", "bind_output", "copy_outputs_to_cpu"):
        assert hasattr(onnxruntime.IOBinding, name)
    for name in ("ortvalue_from_shape_and_type", "update_inplace"):
        assert hasattr(onnxruntime.OrtValue, name)
    for name in ("add_session_config_entry", "add_provider_for_devices"):
        assert hasattr(onnxruntime.SessionOptions, name)
