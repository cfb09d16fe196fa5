"""Chains of stages: the manifest's records, and one backend a stage."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from gen2seg_runtime import Segmenter
from gen2seg_runtime.backends import available_backends, open_backend, registry, usable_backends
from gen2seg_runtime.bundle import Bundle, default_bundle_path
from gen2seg_runtime.errors import BackendError, BundleIntegrityError, BundleSchemaError, NetworkOutputError
from gen2seg_runtime.manifest import Manifest, StageSpec

from .conftest import BundleMaker

Change = Callable[[dict[str, Any]], None]


def scaling_graph(factor: float, data_file: str, input_name: str, output_name: str) -> bytes:
    """A network that multiplies by a number kept in a file of its own."""
    scale = numpy_helper.from_array(np.array([factor], np.float32), "scale")
    scale.ClearField("raw_data")
    scale.data_location = TensorProto.EXTERNAL
    for key, value in (("location", data_file), ("offset", "0"), ("length", "4")):
        entry = scale.external_data.add()
        entry.key, entry.value = key, value
    dims = ["n", 3, "h", "w"]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in (input_name, output_name)]
    node = helper.make_node("Mul", [input_name, "scale"], [output_name])
    graph = helper.make_graph([node], "scaling", ends[:1], ends[1:], [scale])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def _data(value: float) -> bytes:
    return np.array([value], np.float32).tobytes()


FILES = {
    "first.onnx": ("model", scaling_graph(2, "first.onnx.data", "image", "latent")),
    "first.onnx.data": ("model_data", _data(2)),
    "second/net.onnx": ("model", scaling_graph(5, "net.data", "x", "colors")),
    "second/net.data": ("model_data", _data(5)),
    "engines/second.bin": ("artifact", b"an engine"),
}


def two_stages(manifest: dict[str, Any]) -> None:
    precision = {"weights": "float32", "compute": "float32"}
    manifest["schema"] = "gen2seg.bundle/1.1"
    manifest["model"]["path"] = "first.onnx"
    manifest["stages"] = [
        {"name": "first", "path": "first.onnx", "input": "image", "output": "latent", "precision": precision},
        {
            "name": "second",
            "path": "second/net.onnx",
            "input": "x",
            "output": "colors",
            "precision": precision,
            "artifacts": {"doubling": ["engines/second.bin"]},
            "backend": "doubling",
        },
    ]


class DoublingStage:
    """A stand-in for a library: adds its own mark, so that a test sees who ran."""

    backend = "doubling"
    device = "imaginary"

    def __init__(self, bundle: Bundle, stage: StageSpec, threads: int):
        assert bytes(bundle.buffer(stage.artifacts["doubling"][0])) == b"an engine"

    def run(self, x: np.ndarray) -> np.ndarray:
        return 2 * x


@pytest.fixture
def doubling(monkeypatch: pytest.MonkeyPatch) -> registry.BackendSpec:
    spec = registry.BackendSpec(__name__, "DoublingStage", "numpy", "pip install doubling", from_onnx=False)
    monkeypatch.setitem(registry.BACKENDS, "doubling", spec)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[DoublingStage.__module__])
    return spec


@pytest.fixture
def bundle(make_bundle: BundleMaker) -> Bundle:
    return Bundle.open(make_bundle(two_stages, FILES))


X = np.random.default_rng(0).uniform(-1, 1, (1, 3, 8, 16)).astype(np.float32)


def test_stages_run_one_after_the_other(bundle: Bundle):
    backend = open_backend(bundle, "onnxruntime", threads=1)
    assert backend.name == "onnxruntime"
    np.testing.assert_allclose(backend.run(X), 10 * X, rtol=1e-6)
    stages = backend.run_stages(X)
    assert list(stages) == ["first", "second"]
    np.testing.assert_allclose(stages["first"], 2 * X, rtol=1e-6)


def test_auto_follows_the_stage_where_its_library_is(bundle: Bundle, doubling: registry.BackendSpec):
    backend = open_backend(bundle, threads=1)
    assert (backend.name, backend.device) == ("onnxruntime+doubling", "cpu+imaginary")
    np.testing.assert_allclose(backend.run(X), 4 * X, rtol=1e-6)
    assert usable_backends(bundle) == ("onnxruntime",)  # the first stage has no artifact for the other one


def test_auto_falls_back_where_it_is_not(bundle: Bundle, doubling: registry.BackendSpec, monkeypatch: Any):
    monkeypatch.setitem(
        registry.BACKENDS, "doubling", registry.BackendSpec(__name__, "x", "no_such_library", "pip install y", False)
    )
    assert open_backend(bundle, threads=1).name == "onnxruntime"


def test_a_backend_without_its_artifact_is_refused(bundle: Bundle, doubling: registry.BackendSpec):
    with pytest.raises(BackendError, match=r"stage 'first' has no artifact for backend 'doubling' \(it has: none\)"):
        open_backend(bundle, "doubling")


def test_a_missing_library_is_named(make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch):
    install = "pip install 'gen2seg[other]'"
    spec = registry.BackendSpec(__name__, "x", "no_such_library", install, from_onnx=True, external=True)
    monkeypatch.setitem(registry.BACKENDS, "other", spec)
    with pytest.raises(BackendError, match=r"pip install 'gen2seg\[other\]'"):
        open_backend(Bundle.open(make_bundle(two_stages, FILES)), "other")
    assert "other" in available_backends()


def test_a_format_that_a_backend_lacks_is_named(make_bundle: BundleMaker, doubling: registry.BackendSpec):
    def bfloat16(manifest: dict[str, Any]) -> None:
        two_stages(manifest)
        manifest["stages"][1]["precision"] = {"weights": "bfloat16", "compute": "bfloat16"}

    bundle = Bundle.open(make_bundle(bfloat16, FILES))
    assert usable_backends(bundle) == ()
    assert open_backend(bundle, threads=1).name == "onnxruntime+doubling"
    with pytest.raises(BackendError, match=r"computes in bfloat16, which onnxruntime has not; .*pip install doubling"):
        open_backend(bundle, "onnxruntime")


def test_a_stage_that_gives_nan_is_named(make_bundle: BundleMaker):
    files = FILES | {"first.onnx.data": ("model_data", _data(float("inf")))}
    backend = open_backend(Bundle.open(make_bundle(two_stages, files)), "onnxruntime", threads=1)
    for x in (X, np.zeros_like(X)):  # infinity, and 0 · infinity
        with pytest.raises(NetworkOutputError, match="stage 'first'"):
            backend.run(x)


def test_a_segmenter_runs_the_chain(make_bundle: BundleMaker, squares: np.ndarray):
    root = make_bundle(two_stages, FILES)
    encoding = Segmenter.open(root, threads=1).encode(squares)
    assert encoding.size == squares.shape[:2]


@pytest.mark.parametrize("file", list(FILES))
def test_every_file_of_a_stage_is_verified(make_bundle: BundleMaker, file: str):
    root: Path = make_bundle(two_stages, FILES)
    content = bytearray((root / file).read_bytes())
    content[-1] ^= 1
    (root / file).write_bytes(content)
    with pytest.raises(BundleIntegrityError, match=Path(file).name):
        Bundle.open(root)


def _stage(index: int, **values: Any) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        two_stages(manifest)
        manifest["stages"][index].update(values)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_stage(1, name="first"), "a name of its own"),
        (_stage(0, name="a b"), r"stages\[0\]\.name"),
        (_stage(1, path="third.onnx"), "'third.onnx' must be listed with role"),
        (_stage(1, path="../x"), "inside the bundle"),
        (_stage(0, input="pixels"), "the chain has"),
        (_stage(1, output="other"), "the chain has"),
        (_stage(1, artifacts={"doubling": ["engines/none.bin"]}), "not listed in files"),
        (_stage(1, artifacts={"doubling": ["../x"]}), "relative paths by backend"),
        (_stage(1, artifacts={"doubling": []}), "relative paths by backend"),
        (_stage(1, artifacts=[]), "relative paths by backend"),
        (_stage(1, backend=3), r"stages\[1\]\.backend"),
        (_stage(1, precision=None), r"stages\[1\]\.precision"),
    ],
)
def test_wrong_stages_are_refused(make_bundle: BundleMaker, change: Change, message: str):
    with pytest.raises(BundleSchemaError, match=message):
        Bundle.open(make_bundle(change, FILES))


def test_stages_survive_the_round_trip(bundle: Bundle):
    again = Manifest.from_json(bundle.manifest.to_json())
    assert again == bundle.manifest
    assert again.chain[1].artifacts == {"doubling": ("engines/second.bin",)}
    assert again.chain[1].backend == "doubling"


def test_a_bundle_of_the_first_schema_is_one_stage():
    manifest = Bundle.open(default_bundle_path()).manifest
    assert manifest.schema == "gen2seg.bundle/1.0"
    [stage] = manifest.chain
    assert (stage.name, stage.path, stage.input, stage.output) == ("network", "model.onnx", "image", "colors")
    assert stage.precision.weights == "float16"
