import hashlib
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from gen2seg.backbones import get_backbone
from gen2seg.backbones.defaults import BundleDefaultsError
from gen2seg_export import control, pipeline
from gen2seg_export.control import ControlReport
from gen2seg_export.errors import ExportError, ParityError, UnsupportedBackboneError
from gen2seg_export.onnx_graph import large_weights
from gen2seg_export.pipeline import ExportReport, export_bundle
from gen2seg_export.source import Source
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.errors import BundleIntegrityError, OutputExistsError
from gen2seg_runtime.segmenter import Segmenter

from .conftest import perturbed, put_graph


def test_the_manifest_tells_what_is_there(exported: ExportReport, source: Source):
    manifest = Bundle.open(exported.path).manifest
    assert (manifest.name, manifest.backbone) == ("gen2seg-tiny", "tiny")
    assert manifest.weights.state == "untrained"
    assert manifest.weights.parameters == source.parameters
    assert manifest.weights.sha256 == source.sha256
    assert (manifest.precision.weights, manifest.precision.compute) == ("float16", "float32")
    usual = get_backbone("tiny").defaults
    assert (manifest.prompt.mode, manifest.prompt.distance) == ("metric", usual.distance)
    assert manifest.input.dynamic
    assert (manifest.input.resize.rule, manifest.input.resize.size) == ("longest_side", usual.size)
    assert manifest.input.resize.enlarge_below == usual.enlarge_below
    assert manifest.licence.weights == "Apache-2.0"
    assert "diagnosis" in " ".join(manifest.licence.use_limits)
    assert "Trained" not in manifest.licence.attribution
    opset = onnx.load(exported.path / "model.onnx").opset_import[0].version
    assert manifest.model.opset == opset


def test_every_file_is_listed_with_its_digest(exported: ExportReport):
    listed = {record.path: record for record in exported.manifest.files}
    present = {p.relative_to(exported.path).as_posix() for p in exported.path.rglob("*") if p.is_file()}
    assert present == {*listed, "bundle.json"}
    for path, record in listed.items():
        content = (exported.path / path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (record.bytes, record.sha256)
    assert exported.bytes == sum(p.stat().st_size for p in exported.path.rglob("*") if p.is_file())


def test_the_verification_report_travels_with_the_bundle(exported: ExportReport):
    verification = Bundle.open(exported.path).manifest.verification
    assert verification["passed"] is True
    assert verification["forced"] is False
    assert verification["negative_control"]["passed"] is True
    assert len(verification["negative_control"]["perturbed"]) == 2
    assert len(verification["cases"]) == len(exported.parity.cases)
    assert verification["masks_gated"] is False  # untrained: reported only


def test_resources_are_measured_and_labelled(exported: ExportReport):
    resources = Bundle.open(exported.path).manifest.resources
    latency = resources["latency_ms"]
    assert 0 < latency["least"] <= latency["median"] <= latency["most"]
    assert 20e6 < resources["peak_memory_bytes"] < 2e9
    assert resources["machine"]["cpu"]
    assert "not a benchmark" in resources["what"]


def test_goldens_hold_here_and_see_a_wrong_picture(exported: ExportReport):
    segmenter = Segmenter.open(exported.path, threads=1)
    assert len(exported.manifest.goldens) == 2
    for golden in exported.manifest.goldens:
        expected = np.asarray(Image.open(exported.path / golden.colors)).astype(int)
        picture = np.asarray(Image.open(exported.path / golden.image))
        assert np.abs(segmenter.encode(picture).colors - expected).max() <= golden.max_difference <= 4
        flipped = np.ascontiguousarray(picture[:, ::-1])
        assert np.abs(segmenter.encode(flipped).colors - expected).max() > golden.max_difference


def test_no_machine_path_in_the_bundle(exported: ExportReport):
    text = (exported.path / "bundle.json").read_text()
    assert str(exported.path.parent) not in text
    assert str(Path.home()) not in text or str(Path.home()) == "/"
    assert str(Path(pipeline.__file__).parents[2]) not in text


def test_the_runtime_refuses_a_changed_bundle(exported: ExportReport, quick: dict, tmp_path: Path):
    report = export_bundle(tmp_path / "b", **quick)
    model = report.path / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(BundleIntegrityError, match=r"model\.onnx"):
        Bundle.open(report.path)


def test_float32_bundle_is_nearly_exact(quick: dict, exported: ExportReport, tmp_path: Path):
    report = export_bundle(tmp_path / "wide", **quick)
    assert report.manifest.precision.weights == "float32"
    assert report.parity.summary()["stages"]["network"]["max"] < 0.005
    halves = exported.manifest.file("model.onnx").bytes / report.manifest.file("model.onnx").bytes
    assert halves < 0.56


def test_a_checkpoint_brings_its_defaults_and_arguments_win(quick: dict, checkpoint: Path, tmp_path: Path):
    arguments = {"checkpoint": checkpoint, "threads": 1, "settings": {"distance": 25.0}, "name": "mine"}
    report = export_bundle(tmp_path / "b", precision="fp16", max_images=2, **arguments)
    manifest = report.manifest
    assert (manifest.name, manifest.weights.state) == ("mine", "trained")
    assert "Trained from scratch" in manifest.licence.attribution
    assert (manifest.input.resize.size, manifest.input.resize.enlarge_below) == (512, 256)
    assert manifest.prompt.distance == 25.0
    digest = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    assert manifest.weights.sha256 == digest
    assert report.parity.masks_gated
    longest = max(Segmenter.open(report.path, threads=1).encode(np.zeros((90, 700, 3), np.uint8)).colors.shape)
    assert longest == 512


def test_fixed_size_bundle(quick: dict, tmp_path: Path):
    # The graph of `quick` takes any size, so also this one; `test_onnx_graph` traces a fixed one.
    report = export_bundle(tmp_path / "b", sizes=[(96, 160)], **quick)
    assert not report.manifest.input.dynamic
    assert report.manifest.input.buckets == ((96, 160),)
    assert {case.shape[1:] for case in report.parity.cases} == {(96, 160)}
    encoding = Segmenter.open(report.path, threads=1).encode(np.zeros((33, 70, 3), np.uint8))
    assert encoding.size == (33, 70)
    assert encoding.colors.shape == (75, 160, 3)  # the aspect ratio is kept: 33 * 160 / 70


def test_real_pictures_are_verified_by_relative_name(quick: dict, tmp_path: Path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    report = export_bundle(tmp_path / "b", images=folder, **quick)
    [real] = [case for case in report.parity.cases if case.kind == "real"]
    assert real.name == "noise.png"
    assert report.parity.summary()["real"] == 1


def _plant_fault(monkeypatch: pytest.MonkeyPatch, graph: onnx.ModelProto) -> None:
    name = large_weights(graph)[2]
    put_graph(monkeypatch, perturbed(graph, name))


def test_a_wrong_weight_fails_the_gate_and_leaves_nothing(
    quick: dict, graph: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _plant_fault(monkeypatch, graph)
    with pytest.raises(ParityError, match=r"fails the gate and was not written.*stage network") as caught:
        export_bundle(tmp_path / "b", precision="fp16", **quick)
    assert not caught.value.parity.passed
    assert [path.name for path in tmp_path.iterdir()] == ["b.parts"]  # for the next run


def test_force_writes_it_and_says_so(
    quick: dict, graph: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _plant_fault(monkeypatch, graph)
    report = export_bundle(tmp_path / "b", precision="fp16", force=True, **quick)
    assert report.forced
    verification = Bundle.open(report.path).manifest.verification
    assert verification["forced"] is True
    assert verification["passed"] is False
    assert verification["failures"]


def test_force_on_a_good_bundle_is_not_recorded_as_forced(quick: dict, tmp_path: Path):
    report = export_bundle(tmp_path / "b", force=True, **quick)
    assert not report.forced
    assert Bundle.open(report.path).manifest.verification["forced"] is False


def test_a_gate_that_sees_no_fault_is_itself_a_failure(quick: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(control, "STRENGTH", 0.0)  # the planted faults are none
    with pytest.raises(ParityError, match=r"negative control: noise on .* went unseen") as caught:
        export_bundle(tmp_path / "b", **quick)
    assert caught.value.parity.passed
    assert len(caught.value.control.unseen) == 2
    assert not (tmp_path / "b").exists()


def test_control_without_weights_does_not_pass():
    assert not ControlReport((), ()).passed


@pytest.mark.parametrize(
    "stage", ["plan_stage", "write_goldens", "verify_bundle", "measure_resources", "publish_directory"]
)
def test_a_break_at_any_stage_leaves_no_half_bundle(
    stage: str, quick: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, stage, interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_bundle(tmp_path / "b", **quick)
    assert not (tmp_path / "b").exists()
    assert not list(tmp_path.glob(".*"))


def test_an_existing_bundle_survives_a_failed_overwrite(
    exported: ExportReport,
    quick: dict,
    graph: onnx.ModelProto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    shutil.copytree(exported.path, tmp_path / "b")
    before = (tmp_path / "b" / "bundle.json").read_bytes()
    with pytest.raises(OutputExistsError):
        export_bundle(tmp_path / "b", **quick)
    with monkeypatch.context() as patch:
        _plant_fault(patch, graph)
        with pytest.raises(ParityError):
            export_bundle(tmp_path / "b", overwrite=True, **quick)
    assert (tmp_path / "b" / "bundle.json").read_bytes() == before
    shutil.rmtree(tmp_path / "b.parts")  # the wrong graph is in there, under the right key
    second = export_bundle(tmp_path / "b", overwrite=True, name="second", **quick)
    assert Bundle.open(second.path).manifest.name == "second"


def test_max_bytes(quick: dict, tmp_path: Path):
    with pytest.raises(ExportError, match="at most 100,000 were asked for"):
        export_bundle(tmp_path / "b", max_bytes=100_000, **quick)
    assert not (tmp_path / "b").exists()


def test_an_unknown_backbone(tmp_path: Path):
    with pytest.raises(UnsupportedBackboneError, match=r"'nonsense' has no exporter; known: .*sd2.*tiny"):
        export_bundle(tmp_path / "b", backbone="nonsense", random_weights=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either --checkpoint DIR or --random-weights"),
        ({"random_weights": True, "checkpoint": "x"}, "either --checkpoint DIR or --random-weights"),
        ({"checkpoint": "x", "architecture": {}}, "brings its own architecture"),
        ({"random_weights": True, "sizes": [(64, 70)]}, "multiples of 32"),
        ({"random_weights": True, "settings": {"sizes": 3}}, "unknown bundle default 'sizes'"),
        ({"random_weights": True, "settings": {"size": 300}}, "enlarge_below must lie in"),
        ({"random_weights": True, "settings": {"size": 3.5}}, "whole number"),
        ({"random_weights": True, "settings": {"distance": float("nan")}}, "finite number"),
        ({"random_weights": True, "settings": {"distance": 0}}, "distance must lie in"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_contradicting_arguments(arguments: dict, message: str, tmp_path: Path, architecture: dict):
    if arguments.get("random_weights") and "checkpoint" not in arguments:
        arguments = {"architecture": architecture, **arguments}
    with pytest.raises((ExportError, BundleDefaultsError), match=message):
        export_bundle(tmp_path / "b", **arguments)
    assert list(tmp_path.iterdir()) == []
