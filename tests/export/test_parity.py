import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import gen2seg_kernels
from gen2seg_export import cases, samples
from gen2seg_export.cases import Case, References
from gen2seg_export.errors import ExportError
from gen2seg_export.goldens import limited_goldens
from gen2seg_export.model import Cost
from gen2seg_export.parity import CaseReport, Gate, ParityReport, verify_bundle
from gen2seg_export.pipeline import ExportReport
from gen2seg_export.reference import reference_colors, reference_input, target_size
from gen2seg_export.source import Source, random_source
from gen2seg_export.tolerances import TOLERANCES, carried, loosest, stage_tolerance_name
from gen2seg_runtime.colors import normalize_colors
from gen2seg_runtime.difference import LEAST_SPREAD, PSNR_CEILING, Difference, difference, stage_difference
from gen2seg_runtime.manifest import GoldenRecord, InputSpec, OutputSpec, PadSpec, ResizeSpec, StageSpec
from gen2seg_runtime.preprocess import network_input, plan_geometry
from gen2seg_runtime.segmenter import Segmenter


def test_difference_by_hand():
    got = np.array([[0.0, 10.0], [20.0, 30.0]])
    expected = np.array([[0.0, 10.0], [20.0, 32.0]])
    d = difference(got, expected, 255)
    assert (d.max, d.mean) == (2.0, 0.5)
    assert d.relative == pytest.approx(1.0 / expected.std())  # rms of (0, 0, 0, 2) is 1
    assert d.psnr == pytest.approx(48.1308, abs=1e-3)  # 20 log10(255 / 1)
    assert difference(got, expected).psnr == pytest.approx(30.103, abs=1e-3)  # 20 log10(32 / 1)
    assert difference(got, got).psnr == PSNR_CEILING
    assert difference(np.ones(4), np.zeros(4)).relative == math.inf
    assert difference(np.ones(4), np.zeros(4), 255, least_spread=1.0).relative == 1.0


def _case(**stages: Difference) -> CaseReport:
    return CaseReport("x", "real", (1, 32, 32), stages)


def test_nan_fails_every_limit_and_stays_out_of_the_json():
    broken = difference(np.array([np.nan, 1.0]), np.array([0.0, 1.0]))
    gate = Gate({"network": "float16"}, gate_masks=True)
    gate.judge(_case(network=broken), {"network": 1.0})
    assert len(gate.failures) == 4  # mean, relative, PSNR, largest
    report = ParityReport(
        "onnxruntime", gate.tolerances, "metric", True, (_case(network=broken),), tuple(gate.failures)
    )
    json.dumps(report.to_json(), allow_nan=False)


NOTHING = Difference(0, 0, 0, 200)


@pytest.mark.parametrize(
    ("stage", "colors", "iou", "message"),
    [
        (Difference(13, 0, 0, 200), NOTHING, 1.0, "stage network: largest"),
        (Difference(0, 0.2, 0, 200), NOTHING, 1.0, "stage network: mean"),
        (Difference(0, 0, 0.01, 200), NOTHING, 1.0, "stage network: relative"),
        (Difference(0, 0, 0, 40), NOTHING, 1.0, "stage network: PSNR"),
        (NOTHING, Difference(1, 0.5, 0, 200), 1.0, "colours: mean"),
        (NOTHING, Difference(1, 0, 0.1, 200), 1.0, "colours: relative"),
        (NOTHING, Difference(1, 0, 0, 45), 1.0, "colours: PSNR"),
        (NOTHING, NOTHING, 0.9, "mask IoU"),
    ],
)
def test_every_figure_is_gated(stage: Difference, colors: Difference, iou: float, message: str):
    gate = Gate({"network": "stored float16"}, gate_masks=True)
    gate.judge(CaseReport("x", "real", (1, 32, 32), {"network": stage}, colors, iou, iou), {"network": 255.0})
    [failure] = gate.failures
    assert message in failure
    free = Gate({"network": "stored float16"}, gate_masks=False)
    free.judge(CaseReport("x", "real", (1, 32, 32), {"network": NOTHING}, NOTHING, 0.1, 0.1), {"network": 255.0})
    assert not free.failures


def test_relative_limits_grow_by_the_root_of_the_stages_that_rounded():
    limits = carried({"encoder": "bfloat16", "unet": "bfloat16", "decoder": "bfloat16", "after": "int8"})
    one = TOLERANCES["bfloat16"]
    assert limits["encoder"] == one
    assert limits["decoder"].stage_relative == pytest.approx(one.stage_relative * math.sqrt(3))
    assert limits["decoder"].color_relative == pytest.approx(one.color_relative * math.sqrt(3))
    assert limits["after"].stage_relative == TOLERANCES["int8"].stage_relative * 2
    assert replace(limits["decoder"], stage_relative=one.stage_relative, color_relative=one.color_relative) == one

    chain: dict[str, str] = dict.fromkeys(("encoder", "unet", "decoder"), "bfloat16")
    gate = Gate(chain, gate_masks=False)
    gate.judge(_case(**dict.fromkeys(chain, Difference(0, 0, 0.15, 200))), dict.fromkeys(chain, 1.0))
    assert [failure.split(":")[0] for failure in gate.failures] == ["x, stage encoder", "x, stage unet"]


def test_colours_that_are_not_those_of_the_raw_output():
    gate = Gate({"network": "int8"}, gate_masks=False)
    for painting in (1, 2):
        case = CaseReport("x", "real", (1, 32, 32), {"network": NOTHING}, NOTHING, 1.0, 1.0, painting)
        gate.judge(case, {"network": 1.0})
    assert gate.failures == ["x colours: 2 from those of the bundle's own raw output"]


@pytest.mark.parametrize(("psnr", "passes"), [(45.1, True), (44.9, False), (math.nan, False)])
def test_random_weights_owe_the_promised_psnr_over_the_range_of_their_raw_output(psnr: float, passes: bool):
    moved = Difference(27, 4.6, 0.7, 34.7)  # the colours, by one value at the end of the range
    raw = Difference(0.01, 1e-4, 0.02, psnr)
    case = CaseReport("x", "real", (1, 32, 32), {"network": raw}, moved, 1.0, 1.0, 0)
    row = {"network": "bfloat16"}
    gate = Gate(row, gate_masks=False, trained=False)
    gate.judge(case, {"network": 1.0})
    assert any("of the raw colours" in failure for failure in gate.failures) is not passes
    trained = Gate(row, gate_masks=False)
    trained.judge(case, {"network": 1.0})
    assert sum("x colours" in failure for failure in trained.failures) == 3  # mean, relative, PSNR


def test_only_random_weights_are_given_a_least_spread():
    expected = np.append(np.linspace(-0.01, 0.01, 1000), [-1.0, 1.0])  # nearly all in a sliver of the range
    got = expected + 1e-3
    assert stage_difference(got, expected, trained=True) == difference(got, expected)
    assert stage_difference(got, expected, trained=False).relative == pytest.approx(1e-3 / (2 * LEAST_SPREAD))
    wide = np.linspace(-1, 1, 1000)
    assert stage_difference(wide + 1e-3, wide, trained=False) == difference(wide + 1e-3, wide)


@pytest.mark.parametrize(("trained", "psnr", "least"), [(True, 34.7, 45), (False, 34.7, 28.7), (False, 60, 45)])
def test_goldens_of_random_weights_are_limited_by_what_was_seen(trained: bool, psnr: float, least: float):
    case = CaseReport("x", "golden", (1, 32, 32), {"network": NOTHING}, Difference(27, 4.6, 0.7, psnr), 1.0, 1.0, 0)
    report = ParityReport("openvino", {"network": "bfloat16"}, "metric", False, (case,), ())
    [golden] = limited_goldens([GoldenRecord(image="goldens/x.png", colors="goldens/x.colors.png")], [report], trained)
    assert golden.min_psnr == pytest.approx(least)


@pytest.mark.parametrize("row", TOLERANCES)
def test_the_least_spread_leaves_the_relative_limit_the_stricter_one(row: str):
    limits = TOLERANCES[row]
    assert -20 * math.log10(limits.stage_relative * LEAST_SPREAD) > limits.stage_psnr + 1.9


def test_a_chain_is_as_exact_as_its_loosest_stage_so_far():
    assert loosest(["float32", "bfloat16"]) == "bfloat16"
    assert loosest(["int8", "float32"]) == "int8"
    stage = StageSpec(name="unet", path="u.onnx", input="a", output="b", facts={"openvino": {"precision": "int8"}})
    assert stage_tolerance_name(stage, "openvino") == "int8"
    assert stage_tolerance_name(stage, "onnxruntime") == "float32"


@pytest.mark.parametrize(
    "spec",
    [
        OutputSpec(),
        OutputSpec(range=(-1.0, 1.0)),
        OutputSpec(normalization="sd", range=None),
        OutputSpec(normalization="mae", range=None, gamma=0.7),
    ],
    ids=str,
)
def test_both_ways_to_the_colours_agree(spec: OutputSpec):
    raw = np.random.default_rng(0).normal(60, 90, (1, 3, 33, 21)).astype(np.float32)
    raw = raw / 100 if spec.range == (-1.0, 1.0) else raw
    expected = reference_colors(torch.from_numpy(raw), (30, 20), spec)
    got = normalize_colors(raw[0], spec)[:30, :20]
    assert np.abs(got.astype(int) - expected).max() <= 1  # at most a truncated value beside a whole number
    assert np.mean(got != expected) < 1e-3


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
    spec = InputSpec(
        resize=resize, pad=PadSpec(multiple=8), buckets=((48, 64), (64, 64), (96, 128), (64, 40)), color_order="BGR"
    )
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
    assert {case.kind for case in report.cases} == {"probe", "golden", "generated"}
    assert (1, 32, 32) in {case.shape for case in report.cases}
    limit = TOLERANCES["stored float16"]
    assert max(case.stages["network"].relative for case in report.cases) < limit.stage_relative / 3
    assert min(case.stages["network"].max for case in report.cases) > 0  # rounding is there: not compared with itself
    summary = report.summary()
    assert summary["generated"] == len(samples.verification_scenes())
    assert 0.9 < summary["mask_iou"] <= 1.0
    checked = exported.manifest.verification["float32_graphs"]["network"]
    assert checked["relative"] < 1e-4


def _references(folder: Path, module: nn.Module, pictures: list[Case], spec: OutputSpec) -> References:
    references = References(folder, "a test", spec)
    with torch.no_grad():
        references.compute(pictures, lambda x: {"network": module(x)})
    return references


def _cases(exported: ExportReport, found: list[samples.Sample]) -> list[Case]:
    spec = exported.manifest.input
    return [cases.picture_case(sample, sample.kind, spec) for sample in found]


def test_other_weights_fail(exported: ExportReport, architecture: dict, tmp_path: Path):
    other = random_source("tiny", architecture, seed=99)
    pictures = _cases(exported, samples.golden_scenes()[:1])
    references = _references(tmp_path, other.module, pictures, exported.manifest.output)
    report = verify_bundle(exported.path, pictures, references, threads=1)
    assert not report.passed
    assert any("relative" in failure for failure in report.failures)


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
    image = samples.golden_scenes()[0].image
    x, content = reference_input(image, exported.manifest.input)
    with torch.no_grad():
        expected = reference_colors(source.module(x), content, exported.manifest.output)
    got = Segmenter.open(root, threads=1).encode(image).colors
    assert difference(got, expected, 255).relative > TOLERANCES["stored float16"].color_relative
    right = Segmenter.open(exported.path, threads=1).encode(image).colors
    assert difference(right, expected, 255).relative < TOLERANCES["stored float16"].color_relative / 2


def test_every_bucket_is_judged_however_dear_the_network():
    spec = InputSpec(
        resize=ResizeSpec(rule="fit", size=128),
        pad=PadSpec(multiple=8),
        dynamic=False,
        buckets=((48, 64), (96, 128), (64, 64), (128, 40)),
    )
    found = cases.plan_cases(spec, Cost(parameters=1, bytes=4, flops=int(5e12), size=(48, 64)), None, None)
    assert {case.x.shape[2:] for case in found} == set(spec.buckets)
    assert all(case.image is not None for case in found)
    assert len({case.name for case in found}) == len(found)


def test_a_prompt_kernel_that_differs_fails(exported: ExportReport, source: Source, tmp_path: Path, monkeypatch):
    real = gen2seg_kernels.prompt_masks

    def wrong(*arguments, **options):
        masks = np.array(real(*arguments, **options))
        masks[0, 0, :5] ^= True
        return masks

    pictures = _cases(exported, samples.golden_scenes()[:1])
    references = _references(tmp_path, source.module, pictures, exported.manifest.output)
    assert verify_bundle(exported.path, pictures, references, threads=1).passed
    monkeypatch.setattr(gen2seg_kernels, "prompt_masks", wrong)
    [failure] = verify_bundle(exported.path, pictures, references, threads=1).failures
    assert "prompt kernel differs from its plain form" in failure


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
def test_the_bundle_passes_on_real_pictures(exported: ExportReport, source: Source, tmp_path: Path):
    pictures = _cases(exported, samples.real_samples(DATA, 2))
    references = _references(tmp_path, source.module, pictures, exported.manifest.output)
    report = verify_bundle(exported.path, pictures, references, threads=1)
    assert [case.kind for case in report.cases] == ["real"] * 2
    assert report.failures == ()


def test_dear_networks_are_judged_on_few_pictures(tmp_path: Path):
    for index in range(20):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / f"{index:02}.png")
    spec = InputSpec(resize=ResizeSpec(rule="fit", size=64), dynamic=False, buckets=((64, 64),))

    def kinds(flops: float, most: int | None = None) -> list[str]:
        cost = Cost(parameters=1, bytes=4, flops=int(flops), size=(64, 64))
        return [case.kind for case in cases.plan_cases(spec, cost, tmp_path, most)]

    assert kinds(5e12) == ["golden", "real"]
    assert kinds(1e9).count("real") == 12
    assert kinds(1e9, 4) == ["golden", "golden", "real", "real"]
    assert kinds(5e12, 1) == ["golden"]


def test_a_folder_without_pictures_is_refused(tmp_path: Path):
    with pytest.raises(ExportError, match="holds no picture"):
        samples.real_samples(tmp_path, 3)
    with pytest.raises(ExportError, match="does not exist"):
        samples.real_samples(tmp_path / "nowhere", 3)
