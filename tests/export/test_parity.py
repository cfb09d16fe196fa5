import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gen2seg_export import samples
from gen2seg_export.errors import ExportError
from gen2seg_export.parity import (
    PSNR_CEILING,
    TOLERANCES,
    CaseReport,
    Difference,
    ParityReport,
    difference,
    verify_bundle,
)
from gen2seg_export.pipeline import ExportReport
from gen2seg_export.reference import reference_colors, reference_input, target_size
from gen2seg_export.source import Source, random_source
from gen2seg_runtime.manifest import InputSpec, PadSpec, ResizeSpec
from gen2seg_runtime.preprocess import network_input, plan_geometry
from gen2seg_runtime.segmenter import Segmenter


def test_difference_by_hand():
    got = np.array([[0.0, 10.0], [20.0, 30.0]])
    expected = np.array([[0.0, 10.0], [20.0, 32.0]])
    d = difference(got, expected)
    assert (d.max, d.mean) == (2.0, 0.5)
    assert d.relative == pytest.approx(1.0 / expected.std())  # rms of (0, 0, 0, 2) is 1
    assert d.psnr == pytest.approx(48.1308, abs=1e-3)  # 20 log10(255 / 1)
    assert difference(got, got).psnr == PSNR_CEILING


def test_nan_fails_every_limit_and_stays_out_of_the_json():
    case = CaseReport("x", "probe", (1, 32, 32), difference(np.array([np.nan, 1.0]), np.array([0.0, 1.0])))
    failures = TOLERANCES["float16"].failures(case, gate_masks=True)
    assert len(failures) == 4  # mean, relative, PSNR, largest
    report = ParityReport("float16", "onnxruntime", "metric", True, (case,), tuple(failures))
    json.dumps(report.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"raw": Difference(13, 0, 0, 200)}, "largest raw"),
        ({"raw": Difference(0, 0.2, 0, 200)}, "mean raw"),
        ({"raw": Difference(0, 0, 0.01, 200)}, "relative raw"),
        ({"raw": Difference(0, 0, 0, 40)}, "raw PSNR"),
        ({"rounded": Difference(0.5, 0, 0, 200)}, "largest unexplained raw"),
        ({"rounded": Difference(0, 0, 0.001, 200)}, "relative unexplained raw"),
        ({"colors": Difference(1, 0.5, 0, 200)}, "mean colour"),
        ({"colors": Difference(1, 0, 0.1, 200)}, "relative colour"),
        ({"colors": Difference(1, 0, 0, 45)}, "colour PSNR"),
        ({"mask_iou": 0.9}, "mask IoU"),
    ],
)
def test_every_figure_is_gated(change: dict, message: str):
    good = {"raw": Difference(0, 0, 0, 200), "colors": Difference(0, 0, 0, 200), "mask_iou": 1.0}
    case = CaseReport("x", "real", (1, 32, 32), **(good | change))
    [failure] = TOLERANCES["float16"].failures(case, gate_masks=True)
    assert message in failure
    assert not TOLERANCES["float16"].failures(CaseReport("x", "real", (1, 32, 32), **good), gate_masks=True)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((100, 50), (384, 192)),  # enlarged
        ((400, 600), (400, 600)),  # kept
        ((1280, 960), (640, 480)),  # shrunk
        ((1, 3000), (1, 640)),
        ((383, 1), (384, 1)),
        ((768, 1281), (384, 640)),
    ],
    ids=str,
)
def test_target_size(size: tuple[int, int], expected: tuple[int, int]):
    spec = InputSpec(resize=ResizeSpec(size=640, enlarge_below=384))
    assert target_size(*size, spec)[0] == expected


@pytest.mark.parametrize("rule", ["longest_side", "fit", "fixed"])
@pytest.mark.parametrize("interpolation", ["bilinear_antialias", "bilinear_antialias_float"])
def test_both_ways_to_the_network_input_agree(rule: str, interpolation: str):
    resize = ResizeSpec(rule=rule, size=64, enlarge_below=64, interpolation=interpolation)
    spec = InputSpec(resize=resize, pad=PadSpec(multiple=8), buckets=((48, 64), (64, 64), (64, 40)), color_order="BGR")
    random = np.random.default_rng(3)
    for size in ((30, 41), (200, 311), (64, 48), (48, 64), (99, 99), (7, 150), (1, 3)):
        image = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        geometry = plan_geometry(size, spec)
        x, content = reference_input(image, spec)
        assert content == geometry.content
        # 2e-5 of the range -1..1: two float32 filters that sum in another order.
        np.testing.assert_allclose(x.numpy(), network_input(image, spec, geometry), atol=2e-5)


def test_reference_input_by_hand():
    image = np.zeros((2, 3, 3), np.uint8)
    image[..., 0] = 255
    image[1, 2] = (0, 51, 102)
    spec = InputSpec(resize=ResizeSpec(size=640, enlarge_below=0))
    x, content = reference_input(image, spec)
    assert content == (2, 3)
    assert x.shape == (1, 3, 32, 32)
    assert x[0, :, 0, 0].tolist() == [1.0, -1.0, -1.0]
    # The corner is repeated into the padding to the right and below.
    torch.testing.assert_close(x[0, :, 31, 31], torch.tensor([-1.0, -0.6, -0.2]))


def test_the_bundle_passes_with_figures_far_from_the_limits(exported: ExportReport):
    report = exported.parity
    assert report.passed
    kinds = {case.kind for case in report.cases}
    assert kinds == {"probe", "generated"}
    assert (1, 32, 32) in {case.shape for case in report.cases}
    assert max(case.raw.relative for case in report.cases) < TOLERANCES["float16"].raw_relative / 3
    assert min(case.raw.max for case in report.cases) > 0  # float16 rounding is there: not compared with itself
    summary = report.summary()
    assert summary["generated"] == len(samples.verification_scenes())
    assert summary["unexplained_relative"] < 1e-4
    assert summary["unexplained_relative"] < summary["raw_relative"]
    assert 0.9 < summary["mask_iou"] <= 1.0


def test_other_weights_fail(exported: ExportReport, architecture: dict):
    other = random_source("tiny", architecture, seed=99)
    report = verify_bundle(exported.path, other.module, samples.control_scenes(), threads=1)
    assert not report.passed
    assert any("relative raw" in failure for failure in report.failures)


def _edit_manifest(exported: ExportReport, folder: Path, change) -> Path:
    root = folder / "edited"
    shutil.copytree(exported.path, root)
    path = root / "bundle.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return root


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["input"].update(mean=[0.4, 0.5, 0.5]),
        lambda d: d["input"].update(color_order="BGR"),
        lambda d: d["output"].update(range=[0.0, 200.0]),
    ],
    ids=["mean", "channel order", "output range"],
)
def test_a_manifest_that_lies_about_the_pixels_is_seen(change, exported: ExportReport, source: Source, tmp_path: Path):
    # The reference reads the mean from the manifest too, so compare with the colours of the right one.
    root = _edit_manifest(exported, tmp_path, change)
    image = samples.control_scenes()[0].image
    expected = reference_colors(source.module, image, exported.manifest.input)
    got = Segmenter.open(root, threads=1).encode(image).colors
    assert difference(got, expected).relative > TOLERANCES["float16"].color_relative
    right = Segmenter.open(exported.path, threads=1).encode(image).colors
    assert difference(right, expected).relative < TOLERANCES["float16"].color_relative / 2


def test_real_pictures_are_taken_in_turn_from_each_set(tmp_path: Path):
    for name, count in (("a", 3), ("b", 1)):
        (tmp_path / name / "images").mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / name / "images" / f"{index}.png")
    found = samples.real_samples(tmp_path, 3)
    assert [sample.name for sample in found] == ["a/images/0.png", "b/images/0.png", "a/images/1.png"]
    assert {sample.kind for sample in found} == {"real"}
    flat = samples.real_samples(tmp_path / "a" / "images", 9)
    assert [sample.name for sample in flat] == ["0.png", "1.png", "2.png"]


DATA = Path(os.environ.get("GEN2SEG_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the folder of real pictures (GEN2SEG_DATA)")
def test_the_bundle_passes_on_real_pictures(exported: ExportReport, source: Source):
    pictures = samples.real_samples(DATA, 3)
    report = verify_bundle(exported.path, source.module, pictures, probes=False, threads=1)
    assert [case.kind for case in report.cases] == ["real"] * 3
    assert report.failures == ()


def test_a_folder_without_pictures_is_refused(tmp_path: Path):
    with pytest.raises(ExportError, match="holds no picture"):
        samples.real_samples(tmp_path, 3)
    with pytest.raises(ExportError, match="does not exist"):
        samples.real_samples(tmp_path / "nowhere", 3)
