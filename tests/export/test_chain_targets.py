"""The two-stage backbone through the whole exporter with targets beside ONNX: IR, engines, and what is chosen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gen2seg_export import pipeline
from gen2seg_export.control import COARSE_STRENGTH, STRENGTH, control_strength
from gen2seg_export.pipeline import export_bundle
from gen2seg_runtime.backends import open_backend
from gen2seg_runtime.backends.engine_files import engine_files
from gen2seg_runtime.bundle import Bundle


def test_every_stage_prefers_what_was_faster_here(chained: dict[str, Any], tmp_path: Path):
    pytest.importorskip("openvino")
    report = export_bundle(tmp_path / "b", precision="bf16", **chained)
    for stage in report.manifest.stages:
        facts = stage.facts["openvino"]
        chosen = facts["chosen"]
        assert stage.backend == chosen["backend"] == "openvino"  # nothing else runs bfloat16 on a CPU
        assert facts["inference_precision"] == chosen["hint"]
        assert f"openvino {chosen['hint']}" in chosen["ms"]
    # The fault is planted in the IR that is shipped, whose layers name their weights' type.
    assert [label.rpartition(" ")[2] for label in report.control.perturbed] == ["(f32)", "(f32)"]  # the ends are wide
    assert report.control.passed
    assert open_backend(Bundle.open(tmp_path / "b"), "auto", 1).name == "openvino"


def test_the_fault_grows_only_where_random_weights_are_judged_as_int8(chained: dict[str, Any], tmp_path: Path):
    report = export_bundle(tmp_path / "b", **chained)
    assert report.control.strengths == (STRENGTH, STRENGTH)
    wide = report.manifest.stages[0]
    narrow = replace(wide, backend="openvino", facts={"openvino": {"precision": "int8"}})
    assert control_strength(narrow, trained=False) == COARSE_STRENGTH > STRENGTH
    assert control_strength(narrow, trained=True) == control_strength(wide, trained=False) == STRENGTH


def test_engines_for_two_generations_of_cards(chained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("tensorrt_rtx")
    monkeypatch.setattr(pipeline, "add_kernels", lambda *_args: None)
    report = export_bundle(
        tmp_path / "b",
        precision="fp16",
        targets=("tensorrt-rtx",),
        target_options={"tensorrt-rtx": {"turing": True}},
        **chained,
    )
    listed = {record.path for record in report.manifest.files}
    for stage in report.manifest.stages:
        engines = engine_files("tensorrt_rtx", stage)
        assert [engine.sms for engine in engines] == [(80, 86, 89, 120), (75,)]
        for engine in engines:
            assert {engine.path.replace(".engine", end) for end in (".engine", ".json", ".log")} <= listed
        assert stage.backend == "onnxruntime"
