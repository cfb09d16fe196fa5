"""Which backend, with which precision asked for, a stage prefers: by figures, and on a toy."""

from pathlib import Path

import numpy as np
import pytest

from gen2seg_export.precision import apply
from gen2seg_export.targets import build
from gen2seg_export.targets.cpu_choice import RUNS, best_candidate, measure_candidates

from .toys import Toy, inputs, write_onnx


@pytest.mark.parametrize(
    ("ms", "psnr", "best"),
    [
        ({"onnxruntime": 100, "openvino f32": 80}, (200, 90), "openvino f32"),
        ({"onnxruntime": 100, "openvino f32": 80}, (200, 40), "onnxruntime"),  # another network
        ({"onnxruntime": 100, "openvino f32": 96}, (200, 90), "onnxruntime"),  # no gain to speak of
        ({"openvino f32": 100, "openvino bf16": 70}, (200, 50), "openvino bf16"),
        ({"openvino f32": 100, "openvino bf16": 70}, (200, float("-inf")), "openvino f32"),
        ({"openvino f32": 100}, (200,), "openvino f32"),
    ],
)
def test_the_fastest_that_is_near_enough(ms: dict[str, float], psnr: tuple[float, ...], best: str):
    assert best_candidate(ms, dict(zip(ms, psnr, strict=True)), least_psnr=45) == best


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_candidates_are_measured(precision: str, tmp_path: Path):
    pytest.importorskip("openvino")
    graph = write_onnx(Toy(), tmp_path / "toy.onnx", external=True)
    if precision != "fp32":
        graph = apply(graph, tmp_path / "narrow.onnx", precision, inputs(1), threads=1).paths[0]
    made = build("openvino", graph, tmp_path / "ir", stage="net", shapes=[(1, 3, 16, 16)], precision=precision)
    np.save(tmp_path / "sample.npy", inputs(1, seed=8)[0])
    told: list[str] = []
    job = {
        "xml": str(made.paths[0]),
        "graph": str(graph),
        "bfloat16": precision == "bf16",
        "sample": str(tmp_path / "sample.npy"),
        "least_psnr": 45.0,
    }
    found = measure_candidates(job, told.append)
    names = list(found["ms"])
    assert names[0] == ("openvino f32" if precision == "bf16" else "onnxruntime")
    assert told == [f"timing {name}" for name in names]
    assert (found["runs"], found["shape"]) == (RUNS, [1, 3, 16, 16])
    assert all(value > 0 for value in found["ms"].values())
    assert found["psnr"][names[0]] == 200.0
    assert all(value > 40 for value in found["psnr"].values())
    assert f"{found['backend']} {found['hint']}".removeprefix("onnxruntime f32") in ("", *names)
