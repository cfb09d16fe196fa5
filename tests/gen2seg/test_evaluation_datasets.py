"""The data folder: what is found, what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gen2seg.evaluation.datasets import find_samples, read_boundaries, read_labels
from gen2seg.evaluation.errors import DataSetError, EvaluationError


def test_samples_come_by_set_and_id(data_folder):
    samples = find_samples(data_folder)
    assert [(s.set_name, s.id) for s in samples] == [
        *(("disks", f"disks{i}") for i in range(4)),
        *(("outlines", f"outlines{i}") for i in range(2)),
    ]
    assert [s.edges is not None for s in samples] == [False] * 4 + [True] * 2


def test_a_limit_is_spread_over_each_set(data_folder):
    assert [s.id for s in find_samples(data_folder, limit=2)] == [
        "disks0",
        "disks2",
        "outlines0",
        "outlines1",
    ]
    assert [s.id for s in find_samples(data_folder, ["outlines"], limit=1)] == ["outlines0"]
    with pytest.raises(EvaluationError, match="limit"):
        find_samples(data_folder, limit=0)


def test_an_unknown_set_is_named_with_the_known_ones(data_folder):
    with pytest.raises(EvaluationError, match=r"'cats'.*known: disks, outlines"):
        find_samples(data_folder, ["cats"])


def test_a_missing_or_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataSetError, match="does not exist"):
        find_samples(tmp_path / "nowhere")
    with pytest.raises(DataSetError, match="holds no set"):
        find_samples(tmp_path)


def copy_of(data_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(data_folder, tmp_path / "data")


def test_an_image_without_labels_is_refused(data_folder, tmp_path):
    root = copy_of(data_folder, tmp_path)
    (root / "disks" / "instances" / "disks1.png").unlink()
    with pytest.raises(DataSetError, match=r"disks1\.png has no label map"):
        find_samples(root)


def test_labels_that_do_not_fit_are_refused(data_folder, tmp_path):
    sample = find_samples(copy_of(data_folder, tmp_path))[0]
    assert read_labels(sample, (96, 112)).dtype == np.int32
    with pytest.raises(DataSetError, match="its image is"):
        read_labels(sample, (96, 111))
    Image.fromarray(np.zeros((96, 112, 3), np.uint8)).save(sample.instances)
    with pytest.raises(DataSetError, match="one integer channel"):
        read_labels(sample, (96, 112))
    sample.instances.write_bytes(b"no picture")
    with pytest.raises(DataSetError, match="cannot read the label map"):
        read_labels(sample, (96, 112))


def test_boundaries_that_do_not_fit_are_refused(data_folder, tmp_path):
    sample = find_samples(copy_of(data_folder, tmp_path))[-1]
    assert sample.edges is not None
    assert read_boundaries(sample, (96, 112)).shape == (2, 96, 112)
    with pytest.raises(DataSetError, match="expected"):
        read_boundaries(sample, (95, 112))
    np.savez(sample.edges, other=np.zeros(3))
    with pytest.raises(DataSetError, match="cannot read"):
        read_boundaries(sample, (96, 112))
    sample.edges.write_bytes(b"")
    with pytest.raises(DataSetError, match="cannot read"):
        read_boundaries(sample, (96, 112))
