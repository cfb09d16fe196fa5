"""DRAM, EgoHOS, iShape and PIDray: each reader on a miniature of the published layout."""

import numpy as np
import pytest
from PIL import Image

from gen2seg.data.sets import DataSetError, open_set
from tests.gen2seg import data_trees as trees


def names_of(sample) -> dict[int, str]:
    assert sample.categories is not None
    return dict(sample.categories)


def test_dram_takes_whole_categories_or_their_parts(tmp_path):
    root = trees.dram(tmp_path)
    whole = open_set("dram", root)
    assert [frame.image for frame in whole.frames] == [
        "DRAM_processed/test/realism/a-painter/portrait.jpg",
        "DRAM_processed/test/unseen/rococo/another/portrait.jpg",
    ]
    sample = whole.read(whole.frames[0], categories=True)
    assert set(np.unique(sample.ids)) == {0, 12, 15}  # a car is none of DRAM's categories
    assert names_of(sample) == {12: "dog", 15: "person"}
    assert sample.valid is not None
    assert np.count_nonzero(~sample.valid) == 4
    split = open_set("dram", root / "DRAM_processed", {"parts": True})
    sample = split.read(split.frames[0], categories=True)
    assert names_of(sample) == {1: "dog", 2: "person", 3: "person"}
    assert set(np.unique(sample.ids)) == {0, 1, 2, 3}
    (root / "DRAM_processed/labels/realism/a-painter/portrait.png").unlink()
    with pytest.raises(DataSetError, match=r"portrait\.jpg has no labels"):
        open_set("dram", root)


def test_egohos_splits_and_roles(tmp_path):
    root = trees.egohos(tmp_path)
    test = open_set("egohos", root)
    assert [frame.labels for frame in test.frames] == [
        "test_indomain/label/ego_2.png",
        "test_outdomain/label/ego_3.png",
    ]
    assert len(open_set("egohos", root, {"split": "train"}).frames) == 1
    sample = test.read(test.frames[0], categories=True)
    assert sorted(names_of(sample)) == [1, 2, 4, 7]
    assert "left hand" in test.category_names()
    Image.fromarray(np.full(trees.SIZE, 9, np.uint8)).save(root / test.frames[0].labels)
    with pytest.raises(DataSetError, match="expected 0 to 8, found 9"):
        test.read(test.frames[0])
    (root / test.frames[1].labels).unlink()
    with pytest.raises(DataSetError, match=r"ego_3\.jpg has no labels"):
        open_set("egohos", root)
    with pytest.raises(DataSetError, match="unknown split 'all'"):
        open_set("egohos", root, {"split": "all"})


def test_ishape_takes_numbers_from_1000_on(tmp_path):
    root = trees.ishape(tmp_path)
    files = open_set("ishape", root)
    assert [(frame.scene, frame.image) for frame in files.frames] == [
        ("antenna", "antenna/val/image/0.jpg"),
        ("antenna", "antenna/val/image/1.jpg"),
        ("wire", "wire/val/image/0.jpg"),
        ("wire", "wire/val/image/1.jpg"),
    ]
    sample = files.read(files.frames[2], categories=True)
    assert names_of(sample) == {1000: "wire", 1001: "wire", 2000: "wire"}
    assert len(open_set("ishape", root, {"split": "train", "parts": ["wire"]}).frames) == 1
    for options, message in (({"parts": ["log"]}, "does not look like"), ({"parts": ["rope"]}, "unknown part 'rope'")):
        with pytest.raises(DataSetError, match=message):
            open_set("ishape", root, options)
    (root / "wire/val/instance_map/1.png").unlink()
    with pytest.raises(DataSetError, match=r"1\.jpg has no instance map"):
        open_set("ishape", root)


def test_pidray_is_read_as_coco(tmp_path):
    pytest.importorskip("pycocotools")
    root = trees.pidray(tmp_path / "pidray").parent
    for place, prefix in ((root / "pidray", ""), (root, "pidray/")):
        files = open_set("pidray", place)
        assert [frame.image for frame in files.frames] == [f"{prefix}easy/xray_easy{n:05d}.png" for n in (9, 25)]
        assert set(np.unique(files.read(files.frames[0]).ids)) == {0, 1, 2}
    with pytest.raises(DataSetError, match="unknown split 'test'"):
        open_set("pidray", root, {"split": "test"})
    with pytest.raises(DataSetError, match="does not look like pidray"):
        open_set("pidray", root, {"split": "hard"})
