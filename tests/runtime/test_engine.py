"""Engine backends on a FAKE device and a fake TensorRT that check every call; nothing here runs on a GPU."""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from gen2seg_runtime import Segmenter
from gen2seg_runtime.backends import engine_runner, engine_stage, open_backend, registry
from gen2seg_runtime.backends.engine import read_engine
from gen2seg_runtime.backends.engine_chain import EngineChain
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.errors import BackendError, NetworkOutputError

from .conftest import BundleMaker
from .fake_gpu import CALLED, FakeDevice, engine_bytes, fake_tensorrt
from .fake_machine import FakeProbes, rtx_machine

SHAPE = (1, 3, 32, 64)
X = np.random.default_rng(0).uniform(-1, 1, SHAPE).astype(np.float32)
Y = np.repeat(X[:, :1], 3, axis=1)  # what every channel is a multiple of


def bundle_with(make_bundle: BundleMaker, *engines: bytes, library: str = "tensorrt_rtx", **manifest: Any) -> Bundle:
    """A bundle whose stages have these engines."""
    names = ["image", *(f"x{i}" for i in range(1, len(engines))), "colors"]
    files = {}
    stages = []
    for i, engine in enumerate(engines):
        files |= {f"{i}.onnx": ("model", b"graph"), f"engines/{i}.engine": ("artifact", engine)}
        files[f"engines/{i}.json"] = ("artifact", b"{}")
        stages.append(
            {
                "name": f"stage-{i}",
                "path": f"{i}.onnx",
                "input": names[i],
                "output": names[i + 1],
                "precision": {"weights": "float16", "compute": "float16"},
                "artifacts": {library: [f"engines/{i}.engine", f"engines/{i}.json"]},
            }
        )

    def change(document: dict[str, Any]) -> None:
        document["schema"] = "gen2seg.bundle/1.1"
        document["model"]["path"] = "0.onnx"
        document["stages"] = stages
        document["input"].update(manifest.get("input", {}))

    return Bundle.open(make_bundle(change, files))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """A fake GPU behind the backend "tensorrt_rtx"."""
    made = FakeDevice()
    monkeypatch.setattr(engine_stage, "CudaDevice", lambda index: made)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_tensorrt(made))
    monkeypatch.setattr(registry, "MACHINE", rtx_machine())
    return made


def test_an_engine_runs_and_is_captured_once_a_shape(make_bundle: BundleMaker, device: FakeDevice):
    other = (1, 3, 64, 32)
    backend = open_backend(bundle_with(make_bundle, engine_bytes(profiles=(SHAPE, other))), "tensorrt_rtx")
    assert (backend.name, backend.device) == ("tensorrt_rtx", "cuda:0")
    for factor in (1, 3, -2):
        np.testing.assert_array_equal(backend.run(factor * X), 2 * factor * Y)
    assert (device.captured, device.replayed) == (1, 3)
    turned = np.ascontiguousarray(X.transpose(0, 1, 3, 2))
    np.testing.assert_array_equal(backend.run(turned), 2 * np.repeat(turned[:, :1], 3, axis=1))
    np.testing.assert_array_equal(backend.run(X), 2 * Y)
    assert (device.captured, device.replayed) == (2, 5)


def test_plain_tensorrt_has_no_runtime_config(make_bundle: BundleMaker, device: FakeDevice, monkeypatch: Any):
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(device, rtx=False))
    monkeypatch.setattr(registry, "MACHINE", FakeProbes(("tensorrt", "cuda.bindings"), cards=rtx_machine().cards))
    backend = open_backend(bundle_with(make_bundle, engine_bytes(), library="tensorrt"), "tensorrt")
    np.testing.assert_array_equal(backend.run(X), 2 * Y)
    assert device.captured == 1


def test_a_chain_stays_on_the_device_in_one_graph(make_bundle: BundleMaker, device: FakeDevice):
    engines = [
        engine_bytes(2.0, channels=4, names=("image", "x1")),
        engine_bytes(5.0, profiles=((1, 4, 32, 64),), names=("x1", "colors")),
    ]
    backend = open_backend(bundle_with(make_bundle, *engines), "tensorrt_rtx")
    assert isinstance(backend, EngineChain)
    waits = device.waits
    np.testing.assert_array_equal(backend.run(X), 10 * Y)
    np.testing.assert_array_equal(backend.run(X), 10 * Y)
    assert (device.captured, device.replayed) == (1, 2)
    assert device.waits - waits == 3  # the first run of the plan, then one a call
    stages = backend.run_stages(X)
    np.testing.assert_array_equal(stages["stage-0"], np.repeat(2 * X[:, :1], 4, axis=1))
    np.testing.assert_array_equal(stages["stage-1"], 10 * Y)
    with backend.output_on_device(X) as (address, shape):
        device.wait(backend.runner.stream)
        np.testing.assert_array_equal(device.view(address, 4 * Y.size).view(np.float32).reshape(shape), 10 * Y)


@pytest.mark.parametrize(("factors", "stage"), [((float("inf"), 1.0), "stage-0"), ((1.0, 1e39), "stage-1")])
def test_a_stage_that_gives_nan_is_named(make_bundle: BundleMaker, device: FakeDevice, factors: Any, stage: str):
    engines = [engine_bytes(f, names=n) for f, n in zip(factors, (("image", "x1"), ("x1", "colors")), strict=True)]
    with pytest.raises(NetworkOutputError, match=f"stage '{stage}'"):
        open_backend(bundle_with(make_bundle, *engines), "tensorrt_rtx").run(X)


def test_pictures_go_one_by_one_through_an_engine_for_one(make_bundle: BundleMaker, device: FakeDevice):
    backend = open_backend(bundle_with(make_bundle, engine_bytes()), "tensorrt_rtx")
    batch = np.concatenate([X, 3 * X])
    np.testing.assert_array_equal(backend.run(batch), 2 * np.concatenate([Y, 3 * Y]))
    assert device.captured == 1


def test_an_engine_that_cannot_be_captured_is_enqueued(make_bundle: BundleMaker, device: FakeDevice):
    backend = open_backend(bundle_with(make_bundle, engine_bytes(uncapturable=True)), "tensorrt_rtx")
    for _ in range(2):
        np.testing.assert_array_equal(backend.run(X), 2 * Y)
    assert (device.captured, device.replayed) == (0, 0)
    [(_, session)] = backend.sessions
    assert isinstance(session, engine_stage.EngineStage)
    assert session.runner.captured() == {SHAPE: False}


def test_shapes_beyond_the_cache_are_freed(make_bundle: BundleMaker, device: FakeDevice):
    shapes = tuple((1, 3, 32, 32 * width) for width in range(1, engine_runner.MOST_PLANS + 3))
    backend = open_backend(bundle_with(make_bundle, engine_bytes(profiles=shapes)), "tensorrt_rtx")
    for shape in shapes:
        backend.run(np.zeros(shape, np.float32))
    assert len(device.graphs) == engine_runner.MOST_PLANS
    assert len(device.memory) == 2 * engine_runner.MOST_PLANS
    [(_, session)] = backend.sessions
    assert isinstance(session, engine_stage.EngineStage)
    for _ in range(2):
        session.runner.close()
    assert device.memory == {}
    assert device.graphs == []


def test_threads_take_turns(make_bundle: BundleMaker, device: FakeDevice):
    backend = open_backend(bundle_with(make_bundle, engine_bytes()), "tensorrt_rtx")
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda k: backend.run(np.float32(k) * X), range(16)))
    for k, result in enumerate(results):
        np.testing.assert_array_equal(result, 2 * (np.float32(k) * Y))


def test_a_segmenter_on_an_engine(make_bundle: BundleMaker, device: FakeDevice, squares: np.ndarray):
    engine = engine_bytes(127.5, profiles=((1, 3, 64, 96),))
    made = {"resize": {"rule": "fixed", "size": 96, "interpolation": "bilinear_antialias"}, "buckets": [[64, 96]]}
    bundle = bundle_with(make_bundle, engine, input=made)
    segmenter = Segmenter.open(bundle.root, backend="tensorrt_rtx", options={"device_id": 0})
    assert segmenter.backend_name == "tensorrt_rtx"
    assert str(segmenter.backend_choices[0]) == "stage-0: tensorrt_rtx (asked for)"
    assert segmenter.encode(squares).size == squares.shape[:2]


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (b"no engine", r"refuses the engine \(gen2seg doctor says more\): magic tag$"),
        (engine_bytes(names=("picture", "colors")), "the manifest promises one float32 input 'image'"),
        (engine_bytes(dtype="half"), "the manifest promises one float32"),
    ],
)
def test_engines_that_are_not_opened(make_bundle: BundleMaker, device: FakeDevice, engine: bytes, message: str):
    with pytest.raises(BackendError, match=message):
        open_backend(bundle_with(make_bundle, engine), "tensorrt_rtx")


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (
            engine_bytes(profiles=((1, 3, 8, 8),)),
            r"takes no input of shape \(1, 3, 32, 64\); it was built for: 1x3x8x8",
        ),
        (engine_bytes(refuses="profile"), "refuses the profile for stage 'stage-0'"),
        (engine_bytes(unsettled=True), r"the shapes of \['image'\]"),
        (engine_bytes(channels=0), r"gives a shape \(1, 0, 32, 64\)"),
        (engine_bytes(fails_at=1), "refuses to run"),
        (engine_bytes(fails_at=2), "refuses to run"),  # while it is captured
    ],
)
def test_a_refusal_is_an_error_and_frees_what_was_taken(
    make_bundle: BundleMaker, device: FakeDevice, engine: bytes, message: str
):
    backend = open_backend(bundle_with(make_bundle, engine), "tensorrt_rtx")
    with pytest.raises(BackendError, match=message):
        backend.run(X)
    assert device.memory == {}
    assert device.graphs == []


def test_no_context(make_bundle: BundleMaker, device: FakeDevice, monkeypatch: Any):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_tensorrt(device, rtx=False))
    backend = open_backend(bundle_with(make_bundle, engine_bytes(no_context=True)), "tensorrt_rtx")
    with pytest.raises(BackendError, match="is GPU memory short"):
        backend.run(X)


def test_short_memory_is_an_error(make_bundle: BundleMaker, device: FakeDevice):
    device.limit = X.nbytes
    backend = open_backend(bundle_with(make_bundle, engine_bytes()), "tensorrt_rtx")
    with pytest.raises(BackendError, match="OUT_OF_MEMORY"):
        backend.run(X)
    assert device.memory == {}


def test_an_artifact_without_an_engine(make_bundle: BundleMaker, device: FakeDevice):
    bundle = bundle_with(make_bundle, engine_bytes())
    object.__setattr__(bundle.manifest.stages[0], "artifacts", {"tensorrt_rtx": ("engines/0.json",)})
    with pytest.raises(BackendError, match=r"needs an \.engine of tensorrt_rtx for sm_86, got none"):
        open_backend(bundle, "tensorrt_rtx")


def test_a_library_that_does_not_load(make_bundle: BundleMaker, device: FakeDevice, monkeypatch: Any):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(BackendError, match=r"pip install 'gen2seg\[tensorrt-rtx\]'"):
        open_backend(bundle_with(make_bundle, engine_bytes()), "tensorrt_rtx")


def test_this_machine_has_no_gpu_and_says_so(make_bundle: BundleMaker):
    if registry.MACHINE.gpus():
        pytest.skip("there is a GPU here")
    pytest.importorskip("tensorrt_rtx")
    with pytest.raises(BackendError, match=r"runs on NVIDIA GPUs only.*G2S-E015"):
        open_backend(bundle_with(make_bundle, engine_bytes()), "tensorrt_rtx")


def test_the_real_library_refuses_what_is_no_engine(make_bundle: BundleMaker):
    pytest.importorskip("tensorrt_rtx")
    bundle = bundle_with(make_bundle, b"no engine" * 99)
    with pytest.raises(BackendError, match=r"0\.engine: tensorrt_rtx .* refuses the engine .*erialization"):
        read_engine(bundle, bundle.manifest.chain[0], "tensorrt_rtx", 86)


def test_the_real_library_has_what_the_fake_has():
    trt = pytest.importorskip("tensorrt_rtx")
    for kind, names in CALLED.items():
        for name in names:
            assert hasattr(getattr(trt, kind), name), f"{kind}.{name}"
