"""A bundle without learned weights and a small data folder, for the tests of the commands."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gen2seg_runtime.manifest import FileRecord, LicenceInfo, Manifest, PromptSpec, WeightsInfo

REPOSITORY = Path(__file__).resolve().parents[2]


def write_color_bundle(folder: Path, *, state: str = "untrained") -> Path:
    """A bundle whose network gives every pixel its own colour back: 127.5 x + 127.5 on x in [-1, 1]."""
    onnx = pytest.importorskip("onnx", reason="the test bundle is made with onnx")
    from onnx import TensorProto, helper, numpy_helper

    shape = ["n", 3, "h", "w"]
    half = numpy_helper.from_array(np.array(127.5, np.float32), "half")
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["image", "half"], ["scaled"]),
            helper.make_node("Add", ["scaled", "half"], ["colors"]),
        ],
        "colors",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("colors", TensorProto.FLOAT, shape)],
        [half],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(data)
    manifest = Manifest(
        name="colour-copy",
        backbone="tiny",
        version="0.0.1",
        weights=WeightsInfo(state=state, source="made by a test", parameters=1),
        licence=LicenceInfo(code="Apache-2.0", weights="Apache-2.0"),
        prompt=PromptSpec(mode="metric", distance=40.0),
        files=(FileRecord(path="model.onnx", role="model", bytes=len(data), sha256=hashlib.sha256(data).hexdigest()),),
    )
    (folder / "bundle.json").write_text(manifest.to_json())
    return folder


@pytest.fixture(scope="session")
def color_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a bundle whose colours are the picture's own."""
    return write_color_bundle(tmp_path_factory.mktemp("bundles") / "colour-copy")


def draw_disks(size: tuple[int, int], disks: list[tuple[int, int, int]], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Disks (x, y, radius) in far apart colours on near black: uint8 [H, W, 3] and uint16 labels [H, W]."""
    palette = np.array([[230, 40, 40], [40, 220, 60], [60, 80, 240], [240, 230, 60], [230, 60, 230]], np.uint8)
    image = np.random.default_rng(seed).integers(0, 8, (*size, 3)).astype(np.uint8)
    labels = np.zeros(size, np.uint16)
    ys, xs = np.mgrid[: size[0], : size[1]]
    for index, (x, y, radius) in enumerate(disks):
        inside = (xs - x) ** 2 + (ys - y) ** 2 <= radius**2
        image[inside], labels[inside] = palette[index % len(palette)], index + 1
    return image, labels


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets in the usual layout: `disks`, and `outlines` with boundaries by two annotators."""
    root = tmp_path_factory.mktemp("data")
    for name, count in (("disks", 4), ("outlines", 2)):
        for part in ("images", "instances", *(["edges"] if name == "outlines" else [])):
            (root / name / part).mkdir(parents=True)
        for index in range(count):
            disks = [(20, 24, 12), (60, 30, 9 + index), (84, 70, 10)][: 2 + index % 2]
            image, labels = draw_disks((96, 112), disks, seed=index)
            Image.fromarray(image).save(root / name / "images" / f"{name}{index}.png")
            Image.fromarray(labels).save(root / name / "instances" / f"{name}{index}.png")
            if name == "outlines":
                outline = np.zeros(labels.shape, bool)
                outline[:, 1:] |= labels[:, 1:] != labels[:, :-1]
                outline[1:] |= labels[1:] != labels[:-1]
                np.savez(root / name / "edges" / f"{name}{index}.npz", boundaries=np.stack([outline, outline]))
    return root


Runner = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def run_cli() -> Runner:
    """Run `gen2seg ARGUMENTS` as a child process, from `cwd`, with text output."""

    def run(*arguments: object, cwd: Path | None = None, code: str | None = None) -> "subprocess.CompletedProcess[str]":
        paths = [str(REPOSITORY / part) for part in ("", "export", "runtime", "kernels")]
        environment = {k: v for k, v in os.environ.items() if k != "GEN2SEG_DATA"}
        environment |= {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        start = ["-c", code] if code else ["-m", "gen2seg.cli"]
        command = [sys.executable, *start, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=120)

    return run
