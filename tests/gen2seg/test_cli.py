"""The command line as users meet it: a child process, its exit code, stdout and stderr."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photo(tmp_path, data_folder):
    path = tmp_path / "photo.png"
    path.write_bytes((data_folder / "disks/images/disks1.png").read_bytes())
    return path


def assert_one_line_error(done, code=2):
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.strip().splitlines() if "untrained weights" not in line]
    assert len(lines) == 1, done.stderr
    assert "error:" in lines[0]
    return lines[0]


def test_help_lists_the_verbs_with_examples(run_cli):
    done = run_cli("--help")
    assert done.returncode == 0
    for verb in ("demo", "segment", "instances", "edges", "video", "inspect", "train", "evaluate"):
        assert f"  {verb} " in done.stdout
        shown = run_cli(verb, "--help")
        assert shown.returncode == 0, shown.stderr
        assert "Examples:" in shown.stdout
        assert f"gen2seg {verb}" in shown.stdout
    assert "gen2seg segment photo.jpg --point 120,80 -o mask.png" in done.stdout


def test_the_command_line_imports_no_heavy_library(run_cli):
    code = (
        "import sys\n"
        "for name in ('torch', 'skimage', 'matplotlib', 'scipy', 'onnx', 'accelerate'):\n"
        "    sys.modules[name] = None\n"
        "import gen2seg.cli\n"
        "from gen2seg.cli import _VERBS, cli\n"
        "for verb in _VERBS: assert cli.get_command(None, verb).name == verb, verb\n"
        "print(sorted(m for m in ('cv2', 'onnxruntime') if m in sys.modules))\n"
    )
    done = run_cli(code=code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_segment_writes_the_mask_of_the_clicked_disk(run_cli, photo, color_bundle, tmp_path, data_folder):
    done = run_cli("segment", photo, "--point", "20,24", "--bundle", color_bundle, "-o", tmp_path / "mask.png")
    assert done.returncode == 0, done.stderr
    mask = np.asarray(Image.open(tmp_path / "mask.png"))
    assert set(np.unique(mask)) == {0, 255}
    truth = np.asarray(Image.open(data_folder / "disks/instances/disks1.png")) == 1
    assert ((mask > 0) & truth).sum() / ((mask > 0) | truth).sum() > 0.9
    assert "mask.png" in done.stdout


def test_json_is_one_document_and_nothing_else(run_cli, photo, color_bundle, tmp_path):
    arguments = ["--bundle", color_bundle, "--json"]
    done = run_cli("segment", photo, "--point", "20,24", "--point", "60,30", *arguments, "-o", tmp_path / "m.png")
    document = json.loads(done.stdout)
    assert document["size"] == [96, 112]
    assert document["points"] == [[20, 24], [60, 30]]
    assert document["area"] == (np.asarray(Image.open(document["output"])) > 0).sum()
    assert (document["mode"], document["bundle"]) == ("metric", "colour-copy")
    for verb in ("instances", "edges"):
        done = run_cli(verb, photo, *arguments, "-o", tmp_path / verb)
        (entry,) = json.loads(done.stdout)["results"]
        assert entry["image"] == str(photo)
    done = run_cli("inspect", color_bundle, "--json")
    assert json.loads(done.stdout)["manifest"]["weights"]["state"] == "untrained"


def test_a_negative_point_takes_its_object_away(run_cli, photo, color_bundle, tmp_path):
    points = [
        "--point",
        "20,24",
        "--point",
        "60,30",
        "--bundle",
        color_bundle,
        "--json",
        "-o",
        tmp_path / "m.png",
    ]
    both = json.loads(run_cli("segment", photo, *points).stdout)["area"]
    one = json.loads(run_cli("segment", photo, *points, "--label", "1,0").stdout)["area"]
    assert 0 < one < both


def test_instances_writes_labels_and_coco(run_cli, photo, color_bundle, tmp_path):
    done = run_cli("instances", photo, "--bundle", color_bundle, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out" / "photo.png") as picture:
        labels = np.asarray(picture)
    assert labels.shape == (96, 112)
    assert labels.dtype == np.uint16
    assert labels[24, 20] != labels[30, 60] != 0
    json.loads((tmp_path / "out" / "photo.json").read_text())


def test_instances_writes_the_formats_that_are_asked_for(run_cli, photo, color_bundle, tmp_path):
    from gen2seg.commands.instances import _SUFFIXES
    from gen2seg_runtime.formats import FORMATS, read_label_png, read_npz, read_svg

    assert {kind: each.suffix for kind, each in FORMATS.items()} == _SUFFIXES
    wanted = [option for kind in _SUFFIXES for option in ("--format", kind)]
    done = run_cli("instances", photo, "--bundle", color_bundle, "-o", tmp_path / "out", *wanted, "--json")
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(done.stdout)["results"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(f"photo{s}" for s in _SUFFIXES.values())
    labels = read_label_png(entry["labels"])
    np.testing.assert_array_equal(read_npz(entry["npz"]).labels, labels)
    np.testing.assert_array_equal(read_svg(entry["svg"]), labels)


def test_instances_with_their_parts_and_groups(run_cli, photo, color_bundle, tmp_path):
    options = ("--hierarchy", "--most", "4", "--min-area", "20", "--fill-holes", "100")
    done = run_cli("instances", photo, "--bundle", color_bundle, "-o", tmp_path / "out", *options, "--json")
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(done.stdout)["results"]
    annotations = json.loads((tmp_path / "out" / "photo.json").read_text())["annotations"]
    assert len(annotations) == entry["instances"] + entry["nested"] <= 4
    refused = run_cli("instances", photo, "-o", tmp_path / "no", "--hierarchy", "--format", "png")
    assert refused.returncode == 2
    assert "--hierarchy needs --format coco" in refused.stderr


def test_edges_into_a_file_and_into_a_folder(run_cli, photo, color_bundle, tmp_path):
    assert run_cli("edges", photo, "--bundle", color_bundle, "-o", tmp_path / "e.png").returncode == 0
    assert run_cli("edges", photo, "--bundle", color_bundle, "-o", tmp_path / "out").returncode == 0
    first, second = (Image.open(tmp_path / name) for name in ("e.png", "out/photo.png"))
    assert (first.mode, first.size) == ("L", (112, 96))
    assert first.tobytes() == second.tobytes()
    assert np.asarray(first).any()


def test_a_broken_picture_is_counted_and_the_others_go_on(run_cli, photo, color_bundle, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(photo.read_bytes())
    (folder / "b.jpg").write_bytes(b"not a picture")
    (folder / "c.png").write_bytes(photo.read_bytes())
    (folder / "notes.txt").write_text("not asked for")
    done = run_cli("instances", folder, "--bundle", color_bundle, "-o", tmp_path / "out", "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert [entry["instances"] > 0 for entry in document["results"]] == [True, True]
    assert [entry["image"] for entry in document["failed"]] == [str(folder / "b.jpg")]
    assert "b.jpg" in done.stderr
    assert "1 of 3 pictures failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.json", "a.png", "c.json", "c.png"]


def test_nothing_but_broken_pictures_is_bad_input(run_cli, color_bundle, tmp_path):
    (tmp_path / "b.jpg").write_bytes(b"")
    done = run_cli("edges", tmp_path / "b.jpg", "--bundle", color_bundle, "-o", tmp_path / "e.png")
    assert "b.jpg" in assert_one_line_error(done)
    assert not (tmp_path / "e.png").exists()


BAD_ARGUMENTS = {
    "no verb of that name": ["paint"],
    "no point": ["segment", "PHOTO", "-o", "OUT/m.png"],
    "a point that is none": ["segment", "PHOTO", "--point", "12;3", "-o", "OUT/m.png"],
    "a point of NaN": ["segment", "PHOTO", "--point", "nan,3", "-o", "OUT/m.png"],
    "a point outside": ["segment", "PHOTO", "--point", "500,3", "--bundle", "BUNDLE", "-o", "OUT/m.png"],
    "a label too many": ["segment", "PHOTO", "--point", "1,3", "--label", "1,0", "-o", "OUT/m.png"],
    "a label of two": ["segment", "PHOTO", "--point", "1,3", "--label", "2", "-o", "OUT/m.png"],
    "an unknown mode": ["segment", "PHOTO", "--point", "1,3", "--mode", "magic", "-o", "OUT/m.png"],
    "a distance for the reference": [
        *("segment", "PHOTO", "--point", "1,3", "--mode", "reference"),
        *("--distance", "9", "-o", "OUT/m.png"),
    ],
    "a missing picture": ["segment", "OUT/no.jpg", "--point", "1,3", "--bundle", "BUNDLE", "-o", "OUT/m.png"],
    "a missing bundle": ["segment", "PHOTO", "--point", "1,3", "--bundle", "OUT/none", "-o", "OUT/m.png"],
    "a missing output folder": [
        *("segment", "PHOTO", "--point", "1,3", "--bundle", "BUNDLE"),
        *("-o", "OUT/none/m.png"),
    ],
    "a missing input": ["instances", "OUT/none", "--bundle", "BUNDLE", "-o", "OUT/x"],
    "an empty folder": ["instances", "EMPTY", "--bundle", "BUNDLE", "-o", "OUT/x"],
    "two of one name": ["instances", "PHOTO", "PHOTO", "--bundle", "BUNDLE", "-o", "OUT/x"],
    "two pictures into one file": ["edges", "PHOTO", "PHOTO", "--bundle", "BUNDLE", "-o", "OUT/e.png"],
    "a mask over its picture": ["segment", "PHOTO", "--point", "1,3", "--bundle", "BUNDLE", "-o", "PHOTO"],
    "labels over their picture": ["instances", "PHOTO", "--bundle", "BUNDLE", "-o", "OUT"],
    "edges over their picture": ["edges", "PHOTO", "--bundle", "BUNDLE", "-o", "OUT"],
    "inspect of nothing": ["inspect", "OUT/none"],
    "a point without a picture": ["demo", "--point", "1,2", "-o", "OUT/d"],
    "data that is not there": ["evaluate", "--data", "OUT/none", "--system", "rgb", "-o", "OUT/e"],
    "no data at all": ["evaluate", "--system", "rgb", "-o", "OUT/e"],
    "an unknown system": ["evaluate", "--data", "DATA", "--system", "rgb,sam", "-o", "OUT/e"],
    "an unknown set": ["evaluate", "--data", "DATA", "--system", "rgb", "--sets", "cats", "-o", "OUT/e"],
    "an unknown distortion": ["evaluate", "--data", "DATA", "--system", "rgb", "--distort", "fog", "-o", "OUT/e"],
    "a bundle without a name": ["evaluate", "--data", "DATA", "--bundle", "BUNDLE", "-o", "OUT/e"],
}


@pytest.mark.parametrize("arguments", BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS.keys())
def test_bad_input_is_one_line_and_code_two(run_cli, photo, color_bundle, data_folder, tmp_path, arguments):
    (tmp_path / "empty").mkdir()
    places = {"PHOTO": photo, "BUNDLE": color_bundle, "DATA": data_folder, "EMPTY": tmp_path / "empty"}
    known = [places.get(part, str(part).replace("OUT", str(tmp_path))) for part in arguments]
    before = sorted(tmp_path.rglob("*"))
    assert_one_line_error(run_cli(*known))
    assert sorted(tmp_path.rglob("*")) == before


def test_errors_name_what_is_wrong(run_cli, data_folder, tmp_path):
    done = run_cli("evaluate", "--data", data_folder, "--system", "sam", "-o", tmp_path / "e")
    assert "known: tiny, rgb, floodfill, felzenszwalb, watershed, " in assert_one_line_error(done)
    done = run_cli("segment", "x.png", "--point", "12", "-o", "m.png")
    assert "'12'" in assert_one_line_error(done)


def test_inspect_shows_everything_and_whether_it_is_trained(run_cli, color_bundle):
    done = run_cli("inspect", color_bundle)
    assert done.returncode == 0, done.stderr
    assert "UNTRAINED" in done.stdout.splitlines()[0]
    for part in ("colour-copy", "sha256", "made by a test", "longest_side", "distance: 40.0", "Apache-2.0"):
        assert part in done.stdout


def test_a_tampered_bundle_is_refused(run_cli, color_bundle, tmp_path):
    copy = tmp_path / "bundle"
    copy.mkdir()
    for path in color_bundle.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    data = bytearray((copy / "model.onnx").read_bytes())
    data[-1] ^= 1
    (copy / "model.onnx").write_bytes(data)
    assert "model.onnx" in assert_one_line_error(run_cli("inspect", copy))


def test_a_warning_is_one_line_too(run_cli, color_bundle, tmp_path):
    copy = tmp_path / "bundle"
    copy.mkdir()
    for path in color_bundle.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps(manifest | {"mood": "good"}))
    done = run_cli("inspect", copy, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["manifest"]["mood"] == "good"
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("gen2seg: warning:")
    assert "mood" in line


def test_training_without_torch_names_the_extra(run_cli):
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "import gen2seg.cli\n"
        "sys.exit(gen2seg.cli.main(['train', 'tiny', '--dry-run']))\n"
    )
    assert "gen2seg[train]" in assert_one_line_error(run_cli(code=code))


def test_an_interrupt_ends_with_130(run_cli, photo, color_bundle, tmp_path):
    code = (
        "import sys, gen2seg.cli, gen2seg_runtime\n"
        "class Interrupted:\n"
        "    @staticmethod\n"
        "    def open(path): raise KeyboardInterrupt\n"
        "gen2seg_runtime.Segmenter = Interrupted\n"
        f"arguments = ['edges', {str(photo)!r}, '-o', {str(tmp_path / 'e.png')!r}]\n"
        "sys.exit(gen2seg.cli.main(arguments))\n"
    )
    assert_one_line_error(run_cli(code=code), 130)


def test_evaluate_writes_the_tables(run_cli, data_folder, color_bundle, tmp_path):
    done = run_cli(
        *("evaluate", "--data", data_folder, "--system", "rgb,floodfill", "--bundle", f"copy={color_bundle}"),
        *("--limit", 2, "--jobs", 2, "--distort", "none", "--json", "-o", tmp_path / "report"),
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "report/evaluation.json").read_text())
    assert set(document["sets"]["disks"]["scores"]) == {"copy", "rgb", "rgb-best", "floodfill"}
    assert (tmp_path / "report/gallery/outlines.png").is_file()
    assert (tmp_path / "report/edges-outlines.png").is_file()


def test_evaluate_goes_on_with_clicks_and_distortions(run_cli, data_folder, tmp_path):
    arguments = (
        *("evaluate", "--data", data_folder, "--system", "rgb", "--sets", "disks", "--limit", 1, "--clicks", 3),
        *("--centre", "centroid", "--distort", "grey,solarise", "--json", "-o", tmp_path / "report"),
    )
    first = run_cli(*arguments)
    assert first.returncode == 0, first.stderr
    document = json.loads(first.stdout)
    assert document["protocol"]["center"] == "centroid"
    assert len(document["clicks_over_sets"]["rgb"]) == 3
    assert list(document["robustness"]) == ["none", "solarise", "grey"]
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "report/cache").rglob("*.npz")}
    assert len(kept) == 4  # three kinds of pictures, and the later clicks at the settings that are shown
    again = run_cli(*arguments, "--resume")
    assert again.stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "report/cache").rglob("*.npz")} == kept


def test_video_draws_objects_over_a_clip(run_cli, color_bundle, tmp_path):
    from gen2seg_runtime.stream.video import VideoFrames, write_video

    with write_video(tmp_path / "clip.avi", 10) as writer:
        for t in range(5):
            frame = np.zeros((64, 96, 3), np.uint8)
            frame[10:40, 5 + 5 * t : 35 + 5 * t] = (220, 40, 40)
            writer.add(frame)
    common = ["--bundle", color_bundle, "-o", tmp_path / "out.avi", "--json"]
    done = run_cli("video", tmp_path / "clip.avi", *common)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["frames"], document["dropped"], document["objects"]) == (5, 0, 1)
    assert document["seconds"]["network"] > 0
    with VideoFrames(tmp_path / "out.avi") as video:
        assert len(list(video)) == 5
    done = run_cli("video", tmp_path / "clip.avi", *common, "--frames", "2")
    assert json.loads(done.stdout)["frames"] == 2
    for source, output in (("clip.avi", "clip.avi"), ("missing.avi", "out.avi"), ("clip.avi", "out.gif")):
        done = run_cli("video", tmp_path / source, "--bundle", color_bundle, "-o", tmp_path / output)
        assert_one_line_error(done)


def test_a_camera_runs_until_it_is_interrupted(color_bundle, tmp_path, monkeypatch, capsys):
    import gen2seg_runtime.stream.video as video_module
    from gen2seg.cli import main

    class Camera:
        fps, count, is_camera = 10.0, None, True

        def __init__(self, number):
            assert number == 3

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __iter__(self):
            yield np.full((48, 64, 3), 200, np.uint8)
            raise KeyboardInterrupt

    monkeypatch.setattr(video_module, "VideoFrames", Camera)
    arguments = ["video", "3", "--bundle", str(color_bundle), "-o", str(tmp_path / "out.avi"), "--all"]
    assert main(arguments) == 0
    assert "1 frames (0 skipped)" in capsys.readouterr().out
    assert (tmp_path / "out.avi").exists()
