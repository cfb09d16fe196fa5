"""A backbone of several stages: written, verified, resumed, damaged."""

import json
import os
import shutil
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from torch import nn

from gen2seg_export import cases, control, onnx_graph, pipeline
from gen2seg_export import stages as stages_module
from gen2seg_export.bundle_writer import write_manifest
from gen2seg_export.cases import References
from gen2seg_export.errors import ExportError, ParityError, WorkFolderError
from gen2seg_export.external_data import external_files
from gen2seg_export.graph_check import check_float32_graph
from gen2seg_export.onnx_graph import GraphSpec, large_weights, perturb_weight, save_graph
from gen2seg_export.parts import Parts
from gen2seg_export.pipeline import ExportReport, export_bundle
from gen2seg_export.stages import module_digest, onnxruntime_form, plan_stage
from gen2seg_runtime.backends import open_backend
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.errors import BundleIntegrityError
from gen2seg_runtime.segmenter import Segmenter
from gen2seg_runtime.verify import verify_goldens

from . import chain

GRAPHS = ("encoder.onnx", "decoder.onnx")


def test_the_bundle_holds_a_graph_and_weights_for_each_stage(chain_report: ExportReport):
    manifest = Bundle.open(chain_report.path).manifest
    assert manifest.schema == "gen2seg.bundle/1.1"
    assert [(stage.name, stage.path) for stage in manifest.chain] == [("encoder", GRAPHS[0]), ("decoder", GRAPHS[1])]
    roles = {record.path: record.role for record in manifest.files}
    for name in GRAPHS:
        assert (roles[name], roles[f"{name}.data"]) == ("model", "model_data")
        assert external_files(onnx.load(chain_report.path / name, load_external_data=False)) == (f"{name}.data",)
        assert b"/" not in (chain_report.path / name).read_bytes().replace(b"ai.onnx", b"")[:20]
    assert manifest.input.resize.rule == "fit"
    assert manifest.resources["cost"]["after"]["parameters"] == manifest.weights.parameters
    assert "a warning of the network" in chain_report.notes


def test_each_stage_and_the_colours_were_compared(chain_report: ExportReport):
    verification = Bundle.open(chain_report.path).manifest.verification
    assert verification["passed"] is True
    assert list(verification["summary"]["stages"]) == ["encoder", "decoder"]
    assert all(figures["relative"] < 1e-5 for figures in verification["summary"]["stages"].values())
    assert verification["summary"]["colors"]["psnr"] >= 60
    assert verification["kernel_pixels"] <= 2e-5
    control = verification["negative_control"]
    assert control["passed"] is True
    assert [name.split(":")[0] for name in control["perturbed"]] == ["encoder", "decoder"]


def test_the_runtime_gives_what_the_network_gives(chain_report: ExportReport):
    model = chain.open_chain(random_weights=True)
    import torch

    x = np.random.default_rng(0).standard_normal((1, 3, 48, 64)).astype(np.float32)
    got = open_backend(Bundle.open(chain_report.path), "onnxruntime", 1).run_stages(x)
    for name, expected in model.reference(torch.from_numpy(x)).items():
        np.testing.assert_allclose(got[name], expected.numpy(), atol=1e-5)


def test_goldens_hold_every_stage_but_the_last(chain_report: ExportReport):
    bundle = Bundle.open(chain_report.path)
    [first] = bundle.manifest.goldens
    assert set(first.stages) == {"encoder"}
    found = verify_goldens(bundle, ("onnxruntime",), threads=1)
    assert found.passed
    assert all(check.colors is not None for check in found.checks)
    assert found.checks[0].stages["encoder"].relative < 1e-5
    assert all(0.9 < check.mask_iou <= 1 for check in found.checks if check.mask_iou is not None)


def _damaged(report: ExportReport, folder: Path, name: str) -> Path:
    """A copy whose graph `name` got a wrong weight, with digests that fit."""
    root = folder / "damaged"
    shutil.copytree(report.path, root)
    model = onnx.load(root / name, load_external_data=False)
    perturb_weight(model, large_weights(model)[0], 0.5, root)
    save_graph(model, root / name)
    manifest = Bundle.open(report.path).manifest
    write_manifest(root, manifest, manifest.goldens)
    return root


@pytest.mark.parametrize("name", GRAPHS)
def test_a_wrong_weight_fails_the_goldens(name: str, chain_report: ExportReport, tmp_path: Path):
    found = verify_goldens(Bundle.open(_damaged(chain_report, tmp_path, name)), ("onnxruntime",), threads=1)
    assert not found.passed
    assert any("stage 'encoder'" in failure for failure in found.failures) == (name == "encoder.onnx")
    assert any("colour" in failure for failure in found.failures)
    json.dumps(found.to_json(), allow_nan=False)


def test_a_wrong_weight_in_any_stage_fails_the_gate(
    chained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = stages_module.write_graph

    def wrong(module: Any, spec: Any, path: Path) -> None:
        real(module, spec, path)
        if path.name == "decoder.onnx":
            model = onnx.load(path, load_external_data=False)
            perturb_weight(model, large_weights(model)[0], 0.5, path.parent)
            save_graph(model, path)

    monkeypatch.setattr(stages_module, "write_graph", wrong)
    with pytest.raises(ParityError, match="stage decoder") as caught:
        export_bundle(tmp_path / "b", **chained)
    assert not any("stage encoder" in failure for failure in caught.value.parity.failures)
    assert not (tmp_path / "b").exists()


def test_a_gate_that_sees_no_fault_is_itself_a_failure(
    chained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(control, "STRENGTH", 0.0)  # the planted faults are none
    with pytest.raises(ParityError, match=r"negative control: noise on encoder: .* went unseen") as caught:
        export_bundle(tmp_path / "b", **chained)
    assert len(caught.value.control.unseen) == 2


def test_several_buckets_share_one_graph(chained: dict[str, Any], tmp_path: Path):
    report = export_bundle(tmp_path / "b", sizes=[(48, 64), (64, 48), (64, 64)], **chained)
    spec = report.manifest.input
    assert (spec.resize.rule, spec.buckets, spec.dynamic) == ("fit", ((48, 64), (64, 48), (64, 64)), False)
    segmenter = Segmenter.open(report.path, threads=1)
    for size, colors in (((30, 40), (48, 64)), ((400, 300), (64, 48)), ((50, 50), (64, 64)), ((64, 63), (64, 63))):
        assert segmenter.encode(np.zeros((*size, 3), np.uint8)).colors.shape[:2] == colors


def test_dynamic_takes_any_size(chained: dict[str, Any], tmp_path: Path):
    report = export_bundle(tmp_path / "b", dynamic=True, **chained)
    spec = report.manifest.input
    assert (spec.resize.rule, spec.resize.size, spec.buckets, spec.dynamic) == ("longest_side", 64, (), True)
    assert "probe" in {case.kind for case in report.parity.cases}
    assert Segmenter.open(report.path, threads=1).encode(np.zeros((64, 20, 3), np.uint8)).colors.shape[:2] == (64, 20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": [(48, 64)], "dynamic": True}, "exclude each other"),
        ({"sizes": [(48, 60)]}, "multiples of 8"),
        ({"precision": "fp8"}, "precision must be one of"),
        ({"targets": ["coreml"]}, "unknown target 'coreml'"),
        ({"precision": "int8", "targets": ["tensorrt"]}, "int8 is offered for the target openvino only"),
        ({"vae": "taesd"}, "takes no vae"),
        ({"settings": {"size": 64}}, "takes no settings"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_contradicting_arguments(arguments: dict[str, Any], message: str, chained: dict[str, Any], tmp_path: Path):
    with pytest.raises(ExportError, match=message):
        export_bundle(tmp_path / "b", **chained, **arguments)
    assert list(tmp_path.iterdir()) == []


def _count_graphs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    real, written = stages_module.write_graph, []

    def count(module: Any, spec: Any, path: Path) -> None:
        written.append(path.name)
        real(module, spec, path)

    monkeypatch.setattr(stages_module, "write_graph", count)
    return written


def test_a_second_run_takes_finished_stages_again(
    chained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    written = _count_graphs(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "verify_bundle", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            export_bundle(tmp_path / "b", **chained)
    assert [path.name for path in tmp_path.iterdir()] == ["b.parts"]
    assert sorted(written) == sorted(GRAPHS)
    # A damaged file and other weights are made anew, and nothing else is.
    data = tmp_path / "b.parts" / "decoder.float32" / "decoder.onnx.data"
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    written.clear()
    steps: list[tuple[str, str]] = []
    report = export_bundle(tmp_path / "b", progress=lambda *step: steps.append(step), **chained)
    assert written == ["decoder.onnx"]
    assert ("graph", "encoder, taken from an earlier run") in steps
    assert not any(step == "reference" for step, _ in steps)
    assert report.parity.passed
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_other_weights_and_settings_are_not_taken_again(
    chained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    written = _count_graphs(monkeypatch)
    for architecture, expected in (
        ({"seed": 0}, list(GRAPHS)),
        ({"seed": 1}, list(GRAPHS)),
        ({"seed": 1, "limit": 0.1}, ["decoder.onnx"]),  # of the same weights
        ({"seed": 1, "limit": 0.1}, []),
    ):
        written.clear()
        steps: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "verify_bundle", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                export_bundle(
                    tmp_path / "b",
                    architecture=architecture,
                    progress=lambda step, _, steps=steps: steps.append(step),
                    **chained,
                )
        assert written == expected
        assert ("reference" in steps) == bool(expected)


def test_the_digest_of_a_network_holds_its_settings():
    def made(**settings: Any) -> nn.Module:
        module = nn.Sequential(nn.Identity())
        for name, value in settings.items():
            setattr(module[0], name, value)
        return module

    plain = {"limit": None, "eps": 1e-6, "activation": nn.functional.relu, "config": GraphSpec(), "pads": (1, 2)}
    digest = module_digest(made(**plain))
    assert module_digest(made(**plain)) == digest
    changes = {
        "limit": 1.0,
        "eps": 1e-5,
        "activation": nn.functional.silu,
        "config": GraphSpec(least=2),
        "pads": (2, 1),
    }
    for name, value in changes.items():
        assert module_digest(made(**{**plain, name: value})) != digest, name
    assert module_digest(made(**plain, thing=object())) == module_digest(made(**plain, thing=object()))


def test_networks_go_as_soon_as_their_graph_is_there(
    chained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real, seen = stages_module.write_graph, []

    def watch(module: Any, spec: Any, path: Path) -> None:
        assert [known() for known in seen] == [None] * len(seen)
        seen.append(weakref.ref(module))
        real(module, spec, path)

    monkeypatch.setattr(stages_module, "write_graph", watch)
    monkeypatch.setattr(pipeline, "verify_bundle", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_bundle(tmp_path / "b", **chained)
    assert len(seen) == 2


@pytest.mark.parametrize(("precision", "calibrated"), [("fp16", False), ("bf16", True)])
def test_references_for_calibration_only_where_something_is_measured(
    precision: str, calibrated: bool, chained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps: list[tuple[str, str]] = []
    monkeypatch.setattr(pipeline, "_write_graphs", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_bundle(tmp_path / "b", precision=precision, progress=lambda *step: steps.append(step), **chained)
    assert any(step == "reference" and "scene-30" in case for step, case in steps) == calibrated


def test_the_float32_graph_is_judged_for_itself(chain_report: ExportReport, tmp_path: Path):
    model = chain.open_chain(random_weights=True)
    [case] = [c for c in cases.plan_cases(model.input, None, None, 1) if c.kind == "golden"]
    references = References(tmp_path / "references", "a test", model.output)
    references.compute([case], model.reference)
    plan = plan_stage(model.stages[0], True, False, model.input, "bf16", ("onnx",))
    parts = Parts(tmp_path / "b")
    with parts.hold():
        for root, right in ((chain_report.path, True), (_damaged(chain_report, tmp_path, "encoder.onnx"), False)):
            graph = Path(shutil.copytree(root, tmp_path / f"right-{right}")) / "encoder.onnx"
            shutil.copy(graph, onnxruntime_form(graph))  # a float32 bundle holds that form under the plain name
            figures, failures = check_float32_graph(parts, plan, graph, case, references, 1)
            assert (not failures) == right == (figures["relative"] < 1e-5)


def test_force_records_what_the_control_did_not_see(
    chained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(control, "STRENGTH", 0.0)
    report = export_bundle(tmp_path / "b", force=True, **chained)
    verification = Bundle.open(report.path).manifest.verification
    assert report.forced
    assert verification["passed"] is False
    assert all("negative control" in failure for failure in verification["failures"])
    assert len(verification["failures"]) == 2


@pytest.mark.parametrize(
    "array", [np.zeros((1, 16, 6, 8)), b"PK\x03\x04 no array", b""], ids=["float64", "zip", "empty"]
)
def test_a_golden_that_is_no_array_is_refused(array: Any, chain_report: ExportReport, tmp_path: Path):
    root = tmp_path / "copy"
    shutil.copytree(chain_report.path, root)
    manifest = Bundle.open(root).manifest
    path = root / manifest.goldens[0].stages["encoder"]
    path.write_bytes(array) if isinstance(array, bytes) else np.save(path, array)
    write_manifest(root, manifest, manifest.goldens)
    with pytest.raises(BundleIntegrityError, match=r"encoder\.npy"):
        verify_goldens(Bundle.open(root), ("onnxruntime",), threads=1)


def _interrupt(*_args: object, **_kwargs: object) -> None:
    raise KeyboardInterrupt


CHILD = """
import sys, time
from pathlib import Path
from gen2seg_export import cases, onnx_graph, pipeline, registry, stages
sys.path.insert(0, sys.argv[2])
registry.FAMILIES["chain"] = registry.Family("chain", "open_chain", "toy-chain")
cases.verification_scenes = lambda: []
real = stages.write_graph
def slow(module, spec, path):
    real(module, spec, path)
    if path.name == "decoder.onnx":
        print("half way", flush=True)
        time.sleep(60)
stages.write_graph = slow
pipeline.export_bundle(sys.argv[1], backbone="chain", random_weights=True, threads=1, max_images=2)
"""


def test_a_killed_run_leaves_no_bundle_and_is_resumed(
    chained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(onnx_graph, "EXTERNAL_ABOVE", 64 << 20)
    path = os.pathsep.join(item for item in sys.path if item)
    clean = {key: value for key, value in os.environ.items() if key != "GEN2SEG_DATA"}
    command = [sys.executable, "-c", CHILD, str(tmp_path / "b"), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**clean, "PYTHONPATH": path}) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half way\n"
        with pytest.raises(WorkFolderError, match="another export to this output is running"):
            export_bundle(tmp_path / "b", **chained)
        child.send_signal(signal.SIGKILL)
    assert [item.name for item in tmp_path.iterdir()] == ["b.parts"]
    written = _count_graphs(monkeypatch)
    report = export_bundle(tmp_path / "b", **chained)
    assert written == ["decoder.onnx"]
    assert report.parity.passed
    assert [item.name for item in tmp_path.iterdir()] == ["b"]
    assert not list(report.path.glob(".*"))


def test_a_part_appears_whole_or_not_at_all(tmp_path: Path):
    parts = Parts(tmp_path / "b")

    def broken(root: Path) -> None:
        (root / "half").write_text("x")
        raise OSError("disk full")

    with parts.hold():
        with pytest.raises(OSError, match="disk full"):
            parts.part("one", {"a": 1}, broken)
        assert not (parts.root / "one").exists()
        folder, facts, reused = parts.part("one", {"a": 1}, lambda root: {"n": (root / "f").write_text("x")})
        assert (facts, reused) == ({"n": 1}, False)
        assert parts.part("one", {"a": 1}, lambda _root: {}) == (folder, {"n": 1}, True)
        (folder / "stranger").write_text("y")
        assert parts.part("one", {"a": 1}, lambda _root: {"n": 2}) == (folder, {"n": 2}, False)
        assert parts.part("one", {"a": 2}, lambda _root: {"n": 3})[1] == {"n": 3}
    shutil.rmtree(folder)
    with parts.hold():
        pass
    assert not parts.root.exists()  # nothing in it is worth keeping
