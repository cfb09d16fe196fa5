"""Bundles and pictures for the runtime's tests; no trained model is needed."""

import hashlib
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

BundleMaker = Callable[..., Path]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def painting_graph(external: bool = False) -> onnx.ModelProto:
    """A network for any size that undoes the input normalisation: colours = 255 · (x / 2 + 0.5).

    It passes through a strided pool and an unpooling, so that sizes which are no multiple of 32 fail.
    """
    dims: list[Any] = ["n", 3, "h", "w"]
    scale = numpy_helper.from_array(np.full(1, 127.5, np.float32), "scale")
    if external:
        scale.data_location = TensorProto.EXTERNAL
        scale.ClearField("raw_data")
        for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "4")):
            entry = scale.external_data.add()
            entry.key, entry.value = key, value
    constants = [
        scale,
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
        numpy_helper.from_array(np.array([1, 1, 32, 32], np.float32), "factors"),
    ]
    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[32, 32], strides=[32, 32]),
        helper.make_node("Resize", ["pooled", "", "factors"], ["coarse"], mode="nearest"),
        helper.make_node("Mul", ["coarse", "zero"], ["nothing"]),
        helper.make_node("Add", ["image", "nothing"], ["same"]),
        helper.make_node("Mul", ["same", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "scale"], ["colors"]),
    ]
    graph = helper.make_graph(
        nodes,
        "painting",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("colors", TensorProto.FLOAT, dims)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def manifest_dict(files: dict[str, tuple[str, bytes]]) -> dict[str, Any]:
    """A full manifest as JSON objects; `files` is path -> (role, content)."""
    return {
        "schema": "gen2seg.bundle/1.0",
        "name": "painter",
        "backbone": "tiny",
        "version": "0.1.0",
        "weights": {"state": "untrained", "source": "made by hand", "sha256": None, "parameters": 1},
        "licence": {"code": "Apache-2.0", "weights": "CC0-1.0", "use_limits": [], "attribution": ""},
        "model": {"path": "model.onnx", "opset": 18},
        "input": {
            "name": "image",
            "layout": "NCHW",
            "dtype": "float32",
            "color_order": "RGB",
            "scale": 255.0,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "resize": {
                "rule": "longest_side",
                "size": 128,
                "enlarge_below": 64,
                "interpolation": "bilinear_antialias",
            },
            "pad": {"multiple": 32, "mode": "replicate"},
            "dynamic": True,
            "buckets": [],
        },
        "output": {
            "name": "colors",
            "layout": "NCHW",
            "dtype": "float32",
            "normalization": "fixed",
            "range": [0.0, 255.0],
            "gamma": None,
        },
        "prompt": {"mode": "metric", "sigma": 0.01, "threshold": 3, "distance": 40.0, "connected": True},
        "instances": {"distance": 40.0, "background": 40.0, "min_area": 16},
        "precision": {"weights": "float32", "compute": "float32", "wide_nodes": []},
        "folded": {},
        "files": [
            {"path": path, "role": role, "bytes": len(data), "sha256": sha256(data)}
            for path, (role, data) in files.items()
        ],
        "goldens": [],
        "verification": {},
        "resources": {},
        "created_by": {"gen2seg": "0.1.0"},
    }


def write_bundle(
    root: Path,
    files: dict[str, tuple[str, bytes]],
    change: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    root.mkdir(parents=True)
    for path, (_, data) in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    manifest = manifest_dict(files)
    if change:
        change(manifest)
    (root / "bundle.json").write_text(json.dumps(manifest))
    return root


@pytest.fixture
def make_bundle(tmp_path: Path) -> BundleMaker:
    """make_bundle(change=None, files=None): a bundle with the painting network; `change` edits its manifest."""

    def make(
        change: Callable[[dict[str, Any]], None] | None = None,
        files: dict[str, tuple[str, bytes]] | None = None,
        name: str = "bundle",
    ) -> Path:
        given = files or {"model.onnx": ("model", painting_graph().SerializeToString())}
        return write_bundle(tmp_path / name, given, change)

    return make


def two_squares(height: int = 60, width: int = 80) -> np.ndarray:
    """(H, W, 3) uint8: a red and a green square on black."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[10:30, 10:30] = (220, 30, 30)
    picture[25:55, 45:75] = (30, 200, 60)
    return picture


@pytest.fixture
def squares() -> np.ndarray:
    return two_squares()


@pytest.fixture
def squares_file(tmp_path: Path, squares: np.ndarray) -> Path:
    path = tmp_path / "squares.png"
    Image.fromarray(squares).save(path)
    return path


# By path: pytest's import mode "importlib" does not make neighbours importable.
_interpreter = runpy.run_path(str(Path(__file__).parents[1] / "kernels/interpreter.py"))


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Files of Triton kernels run in a process where Triton interprets, see tests/kernels/interpreter.py."""
    if module_path.name.endswith("_triton.py") and not _interpreter["interpreting"]():
        return _interpreter["InterpretedFile"].from_parent(parent, path=module_path)
    return None
