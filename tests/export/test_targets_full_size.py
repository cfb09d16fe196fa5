"""MAE-B as it is exported, random weights: planned, typed and built for four kinds of card."""

from pathlib import Path

import numpy as np
import pytest

from gen2seg_export.onnx_graph import GraphSpec, write_graph
from gen2seg_export.precision import apply
from gen2seg_export.registry import open_model
from gen2seg_export.targets import build


@pytest.mark.slow
def test_engine_of_mae_b(tmp_path: Path):
    pytest.importorskip("tensorrt_rtx")
    stage = open_model("mae-b", random_weights=True).stages[0]
    graph = tmp_path / "float32.onnx"
    write_graph(stage.module, GraphSpec(stride=224, size=(224, 224)), graph)
    picture = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    report = apply(graph, tmp_path / "model.onnx", "fp16", [picture])
    made = build(
        "tensorrt-rtx", report.paths[0], tmp_path / "engines", stage="network", shapes=[picture.shape], precision="fp16"
    )
    checks = made.facts["engines"][0]["checks"]
    assert checks["products_in_network"] == checks["products_in_graph"]
    assert checks["products_in_graph"]["float32"] <= 3  # the ends
    assert checks["products_in_graph"]["float16"] > 100
    assert 0.95 < checks["weight_bytes_in_engine"] / checks["weight_bytes_in_graph"] < 1.05
    assert checks["engine_bytes"] < 260e6  # 457 MB in float32
