"""Each data set is read from a miniature tree in its published layout; what is wrong with one is said."""

from pathlib import Path

import numpy as np
import pytest

from gen2seg.data.categories import FIVE, TEN, restricted, usable
from gen2seg.data.cleaning import clean
from gen2seg.data.sets import KINDS, DataSetError, Sample, open_set
from gen2seg.data.sets.hypersim import NYU40
from tests.gen2seg import data_trees as trees


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEN2SEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("prefix", ["rgb/", ""])
def test_hypersim_hdf5(tmp_path: Path, prefix: str) -> None:
    files = open_set("hypersim", trees.hypersim(tmp_path / "data", prefix=prefix))
    assert len(files.frames) == 6
    assert not files.ignore_background
    sample = files.read(files.frames[1], categories=True)
    assert sample.rgb.shape == (48, 64, 3)
    assert set(np.unique(sample.ids)) == {0, 5, 6, 7, 8}
    assert sample.categories == {5: "chair", 6: "table", 7: "lamp", 8: "wall"}
    assert not files.read(files.frames[0]).ids.any()  # all -1


def test_hypersim_colored_png_has_the_instances_of_the_hdf5(tmp_path: Path) -> None:
    plain = open_set("hypersim", trees.hypersim(tmp_path / "a"))
    colored = open_set("hypersim", trees.hypersim(tmp_path / "b", colored=True))
    first, second = plain.read(plain.frames[2]).ids, colored.read(colored.frames[2]).ids
    pairs = set(zip(first.ravel().tolist(), second.ravel().tolist(), strict=True))
    assert len(pairs) == 5  # the same partition under other numbers
    assert (0, 0) in pairs
    with pytest.raises(DataSetError, match=r"semantic\.hdf5"):
        colored.read(colored.frames[0], categories=True)


def test_hypersim_says_which_previews_are_there(tmp_path: Path) -> None:
    root = trees.hypersim(tmp_path / "data")
    for path in root.glob("**/*.color.jpg"):
        path.unlink()
    with pytest.raises(DataSetError, match="diff, gamma, tonemap: set the option preview"):
        open_set("hypersim", root)
    assert len(open_set("hypersim", root, {"preview": "tonemap"}).frames) == 6


def test_hypersim_cleaning(tmp_path: Path) -> None:
    """The second scene has four objects a frame and ten ids in all; the first frame of the first has none."""
    files = open_set("hypersim", trees.hypersim(tmp_path / "data"))
    everything = clean(files)
    assert len(everything.frames) == 5
    assert everything.without_objects == 1
    chosen = clean(files, least_objects=8)
    assert {frame.scene for frame in chosen.frames} == {"ai_001_001"}
    assert chosen.poor_scenes == 3
    assert "3 in scenes with too few objects" in chosen.describe()
    with pytest.raises(DataSetError, match="nothing to train on"):
        clean(files, least_objects=1000)


def test_cleaning_reads_label_maps_once_and_again_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = open_set("hypersim", trees.hypersim(tmp_path / "data"))
    reads = []
    monkeypatch.setattr(
        files, "read", lambda frame, **more: reads.append(frame) or type(files).read(files, frame, **more)
    )
    first = clean(files)
    assert len(reads) == 6
    assert clean(files) == first
    assert len(reads) == 6
    trees.write_hdf5(files.root / files.frames[0].labels, np.ones(trees.SIZE, np.int32))
    assert len(clean(files).frames) == 6
    assert len(reads) == 7


def test_two_parts_of_a_folder_share_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = trees.coco(trees.coco(tmp_path / "data"), "val2017")
    parts = [open_set("coco", root, {"split": split}) for split in ("train2017", "val2017")]
    assert [len(clean(part).frames) for part in parts] == [2, 2]
    for part in parts:
        monkeypatch.setattr(part, "read", lambda *_, **_more: pytest.fail("read again"))
        assert len(clean(part).frames) == 2


def test_other_labels_for_the_same_pictures_are_read(tmp_path: Path) -> None:
    root = trees.folder(tmp_path / "data")
    clean(open_set("folder", root))
    for path in (root / "instances").iterdir():
        trees.save(np.zeros(trees.SIZE, np.uint16), root / "empty" / path.name)
    with pytest.raises(DataSetError, match="4 without objects"):
        clean(open_set("folder", root, {"instances": "empty"}))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(DataSetError, match="set GEN2SEG_CACHE"):
        clean(open_set("folder", trees.folder(tmp_path / "data")))


def test_a_broken_cache_is_made_again(tmp_path: Path, cache: Path) -> None:
    files = open_set("folder", trees.folder(tmp_path / "data"))
    clean(files)
    (path,) = cache.glob("**/*.json")
    path.write_text("{half")
    assert len(clean(files).frames) == 4


def test_broken_files_are_counted_and_named(tmp_path: Path) -> None:
    root = trees.folder(tmp_path / "data")
    (root / "images" / "photo1.png").write_bytes(b"\x89PNG half")
    trees.save(np.ones((5, 5), np.uint8), root / "instances" / "photo2.png")
    found = clean(open_set("folder", root))
    assert len(found.frames) == 2
    assert len(found.unreadable) == 2
    assert "photo1.png" in found.unreadable[0]
    assert "photo2.png" in found.unreadable[1]
    assert "2 unreadable" in found.describe()


def test_virtual_kitti2(tmp_path: Path) -> None:
    root = trees.virtual_kitti2(tmp_path / "data")
    files = open_set("virtual-kitti-2", root)
    assert files.ignore_background
    assert len(files.frames) == 4  # two cameras of the one weather that the reference takes
    sample = files.read(files.frames[0])
    assert sample.rgb.shape == (94, 310, 3)
    assert set(np.unique(sample.ids)) == {0, 1, 2}  # palette indices, not the palette's colours
    assert len(open_set("virtual-kitti-2", root, {"weathers": ["clone"], "cameras": [1]}).frames) == 2


def test_coco(tmp_path: Path) -> None:
    files = open_set("coco", trees.coco(tmp_path / "data"))
    assert len(files.frames) == 2  # the third picture has no object
    sample = files.read(files.frames[0], categories=True)
    assert sample.ids[12, 12] == 1  # the small one lies on the large one
    assert sample.ids[30, 30] == 2
    assert sample.ids[45, 60] == 0
    assert sample.valid is None
    assert sample.categories == {1: "person", 2: "car"}
    crowded = files.read(files.frames[1])
    assert crowded.valid is not None
    assert not crowded.valid[25, 35]
    assert crowded.valid[5, 5]
    assert crowded.ids[25, 35] == 0
    assert files.category_names() == {"person", "car"}


def test_clevrtex_splits(tmp_path: Path) -> None:
    root = trees.clevrtex(tmp_path / "data")
    sizes = {
        split: len(open_set("clevrtex", root, {"split": split}).frames) for split in ("test", "val", "train", "all")
    }
    assert sizes == {"test": 2, "val": 2, "train": 16, "all": 20}
    files = open_set("clevrtex", root / "clevrtex_full")
    assert files.frames[0].image == "0/CLEVRTEX_full_000004.png"
    sample = files.read(files.frames[0])
    assert sample.rgb.shape == (48, 64, 3)
    assert set(np.unique(sample.ids)) == {0, 1, 2, 3}


def test_folder_with_16_bit_ids(tmp_path: Path) -> None:
    files = open_set("folder", trees.folder(tmp_path / "data"))
    assert set(np.unique(files.read(files.frames[0]).ids)) == {0, 301, 302, 303, 304}
    (files.root / "instances" / "photo0.png").unlink()
    with pytest.raises(DataSetError, match=r"photo0\.png has no label map"):
        open_set("folder", files.root)


@pytest.mark.parametrize("kind", KINDS)
def test_another_folder_is_refused_with_the_expected_layout(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataSetError, match="expected there"):
        open_set(kind, tmp_path)
    with pytest.raises(DataSetError, match="no such folder"):
        open_set(kind, tmp_path / "missing")
    with pytest.raises(DataSetError, match="unknown option 'wether' of data set"):
        open_set(kind, tmp_path, {"wether": 1})


def test_unknown_kind() -> None:
    with pytest.raises(DataSetError, match="unknown data set 'ade20k'; known: hypersim"):
        open_set("ade20k", ".")


def test_category_groups_are_categories_of_hypersim() -> None:
    assert set(TEN) <= set(NYU40)
    assert len(NYU40) == 40
    assert len(FIVE) == 5
    assert len(TEN) == 10


def test_restriction_hides_the_boxes_of_other_objects() -> None:
    ids = np.zeros((10, 20), np.int32)
    ids[1:4, 1:4] = 7  # allowed
    ids[6, 10] = ids[8, 12] = 9  # another object: its box is 3 x 3
    ids[:, 19] = 3  # a wall
    sample = Sample(np.zeros((10, 20, 3), np.uint8), ids, None, {7: "chair", 9: "bed", 3: "wall"})
    found = restricted(sample, ("chair",))
    assert set(np.unique(found.ids)) == {0, 7}
    assert found.valid is not None
    assert np.count_nonzero(~found.valid) == 9
    assert not found.valid[7, 11]
    assert usable(found)


@pytest.mark.parametrize(("height", "keeps"), [(7, True), (8, False)])
def test_pictures_with_over_35_percent_hidden_are_dropped(height: int, keeps: bool) -> None:
    ids = np.zeros((20, 10), np.int32)
    ids[:height] = 2
    ids[15] = 1
    sample = Sample(np.zeros((20, 10, 3), np.uint8), ids, None, {1: "chair", 2: "bed"})
    assert usable(restricted(sample, ("chair",))) is keeps
    assert not usable(restricted(sample, ("lamp",)))


def test_category_cleaning(tmp_path: Path) -> None:
    """Lamps fill a quarter; the boxes of chair and table hide more than 35 %."""
    files = open_set("hypersim", trees.hypersim(tmp_path / "data"))
    assert len(clean(files, categories=("chair", "table", "lamp")).frames) == 5
    with pytest.raises(DataSetError, match="too much of other categories"):
        clean(files, categories=("sofa",))
