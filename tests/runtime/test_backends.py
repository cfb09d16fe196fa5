"""The registry, and ONNX Runtime: the verified bytes and nothing else."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from gen2seg_runtime.backends import open_backend, usable_backends
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.errors import BackendError
from gen2seg_runtime.threads import _physical_cores, thread_count

from .conftest import BundleMaker, painting_graph


def test_runs_the_graph_for_any_size_and_batch(make_bundle: BundleMaker):
    bundle = Bundle.open(make_bundle())
    for name in ("auto", *usable_backends(bundle)):
        backend = open_backend(bundle, name, threads=1)
        assert (backend.name, backend.device) == ("onnxruntime" if name == "auto" else name, "cpu")
        for shape in ((1, 3, 32, 64), (2, 3, 96, 32)):
            x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
            np.testing.assert_allclose(backend.run(x), 127.5 * x + 127.5, rtol=1e-6, atol=1e-4)


def test_unknown_backend_lists_the_known(make_bundle: BundleMaker):
    with pytest.raises(BackendError, match=r"unknown backend 'nothing'.*auto, onnxruntime"):
        open_backend(Bundle.open(make_bundle()), "nothing")


def test_missing_library_names_the_package(make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match="pip install onnxruntime"):
        open_backend(Bundle.open(make_bundle()))


def test_no_graph_is_refused(make_bundle: BundleMaker):
    bundle = Bundle.open(make_bundle(files={"model.onnx": ("model", b"no graph")}))
    with pytest.raises(BackendError, match="refuses the model"):
        open_backend(bundle)


def test_wrong_input_is_a_backend_error(make_bundle: BundleMaker):
    backend = open_backend(Bundle.open(make_bundle()))
    with pytest.raises(BackendError, match=r"\(1, 3, 33, 32\)"):
        backend.run(np.zeros((1, 3, 33, 32), np.float32))


@pytest.mark.parametrize("side", ["input", "output"])
def test_names_must_be_those_of_the_manifest(make_bundle: BundleMaker, side: str):
    def rename(manifest: dict[str, Any]) -> None:
        manifest[side]["name"] = "other"

    with pytest.raises(BackendError, match="the manifest promises"):
        open_backend(Bundle.open(make_bundle(rename)))


def test_number_format_must_be_that_of_the_manifest(make_bundle: BundleMaker):
    info = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["n", 3, "h", "w"]) for name in ("image", "colors")]
    graph = helper.make_graph([helper.make_node("Abs", ["image"], ["colors"])], "double", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    files = {"model.onnx": ("model", model.SerializeToString())}
    with pytest.raises(BackendError, match="float32"):
        open_backend(Bundle.open(make_bundle(files=files)))


def test_external_weights_come_from_verified_memory(make_bundle: BundleMaker):
    graph = painting_graph(external=True).SerializeToString()
    weights = np.array([127.5], np.float32).tobytes()
    root = make_bundle(
        files={"net/model.onnx": ("model", graph), "net/weights.bin": ("model_data", weights)}, change=_in_net
    )
    bundle = Bundle.open(root)
    backend = open_backend(bundle)
    x = np.zeros((1, 3, 32, 32), np.float32)
    np.testing.assert_allclose(backend.run(x), 127.5)


def _in_net(manifest: dict[str, Any]) -> None:
    manifest["model"]["path"] = "net/model.onnx"


def test_weights_that_are_not_listed_are_not_looked_for(
    make_bundle: BundleMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    graph = painting_graph(external=True).SerializeToString()
    root = make_bundle(files={"model.onnx": ("model", graph)})
    # in the working folder and in the bundle lies what the graph asks for; neither was verified
    for folder in (tmp_path, root):
        (folder / "weights.bin").write_bytes(np.array([1], np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackendError, match="refuses the model"):
        open_backend(Bundle.open(root))


def test_graph_checker_agrees_with_our_test_graph():
    onnx.checker.check_model(painting_graph(), full_check=True)


def test_thread_count(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("GEN2SEG_NUM_THREADS", raising=False)
    assert thread_count() >= 1
    assert thread_count(3) == 3
    monkeypatch.setenv("GEN2SEG_NUM_THREADS", "5")
    assert thread_count() == 5
    assert thread_count(2) == 2
    for wrong in ("", "0", "two", "-1"):
        monkeypatch.setenv("GEN2SEG_NUM_THREADS", wrong)
        with pytest.raises(BackendError, match="GEN2SEG_NUM_THREADS"):
            thread_count()
    for bad in (0, -1, 1.5, True):
        with pytest.raises(BackendError, match="positive integer"):
            thread_count(bad)  # pyright: ignore[reportArgumentType]


def test_threads_of_one_core_count_once(tmp_path: Path):
    for cpu, siblings in enumerate(["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"]):
        folder = tmp_path / f"cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    assert _physical_cores(set(range(8)), tmp_path) == 4
    assert _physical_cores({0, 4, 1}, tmp_path) == 2
    assert _physical_cores({0, 99}, tmp_path) == 2  # no description of cpu 99: every thread counts


def test_machines_without_affinity(monkeypatch: pytest.MonkeyPatch):
    import os

    monkeypatch.delenv("GEN2SEG_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert thread_count() >= 1
