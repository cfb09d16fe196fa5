"""Tables by name, the README's section, and pictures of what went wrong."""

import json

import numpy as np
import pytest

from gen2seg.evaluation.charts import Line, draw_chart
from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.presets import PRESETS, choose_sets, find_systems
from gen2seg.evaluation.readme import BEGIN, END, accuracy_section, write_section
from gen2seg.evaluation.report import summarize, to_document, to_markdown, write_report
from gen2seg.evaluation.run import EvaluationConfig, evaluate
from gen2seg.evaluation.systems import absent, get_system, get_systems
from gen2seg.evaluation.worst import draw_worst
from tests.gen2seg import data_trees
from tests.gen2seg.conftest import write_color_bundle


def test_every_ablation_row_is_a_configuration():
    from gen2seg.config import shipped_configs

    rows = [name for table in ("2", "4", "5", "7") for name in PRESETS[table].systems]
    assert set(rows) <= set(shipped_configs())


def test_a_table_takes_its_own_sets_where_there_are_some(tmp_path, data_folder):
    data_trees.dram(tmp_path / "paintings")
    data_trees.bsds500(tmp_path / "bsds500")
    assert choose_sets(PRESETS["1"], tmp_path) == ("paintings",)
    assert choose_sets(PRESETS["3"], tmp_path) == ("bsds500",)
    assert choose_sets(PRESETS["1"], data_folder) is None


def test_rows_are_found_in_the_runs_and_the_others_say_how_to_get_them(data_folder, tmp_path):
    write_color_bundle(tmp_path / "sd2-t1")
    specs = find_systems(["sd2", "sd2-t1", "floodfill", "no-such", "sam-h"], tmp_path)
    assert [spec.name for spec in specs if not spec.missing] == ["sd2-t1", "floodfill"]
    missing = {spec.name: spec.missing for spec in specs if spec.missing}
    assert list(missing) == ["sd2", "no-such", "sam-h"]
    assert "gen2seg train sd2 --set output=" in missing["sd2"]
    assert "not known here" in missing["no-such"]
    assert "facebook/sam-vit-huge" in missing["sam-h"]
    assert [spec.name for spec in specs if spec.learned] == ["sd2", "sd2-t1", "no-such", "sam-h"]
    with pytest.raises(EvaluationError, match="none of the systems can be run: mae-h: no weights in"):
        evaluate(EvaluationConfig(data_folder), find_systems(["mae-h"], tmp_path))


def test_the_command_makes_a_table(run_cli, data_folder, tmp_path):
    write_color_bundle(tmp_path / "runs/sd2-t1")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    common = ("evaluate", "--data", data_folder, "--runs", tmp_path / "runs", "--limit", 1, "-o", tmp_path / "out")
    done = run_cli(*common, "--table", "5", "--readme", readme, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert list(document["systems"])[:1] == ["sd2-t1"]
    assert list(document["not_run"]) == ["sd2", "sd2-t499"]
    assert document["protocol"]["clicks_per_instance"] == 1
    assert document["robustness"] == {}
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert 'Made by `gen2seg evaluate --data "$GEN2SEG_DATA" --table 5 --limit 1`.' in text
    assert "| set | images | instances | sd2-t1 |" in text
    assert "Not run: sd2, sd2-t499." in text
    assert "\nold\n" not in text
    done = run_cli(*common, "--table", "3", "--system", "sobel,sd2-t1", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["mean_over_sets"] == {}
    assert list(document["sets"]["outlines"]["edges"]) == ["sobel", "sd2-t1"]
    done = run_cli(*common, "--table", "automatic", "--system", "felzenszwalb,sd2-t1,sam-b", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert list(document["automatic_over_sets"]) == ["felzenszwalb", "sd2-t1"]
    assert document["sets"]["disks"]["automatic"]["sd2-t1"]["recall"]["100"] > 0.9
    assert document["not_run"].keys() == {"sam-b"}
    assert (tmp_path / "out/gallery/disks-automatic.png").is_file()
    assert "| system | AR@10 | AR@100 | AR@1000 | mIoU |" in (tmp_path / "out/evaluation.md").read_text()
    readme.write_text("no markers")
    done = run_cli(*common, "--system", "sobel", "--readme", readme)
    assert done.returncode == 2
    assert "must hold the line" in done.stderr


def test_all_figures_by_default_and_the_worst_answers_as_pictures(data_folder, color_bundle, tmp_path):
    from gen2seg.evaluation.distortions import with_distortions

    specs = [*get_systems(["floodfill"], {"copy": color_bundle}), absent("sam", "no weights")]
    specs += with_distortions(specs[1:], ["grey"])[2:]
    config = EvaluationConfig(data_folder, clicks=3, gallery=1)
    report = summarize(evaluate(config, specs))
    assert list(report.robustness()["grey"]) == ["copy"]
    assert len(report.clicks_intervals("floodfill")) == 3
    for (low, high), mean in zip(report.clicks_intervals("copy"), report.clicks_over_sets("copy"), strict=True):
        assert low - 1e-12 <= mean <= high + 1e-12
    sweep = evaluate(config, specs).results[0].ious["floodfill"]
    assert sweep.shape == (12, len(evaluate(config, specs).results[0].clicks), 3)
    assert np.isfinite(sweep[..., 0]).all()
    assert np.isfinite(sweep[..., 1]).all(axis=1).sum() == 1  # the setting that the table shows
    names = {path.name for path in write_report(report, tmp_path, specs)}
    assert {"clicks.png", "latency.png", "latency.json", "edges-outlines.png", "worst-copy.png"} <= names
    assert [name for name, _ in draw_worst(report, specs)] == ["worst-copy.png"]
    latency = json.loads((tmp_path / "latency.json").read_text())["systems"]
    assert set(latency) == {"floodfill", "copy"}
    assert latency["copy"]["prepare_ms"] > 0
    assert "| sam | no weights |" in to_markdown(report)
    assert to_document(report)["not_run"] == {"sam": "no weights"}
    section = accuracy_section(report, "a command")
    assert "| 3 |" in section
    assert "| grey |" in section


def test_a_system_of_edges_alone_needs_no_clicks(data_folder, tmp_path):
    report = summarize(evaluate(EvaluationConfig(data_folder, masks=False, gallery=0), [get_system("sobel")]))
    assert report.columns == []
    assert report.sets["outlines"].edges["sobel"].ods > 0.8
    assert [path.name for path in write_report(report, tmp_path)] == [
        "evaluation.json",
        "evaluation.md",
        "edges-outlines.png",
    ]
    assert to_markdown(report).count("## ") == 1


@pytest.mark.parametrize("text", ["", f"{END} {BEGIN}", f"{BEGIN} {END} {END}"], ids=["none", "order", "twice"])
def test_a_readme_without_its_markers_is_left_alone(tmp_path, text):
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(EvaluationError, match="must hold the line"):
        write_section(path, "new")
    assert path.read_text() == text


def test_bands_and_logarithmic_axes_are_drawn():
    line = Line("a", [(1, 0.2), (10, 0.4)], [(0.1, 0.3), (0.2, 0.6)])
    plain = draw_chart("t", "x", "y", [Line("a", line.points)], x_range=(1, 10))
    banded = draw_chart("t", "x", "y", [line], x_range=(1, 10))
    assert np.any(np.asarray(plain) != np.asarray(banded))
    dot = [Line("a", [(10**0.5, 0.5)])]
    middle = [draw_chart("t", "x", "y", dot, x_range=(1, 10), logarithmic=log) for log in (True, False)]
    columns = [np.flatnonzero((np.asarray(p)[100:400] == (0, 114, 178)).all(axis=2).any(axis=0)).mean() for p in middle]
    assert columns[0] == pytest.approx((70 + 736) / 2, abs=2)
    assert columns[1] < columns[0] - 50
