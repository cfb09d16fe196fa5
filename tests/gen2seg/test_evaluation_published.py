"""Data sets as they are published, judged beside plain folders."""

from pathlib import Path

import numpy as np
import pytest

from gen2seg.data.sets import DataSetError, open_set
from gen2seg.evaluation.datasets import find_samples, read_boundaries, read_labels
from gen2seg.evaluation.published import COCO_EXC
from gen2seg.evaluation.report import summarize
from gen2seg.evaluation.run import EvaluationConfig, evaluate
from gen2seg.evaluation.systems import get_system
from tests.gen2seg import data_trees

SIZE = data_trees.SIZE


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    pytest.importorskip("pycocotools")
    root = tmp_path_factory.mktemp("published")
    data_trees.coco(root / "coco", "val2017")
    data_trees.bsds500(root / "bsds500")
    data_trees.dram(root / "dram")
    data_trees.egohos(root / "egohos")
    data_trees.ishape(root / "ishape")
    data_trees.pidray(root / "pidray")
    data_trees.folder(root / "plain", count=1)
    return root


def test_all_layouts_are_found(published):
    found = [(s.set_name, s.id) for s in find_samples(published)]
    coco = ["000000000009", "000000000025"]
    assert found == [
        *(("bsds500", number) for number in ("100", "101")),
        *(("coco", number) for number in coco),
        *(("coco_exc", number) for number in coco),
        ("dram", "DRAM_processed/test/realism/a-painter/portrait"),
        ("dram", "DRAM_processed/test/unseen/rococo/another/portrait"),
        *(("egohos", f"ego_{number}") for number in (2, 3)),
        *(("ishape", f"{part}/val/image/{number}") for part in ("antenna", "wire") for number in (0, 1)),
        *(("pidray", f"xray_easy{number:05d}") for number in (9, 25)),
        ("plain", "photo0"),
    ]
    assert [s.id for s in find_samples(published, ["coco_exc"], limit=1)] == coco[:1]


def test_coco_exc_has_its_own_categories_only(published):
    assert len(COCO_EXC) == len(set(COCO_EXC)) == 46
    everything, exc = (find_samples(published, [name])[0] for name in ("coco", "coco_exc"))
    labels, persons = read_labels(everything, SIZE), read_labels(exc, SIZE)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert np.array_equal(persons, np.where(labels == 1, 1, 0))  # a car is none of them


def test_bsds500_gives_the_median_annotator_and_all_boundaries(published):
    sample = find_samples(published, ["bsds500"])[0]
    assert len(np.unique(read_labels(sample, SIZE))) == 3
    boundaries = read_boundaries(sample, SIZE)
    assert boundaries.shape == (3, *SIZE)
    assert boundaries.dtype == np.bool_
    assert (np.diff(boundaries.sum(axis=(1, 2))) > 0).all()


def test_a_damaged_ground_truth_is_named(tmp_path):
    data_set = open_set("bsds500", data_trees.bsds500(tmp_path, count=1))
    path = tmp_path / "data/groundTruth/test/100.mat"
    path.write_bytes(b"no mat file")
    with pytest.raises(DataSetError, match=r"100\.mat"):
        data_set.read(data_set.frames[0])
    path.unlink()
    with pytest.raises(DataSetError, match="has no ground truth"):
        open_set("bsds500", tmp_path)
    with pytest.raises(DataSetError, match="does not look like bsds500"):
        open_set("bsds500", tmp_path, {"split": "val"})


def test_published_sets_are_judged(published):
    report = summarize(evaluate(EvaluationConfig(published, jobs=2), [get_system("floodfill"), get_system("sobel")]))
    assert {name: r.instances for name, r in report.sets.items()} == {
        "bsds500": 2 * 3,
        "coco": 3,
        "coco_exc": 2,
        "dram": 2 * 2,
        "egohos": 2 * 4,
        "ishape": 4 * 3,
        "pidray": 3,
        "plain": 4,
    }
    assert list(report.sets["bsds500"].edges) == ["sobel"]
    assert report.sets["coco"].scores["floodfill"].sizes["small"].instances > 0
    assert report.sets["plain"].scores["floodfill"].miou > 0.9
