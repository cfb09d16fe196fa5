"""The OpenVINO backend: precision forced, verified bytes only, several threads."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from gen2seg_runtime import Segmenter
from gen2seg_runtime.backends import open_backend, usable_backends
from gen2seg_runtime.backends.openvino import OpenVinoStage
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.errors import BackendError

from .conftest import BundleMaker, painting_graph, two_squares

openvino = pytest.importorskip("openvino")

CHANNELS = 64


def mixing_graph(side: int | None = None) -> bytes:
    """3 -> 64 -> 3 channels by 1x1 convolutions of random weights: bfloat16 would be seen in every pixel."""
    generator = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(generator.standard_normal((CHANNELS, 3, 1, 1)).astype(np.float32), "a"),
        numpy_helper.from_array(generator.standard_normal((3, CHANNELS, 1, 1)).astype(np.float32), "b"),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "a"], ["wide"]),
        helper.make_node("Relu", ["wide"], ["positive"]),
        helper.make_node("Conv", ["positive", "b"], ["colors"]),
    ]
    dims: list[Any] = ["n", 3, "h", "w"] if side is None else [1, 3, side, side]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in ("image", "colors")]
    graph = helper.make_graph(nodes, "mixing", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def ir_files(graph: bytes, folder: Path) -> dict[str, tuple[str, bytes]]:
    openvino.save_model(openvino.Core().read_model(graph), folder / "ir.xml", compress_to_fp16=False)
    return {
        "model.onnx": ("model", graph),
        "openvino/network.xml": ("artifact", (folder / "ir.xml").read_bytes()),
        "openvino/network.bin": ("artifact", (folder / "ir.bin").read_bytes()),
    }


def staged(**stage: Any) -> Any:
    """A change of the manifest: one stage with the IR as its artifact, and `stage` over it."""

    def change(manifest: dict[str, Any]) -> None:
        manifest["schema"] = "gen2seg.bundle/1.1"
        plain = {
            "name": "network",
            "path": "model.onnx",
            "input": "image",
            "output": "colors",
            "precision": {"weights": "float32", "compute": "float32"},
            "artifacts": {"openvino": ["openvino/network.xml", "openvino/network.bin"]},
        }
        manifest["stages"] = [{**plain, **stage}]

    return change


X = np.random.default_rng(1).uniform(-1, 1, (2, 3, 32, 64)).astype(np.float32)


def expected(graph: bytes, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": x})[0])


def test_graph_and_ir_compute_in_float32(make_bundle: BundleMaker, tmp_path: Path):
    graph = mixing_graph()
    plain = open_backend(Bundle.open(make_bundle(files={"model.onnx": ("model", graph)})), "openvino", threads=1)
    assert (plain.name, plain.device) == ("openvino", "cpu")
    np.testing.assert_allclose(plain.run(X), expected(graph, X), atol=2e-4)
    root = make_bundle(staged(), ir_files(graph, tmp_path), name="ir")
    np.testing.assert_allclose(open_backend(Bundle.open(root), "openvino").run(X), expected(graph, X), atol=2e-4)


def test_the_manifest_asks_for_bfloat16(make_bundle: BundleMaker, tmp_path: Path):
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16 arithmetic")
    graph = mixing_graph()
    facts = {"openvino": {"inference_precision": "bf16"}}
    root = make_bundle(staged(facts=facts), ir_files(graph, tmp_path))
    difference = np.abs(open_backend(Bundle.open(root), "openvino", threads=1).run(X) - expected(graph, X)).max()
    assert 2e-3 < difference < 1


def test_unknown_precision_is_refused(make_bundle: BundleMaker, tmp_path: Path):
    facts = {"openvino": {"inference_precision": "f16"}}  # some processors would compute in bfloat16 instead
    root = make_bundle(staged(facts=facts), ir_files(mixing_graph(), tmp_path))
    with pytest.raises(BackendError, match="inference_precision must be one of f32, bf16, got 'f16'"):
        open_backend(Bundle.open(root), "openvino")


def test_streams_serve_several_callers_with_the_same_result(make_bundle: BundleMaker):
    bundle = Bundle.open(make_bundle(files={"model.onnx": ("model", mixing_graph())}))
    pictures = [np.full((1, 3, 32, 32), value, np.float32) for value in np.linspace(-1, 1, 12)]
    alone = [open_backend(bundle, "openvino", threads=2).run(x) for x in pictures]
    backend = open_backend(bundle, "openvino", threads=2, options={"streams": 2})
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(backend.run, pictures))
    for first, second in zip(alone, together, strict=True):
        np.testing.assert_array_equal(first, second)
    assert OpenVinoStage(bundle, bundle.manifest.chain[0], 2, {"streams": 2}).streams == 2


def test_an_option_goes_before_the_manifest(make_bundle: BundleMaker, tmp_path: Path):
    facts = {"openvino": {"inference_precision": "bf16"}}
    graph = mixing_graph()
    bundle = Bundle.open(make_bundle(staged(facts=facts), ir_files(graph, tmp_path)))
    wide = open_backend(bundle, "openvino", options={"inference_precision": "f32"}).run(X)
    np.testing.assert_allclose(wide, expected(graph, X), atol=2e-4)
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        narrow = open_backend(bundle, "openvino", options={"inference_precision": "bf16"}).run(X)
        assert np.abs(narrow - wide).max() > 2e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"streams": 3}, "streams must be a number from 1 to the 2 threads, got 3"),
        ({"streams": True}, "streams must be a number"),
        ({"inference_precision": "f16"}, "inference_precision must be one of f32, bf16, got 'f16'"),
        ({"inference_precision": ["bf16"]}, "inference_precision must be one of"),
    ],
)
def test_bad_options_are_refused(make_bundle: BundleMaker, options: dict[str, Any], message: str):
    with pytest.raises(BackendError, match=message):
        open_backend(Bundle.open(make_bundle()), "openvino", threads=2, options=options)


def test_bfloat16_is_refused_where_the_processor_has_none(make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch):
    core = openvino.Core

    class Old(core):
        def get_property(self, *asked: Any) -> Any:
            return ["FP32"] if asked[-1] == "OPTIMIZATION_CAPABILITIES" else super().get_property(*asked)

    monkeypatch.setattr(openvino, "Core", Old)
    bundle = Bundle.open(make_bundle())
    with pytest.raises(BackendError, match="needs a processor with bfloat16"):
        open_backend(bundle, "openvino", options={"inference_precision": "bf16"})


def test_auto_takes_it_where_the_stage_prefers_it(make_bundle: BundleMaker, tmp_path: Path):
    files = ir_files(mixing_graph(), tmp_path)
    bundle = Bundle.open(make_bundle(staged(backend="openvino"), files))
    assert open_backend(bundle, threads=1).name == "openvino"
    assert usable_backends(bundle) == ("onnxruntime", "openvino")
    assert open_backend(Bundle.open(make_bundle(staged(), files, name="other")), threads=1).name == "onnxruntime"


def test_bfloat16_graphs_run_here_and_not_in_onnxruntime(make_bundle: BundleMaker, tmp_path: Path):
    precision = {"weights": "bfloat16", "compute": "bfloat16"}
    root = make_bundle(staged(precision=precision, backend="openvino"), ir_files(mixing_graph(), tmp_path))
    bundle = Bundle.open(root)
    assert open_backend(bundle, threads=1).name == "openvino"
    with pytest.raises(BackendError, match="bfloat16, which onnxruntime has not"):
        open_backend(bundle, "onnxruntime")


def test_fixed_batch_takes_pictures_one_by_one(make_bundle: BundleMaker, tmp_path: Path):
    graph = mixing_graph(side=32)
    backend = open_backend(Bundle.open(make_bundle(staged(), ir_files(graph, tmp_path))), "openvino", threads=1)
    x = np.random.default_rng(2).uniform(-1, 1, (3, 3, 32, 32)).astype(np.float32)
    one_by_one = np.concatenate([expected(graph, x[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(backend.run(x), one_by_one, atol=2e-4)
    with pytest.raises(BackendError, match=r"input of shape \(1, 3, 64, 32\) for stage 'network'"):
        backend.run(np.zeros((1, 3, 64, 32), np.float32))
    np.testing.assert_allclose(backend.run(x[:1]), one_by_one[:1], atol=2e-4)  # still usable


def test_several_threads_at_once(make_bundle: BundleMaker, tmp_path: Path):
    graph = mixing_graph()
    backend = open_backend(Bundle.open(make_bundle(staged(), ir_files(graph, tmp_path))), "openvino", threads=1)
    pictures = [np.full((1, 3, 32, 32), value, np.float32) for value in np.linspace(-1, 1, 24)]
    alone = [backend.run(x) for x in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(backend.run, pictures))
    for first, second in zip(alone, together, strict=True):
        np.testing.assert_array_equal(first, second)
    assert not np.array_equal(together[0], alone[1])


def test_the_embedded_way_through_the_segmenter(make_bundle: BundleMaker):
    root = make_bundle()
    picture = two_squares()
    here = Segmenter.open(root, backend="openvino").encode(picture).colors.astype(int)
    there = Segmenter.open(root, backend="onnxruntime").encode(picture).colors.astype(int)
    assert np.abs(here - there).max() <= 1


def test_weights_in_another_file_are_not_looked_for(
    make_bundle: BundleMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    root = make_bundle(files={"model.onnx": ("model", painting_graph(external=True).SerializeToString())})
    (tmp_path / "weights.bin").write_bytes(np.array([1], np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackendError, match=r"keeps weights in another file.*--target openvino"):
        open_backend(Bundle.open(root), "openvino")


@pytest.mark.parametrize("name", ["image", "colors"])
def test_ir_that_is_not_what_the_manifest_says(make_bundle: BundleMaker, tmp_path: Path, name: str):
    other = mixing_graph().replace(name.encode(), name.upper().encode())
    files = {**ir_files(other, tmp_path), "model.onnx": ("model", mixing_graph())}
    with pytest.raises(BackendError, match=r"promises a float32 input 'image' and output 'colors'"):
        open_backend(Bundle.open(make_bundle(staged(), files)), "openvino")


def test_half_an_ir_is_refused(make_bundle: BundleMaker, tmp_path: Path):
    files = ir_files(mixing_graph(), tmp_path)
    root = make_bundle(staged(artifacts={"openvino": ["openvino/network.xml"]}), files)
    with pytest.raises(BackendError, match=r"needs one \.xml and one \.bin"):
        open_backend(Bundle.open(root), "openvino")


def test_broken_files_are_a_typed_error(make_bundle: BundleMaker, tmp_path: Path):
    files = ir_files(mixing_graph(), tmp_path)
    files["openvino/network.xml"] = ("artifact", b"<net")
    with pytest.raises(BackendError, match="openvino refuses the model"):
        open_backend(Bundle.open(make_bundle(staged(), files)), "openvino")
    files = {"model.onnx": ("model", b"not a graph")}
    with pytest.raises(BackendError, match="openvino refuses the model"):
        open_backend(Bundle.open(make_bundle(files=files, name="other")), "openvino")


def test_doubles_are_refused(make_bundle: BundleMaker):
    info = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [1, 3, 32, 32]) for name in ("image", "colors")]
    graph = helper.make_graph([helper.make_node("Abs", ["image"], ["colors"])], "double", info[:1], info[1:])
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    files = {"model.onnx": ("model", model.SerializeToString())}
    with pytest.raises(BackendError, match="float32 input"):
        open_backend(Bundle.open(make_bundle(files=files)), "openvino")


def test_missing_library(make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch):
    bundle = Bundle.open(make_bundle())
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match="the openvino backend needs: pip install"):
        open_backend(bundle, "openvino")
    assert usable_backends(bundle) == ("onnxruntime",)
