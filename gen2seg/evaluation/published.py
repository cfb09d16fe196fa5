"""Data sets in their published layout as sets of an evaluation.

COCO val2017, its COCO_exc, BSDS500 test, DRAM test, EgoHOS test, iShape val, PIDray easy; the readers are in
gen2seg/data/sets and say where their layout is from.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gen2seg.data.sets import DataSet, bsds500, dram, ishape, open_set, pidray

# Categories that its training data has not: gen2seg (arXiv 2505.15263), Appendix D.2.
COCO_EXC = (
    *("person", "traffic light", "handbag", "bird", "boat", "truck", "umbrella", "cow", "banana", "motorcycle"),
    *("backpack", "carrot", "sheep", "donut", "kite", "bicycle", "broccoli", "cake", "suitcase", "orange", "bus"),
    *("pizza", "horse", "surfboard", "zebra", "sports ball", "elephant", "tie", "skis", "giraffe", "tennis racket"),
    *("dog", "cat", "train", "skateboard", "sandwich", "baseball glove", "baseball bat", "airplane", "hot dog"),
    *("frisbee", "fire hydrant", "stop sign", "bear", "snowboard", "parking meter"),
)


@dataclass(frozen=True)
class Source:
    """How to open a data set, in this process or another.

    Attributes:
        kind, root: as `open_set` takes them.
        options: its options as pairs.
    """

    kind: str
    root: Path
    options: tuple[tuple[str, str | tuple[str, ...]], ...]


def find_sources(folder: Path) -> dict[str, Source]:
    """The sets that a folder holds, by name: FOLDER, and for COCO also FOLDER_exc; empty if it is none of these."""
    if (folder / "annotations" / "instances_val2017.json").is_file():
        split = ("split", "val2017")
        return {
            folder.name: Source("coco", folder, (split,)),
            f"{folder.name}_exc": Source("coco", folder, (split, ("categories", COCO_EXC))),
        }
    for kind, found in (
        ("bsds500", bsds500.find_data(folder) is not None),
        ("dram", dram.find_data(folder) is not None),
        ("egohos", (folder / "test_indomain/label").is_dir()),
        ("ishape", any((folder / part / "val/instance_map").is_dir() for part in ishape.PARTS)),
        ("pidray", pidray.find_annotations(folder)),
    ):
        if found:
            return {folder.name: Source(kind, folder, ())}
    return {}


@lru_cache(maxsize=8)  # COCO's annotations take a second or more to read
def open_source(source: Source) -> DataSet:
    """The opened data set.

    Raises:
        DataSetError: it is not as published, or a library that reads it is missing.
    """
    return open_set(source.kind, source.root, dict(source.options))
