"""The demonstration writes its pictures, from the shipped photographs and from one of the user's."""

import json

import numpy as np
import pytest
from PIL import Image

from gen2seg import demo

PICTURES = ("colors", "instances", "clicks", "edges")


def test_shipped_photographs_need_no_import_of_scikit_image():
    pytest.importorskip("skimage", reason="the photographs lie in scikit-image's wheel")
    photographs = demo.shipped_photographs()
    assert 4 <= len(photographs) <= 6
    for photograph in photographs:
        with Image.open(photograph.path) as picture:
            assert photograph.points
            assert all(0 <= x < picture.width and 0 <= y < picture.height for x, y in photograph.points)


def test_without_scikit_image_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(demo.MissingExtraError, match=r"gen2seg\[demo\].*--image"):
        demo.shipped_photographs()


def test_demo_shows_every_photograph(run_cli, color_bundle, tmp_path):
    pytest.importorskip("skimage", reason="the photographs lie in scikit-image's wheel")
    done = run_cli("demo", "--bundle", color_bundle, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    names = [photograph.path.stem for photograph in demo.shipped_photographs()]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {f"{n}-{k}.png" for n in names for k in PICTURES} | {"contact-sheet.png"}
    assert all(name in done.stdout for name in [*names, "encode ms", "click ms", "contact-sheet.png"])
    with Image.open(tmp_path / "out" / "coins-clicks.png") as clicks:
        assert clicks.size == (384, 303)


def test_demo_on_a_picture_of_the_user(run_cli, color_bundle, data_folder, tmp_path):
    image = data_folder / "disks/images/disks1.png"
    arguments = ["--image", image, "--bundle", color_bundle, "--json", "-o", tmp_path / "out"]
    done = run_cli("demo", *arguments, "--point", "20,24")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (entry,) = document["images"]
    assert entry["size"] == [96, 112]
    assert entry["points"] == [[20.0, 24.0]]
    assert len(entry["areas"]) == 1
    assert entry["areas"][0] > 100
    assert entry["encode_ms"] > 0
    # The mask is seen: the disk changes its look where the click was answered, the ground does not.
    before = np.asarray(Image.open(image).convert("RGB")).astype(int)
    after = np.asarray(Image.open(tmp_path / "out/disks1-clicks.png")).astype(int)
    changed = np.abs(before - after).sum(axis=2) > 30
    assert changed[32, 20]
    assert not changed[90, 5]
    # Without points the largest objects are clicked.
    again = json.loads(run_cli("demo", *arguments).stdout)["images"][0]
    assert 1 <= len(again["points"]) <= 3


def test_a_missing_picture_is_bad_input(run_cli, color_bundle, tmp_path):
    done = run_cli("demo", "--image", tmp_path / "no.jpg", "--bundle", color_bundle, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert done.stdout == ""
    *warnings, error = done.stderr.strip().splitlines()
    assert error.startswith("gen2seg: error: ")
    assert all(line.startswith("gen2seg: warning: ") for line in warnings)
