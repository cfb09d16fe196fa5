"""The whole evaluation on a small data folder: known answers, and nothing depends on the processes."""

import json
import shutil
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gen2seg.evaluation import systems as systems_module
from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.report import summarize, to_document, to_json, to_markdown, write_report
from gen2seg.evaluation.run import EvaluationConfig, evaluate
from gen2seg.evaluation.systems import RIVALS, FloodFillSystem, Segments, SystemSpec, get_system, get_systems
from gen2seg_runtime.errors import Gen2SegError


class SameColor:
    """Knows the answer on pictures that are their own label maps; setting 0 answers nothing."""

    settings = (None, 0.0)
    has_edges = False
    mask_settings = (1.0, 2.0)

    def prepare(self, image):
        return image[..., 0]

    def mask(self, state, points, setting, before=None, labels=None):
        x, y = points[-1]
        return (state == state[y, x]) & (setting is None)

    def edges(self, state):
        raise AssertionError("not asked for")

    def masks(self, state, setting):
        """Half of the instances, each twice, and at the other setting all of them."""
        for label in np.unique(state[state > 0]):
            if setting == 2.0 or label % 2:
                yield state == label, float(label)
                yield state == label, float(label)

    def colors(self, state):
        return None

    def describe(self):
        return {"kind": "test"}


class WrongShape(SameColor):
    settings = (None,)
    mask_settings = ()

    def mask(self, state, points, setting, before=None, labels=None):
        return np.zeros((3, 3), bool)


@pytest.fixture
def label_pictures(tmp_path):
    """A set whose pictures show the labels themselves."""
    root = tmp_path / "labels"
    rng = np.random.default_rng(5)
    for part in ("images", "instances"):
        (root / "grid" / part).mkdir(parents=True)
    for index in range(2):
        labels = np.kron(rng.permutation(30).reshape(5, 6), np.ones((8, 9))).astype(np.uint8)
        Image.fromarray(np.repeat(labels[..., None], 3, axis=2)).save(root / f"grid/images/{index}.png")
        Image.fromarray(labels.astype(np.uint16)).save(root / f"grid/instances/{index}.png")
    return root


def test_perfect_masks_score_one_and_empty_ones_zero(label_pictures):
    report = summarize(evaluate(EvaluationConfig(label_pictures), [SystemSpec("oracle", SameColor)]))
    grid = report.sets["grid"]
    assert grid.instances == 2 * 29
    assert grid.sweeps["oracle"] == {"default": 1.0, "0": 0.0}
    assert grid.scores["oracle"].miou == grid.scores["oracle-best"].miou == 1.0
    automatic = grid.automatic["oracle"]
    assert (automatic.setting, automatic.masks, automatic.miou) == (2.0, 58, 1.0)
    assert automatic.recall == {"10": 5 / 29, "100": 1.0, "1000": 1.0}
    assert automatic.interval == (1.0, 1.0)
    assert report.automatic_over_sets("oracle")["10"] == 5 / 29
    assert "| oracle | **0.172** | **1.000** | **1.000** | **1.000** | 58 |" in to_markdown(report)
    assert grid.per_image["0"]["oracle"] == 1.0


def test_the_numbers_of_the_instances_do_not_matter(data_folder, tmp_path):
    other = shutil.copytree(data_folder, tmp_path / "renumbered")
    for path in other.glob("*/instances/*.png"):
        labels = np.asarray(Image.open(path))
        Image.fromarray(np.array([0, 900, 3, 77], np.uint16)[labels]).save(path)
    specs = [get_system("rgb"), get_system("floodfill")]
    before, after = (summarize(evaluate(EvaluationConfig(root), specs)) for root in (data_folder, other))
    for name, expected in before.sets.items():
        found = after.sets[name]
        for column, score in expected.scores.items():
            assert found.scores[column].miou == pytest.approx(score.miou, abs=1e-12)
            assert found.scores[column].setting == score.setting


def test_two_processes_give_the_very_same_report(data_folder, color_bundle, tmp_path):
    pytest.importorskip("skimage", reason="felzenszwalb needs scikit-image")
    specs = get_systems(["rgb", "floodfill", "felzenszwalb"], {"copy": color_bundle})
    texts, sheets = [], []
    for jobs in (1, 2):
        seen = []
        config = EvaluationConfig(data_folder, max_instances=2, jobs=jobs, gallery=2)
        report = summarize(evaluate(config, specs, lambda done, total, seen=seen: seen.append((done, total))))
        assert seen == [(done, 6) for done in range(1, 7)]
        texts.append(to_json(report))
        written = write_report(report, tmp_path / str(jobs))
        sheets.append([p.read_bytes() for p in written if p.suffix == ".png" and p.stem != "latency"])
    assert texts[0] == texts[1]
    assert sheets[0] == sheets[1]
    assert len(sheets[0]) == 5


def test_a_bundle_of_the_own_colors_equals_the_rgb_rival(data_folder, color_bundle):
    specs = get_systems(["rgb"], {"copy": color_bundle}, sweep=True)
    report = summarize(evaluate(EvaluationConfig(data_folder, ("disks",)), specs))
    scores = report.sets["disks"].scores
    assert list(scores) == ["rgb", "rgb-best", "copy", "copy-best"]
    # The test bundle enlarges small pictures, so edges of disks may differ by a pixel's width.
    assert scores["copy"].miou > 0.9
    assert scores["rgb"].miou > 0.99
    document = to_document(report)
    assert document["systems"]["copy"]["weights"] == "untrained"
    assert document["systems"]["copy"]["prompt"]["mode"] == "metric"


def test_a_bundle_can_be_prompted_in_mode_reference(data_folder, color_bundle):
    specs = get_systems(["copy-reference"], {"copy": color_bundle})
    report = summarize(evaluate(EvaluationConfig(data_folder, ("disks",)), specs))
    systems = to_document(report)["systems"]
    assert systems["copy"]["prompt"]["mode"] == "metric"
    assert systems["copy-reference"]["prompt"]["mode"] == "reference"
    with pytest.raises(EvaluationError, match="unknown system 'rgb-reference'"):
        get_system("rgb-reference")


def test_negative_clicks_and_a_distance_for_later_ones(data_folder, color_bundle):
    image = np.array(Image.open(data_folder / "disks/images/disks1.png"))
    points, labels = [(20, 24), (60, 30), (22, 26), (100, 5)], (1, 1, 0, 1)  # the last on noise
    plain = get_system("copy", {"copy": color_bundle}).open()
    state: Any = plain.prepare(image)
    expected = state.mask(points, labels=labels)
    step = [plain.mask(state, points[:count], None, None, labels[:count]) for count in (1, 2, 3, 4)]
    assert np.array_equal(step[3], expected)
    assert np.array_equal(plain.mask(state, points, None, None, labels), expected)  # not step by step
    assert step[1].sum() > step[2].sum() > 0
    flood = RIVALS["floodfill"]()
    masks = [flood.mask(image, [point], 30.0) for point in points]
    joined = (masks[0] | masks[1] | masks[3]) & ~masks[2]
    assert np.array_equal(flood.mask(image, points, 30.0, None, labels), joined)
    later = get_system("copy", {"copy": color_bundle}, later=2.0).open()
    assert later.describe() == {**plain.describe(), "later_distance": 2.0}
    assert np.array_equal(later.mask(state, points[:1], None), step[0])
    small = [state.mask([point], mode="metric", distance=2.0) for point in points]
    # Unions are made before the mask is enlarged, so outlines that touch may differ.
    found = later.mask(state, points, None, None, labels)
    assert np.mean(found != (step[0] | small[1] | small[3]) & ~small[2]) < 0.002
    assert found.sum() < expected.sum() / 2


def test_edges_are_judged_where_there_are_some_beside_sobel(data_folder, color_bundle):
    report = summarize(evaluate(EvaluationConfig(data_folder), get_systems([], {"copy": color_bundle})))
    assert report.sets["disks"].edges == {}
    edges = report.sets["outlines"].edges
    assert list(edges) == ["copy", "sobel"]
    assert 0.85 < edges["sobel"].ods < 0.9  # outlines with corners hold more pixels than thin edges
    assert "| outlines | sobel |" in to_markdown(report)


def test_max_instances_gives_all_systems_the_same_clicks(data_folder):
    config = EvaluationConfig(data_folder, ("disks",), max_instances=1, seed=4)
    first = evaluate(config, [get_system("floodfill")])
    second = evaluate(config, [get_system("rgb"), get_system("floodfill")])
    for one, other in zip(first.results, second.results, strict=True):
        assert len(one.clicks) == 1
        assert one.clicks == other.clicks
        assert np.array_equal(one.ious["floodfill"], other.ious["floodfill"])


def test_the_report_can_be_read_and_names_the_best(data_folder, tmp_path):
    report = summarize(evaluate(EvaluationConfig(data_folder), [get_system("rgb"), get_system("floodfill")]))
    written = write_report(report, tmp_path / "out")
    assert [p.relative_to(tmp_path / "out").as_posix() for p in written] == [
        "evaluation.json",
        "evaluation.md",
        "latency.json",
        "gallery/disks.png",
        "gallery/outlines.png",
        "latency.png",
    ]
    document = json.loads(written[0].read_text())
    assert document["schema"] == "gen2seg.evaluation/2.2"
    assert set(document["sets"]) == {"disks", "outlines"}
    scores = document["sets"]["disks"]["scores"]
    means = document["mean_over_sets"]
    assert means["rgb"] == np.mean([document["sets"][n]["scores"]["rgb"]["miou"] for n in document["sets"]])
    assert scores["rgb-best"]["miou"] == max(document["sets"]["disks"]["sweeps"]["rgb"].values())
    text = written[1].read_text()
    assert "| set | images | instances | rgb | rgb-best | floodfill |" in text
    assert "`floodfill`: the best of 12 settings" in text
    with Image.open(written[3]) as sheet:
        assert sheet.width > 1000


def test_flood_fill_by_hand():
    image = np.zeros((5, 7, 3), np.uint8)
    image[:, 3:] = 20
    image[2, 5] = 45
    system = FloodFillSystem()
    left = np.zeros((5, 7), bool)
    left[:, :3] = True
    assert np.array_equal(system.mask(image, [(0, 0)], 16.0), left)
    assert np.array_equal(system.mask(image, [(0, 0)], 20.0), image[..., 0] < 45)
    assert system.mask(image, [(5, 2)], 4.0).sum() == 1
    assert image[2, 5, 0] == 45


def test_every_rival_answers_with_a_mask_that_holds_the_click():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    for name, factory in RIVALS.items():
        if name in ("felzenszwalb", "watershed", "meanshift"):
            pytest.importorskip("skimage")
        system = factory()
        state = system.prepare(image)
        assert system.colors(state) is None
        assert system.describe()["kind"] == "rival"
        for setting in system.settings:
            mask = system.mask(state, [(11, 7)], setting)
            assert mask.shape == (20, 30)
            assert mask.dtype == np.bool_
            assert mask[7, 11]
        for setting in system.mask_settings:
            found = system.masks(state, setting)
            assert isinstance(found, Segments)
            mask = system.mask(state, [(11, 7)], setting)
            assert np.array_equal(found.labels == found.labels[7, 11], mask)
            assert found.scores[found.labels[7, 11] - 1] == mask.sum()
        if not system.has_edges:
            with pytest.raises(EvaluationError, match="finds no edges"):
                system.edges(state)


def test_sobel_gives_no_masks():
    sobel = RIVALS["sobel"]()
    with pytest.raises(EvaluationError, match="edges only"):
        sobel.mask(np.zeros((4, 4, 3), np.uint8), [(0, 0)], None)


def test_an_answer_that_is_no_mask_stops_the_evaluation(label_pictures):
    with pytest.raises(EvaluationError, match="mask must be bool"):
        evaluate(EvaluationConfig(label_pictures), [SystemSpec("wrong", WrongShape)])


def test_names_are_looked_up_and_unknown_ones_refused(color_bundle):
    assert get_system(str(color_bundle)).name == "colour-copy"
    with pytest.raises(
        EvaluationError, match=r"'sam'; known: tiny, rgb, floodfill, felzenszwalb, watershed, meanshift, grabcut, sobel"
    ):
        get_system("sam")
    with pytest.raises(EvaluationError, match="no system"):
        get_systems([])
    with pytest.raises(EvaluationError, match="two systems are called 'rgb'"):
        get_systems(["rgb", "rgb"])
    with pytest.raises(EvaluationError, match="ends in -best"):
        get_systems([], {"new-best": color_bundle})


def test_felzenszwalb_without_scikit_image_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skimage.segmentation", None)
    with pytest.raises(Gen2SegError, match=r"gen2seg\[evaluate\]"):
        systems_module.FelzenszwalbSystem()


@pytest.mark.parametrize(
    "options", [{"jobs": 0}, {"max_instances": 0}, {"gallery": -1}, {"clicks": 0}, {"next_click": "x"}], ids=str
)
def test_impossible_options_are_refused(tmp_path, options):
    with pytest.raises(EvaluationError):
        EvaluationConfig(tmp_path, **options)
