"""The data folder: `<set>/images/<id>.*`, `<set>/instances/<id>.png`, for edge sets `<set>/edges/<id>.npz`; beside
them folders in a published layout, see published.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from gen2seg.data.sets import Frame
from gen2seg.data.sets.bsds500 import Bsds500
from gen2seg.evaluation.errors import DataSetError, EvaluationError
from gen2seg.evaluation.published import Source, find_sources, open_source

_IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})


@dataclass(frozen=True)
class Sample:
    """One image of a set and the files that judge it.

    Attributes:
        set_name: name of the set's folder.
        id: the image's file name without its suffix, with its folders where the name alone is not unique.
        image: RGB or grey picture.
        instances: label map, 0 = background or unlabelled, 1..N = instances; or the file with the annotations.
        edges: boundaries by several human annotators, or None.
        source, frame: of a set in its published layout the set and the place in it; else None.
    """

    set_name: str
    id: str
    image: Path
    instances: Path
    edges: Path | None
    source: Source | None = None
    frame: Frame | None = None


def find_samples(data: Path, sets: Sequence[str] | None = None, limit: int | None = None) -> list[Sample]:
    """List the images to judge, by set name and then by id.

    Args:
        data: the folder that holds one folder per set.
        sets: names of the wanted sets; None takes all.
        limit: at most so many images a set, spread evenly over its sorted ids (neighbours often show one
            scene); None takes all.

    Raises:
        DataSetError: `data` is no folder, holds no set, or an image has no label map.
        EvaluationError: a name in `sets` is unknown, or `limit` is under 1.
    """
    if limit is not None and limit < 1:
        raise EvaluationError(f"limit must be at least 1 image a set, got {limit}")
    known = _known_sets(data)
    for name in sets or ():
        if name not in known:
            raise EvaluationError(f"unknown set {name!r} in {data}; known: {', '.join(known)}")
    wanted = [(name, source) for name, source in known.items() if sets is None or name in sets]
    return [
        sample
        for name, source in wanted
        for sample in _spread(_samples_of(data / name) if source is None else _samples_in(name, source), limit)
    ]


def read_labels(sample: Sample, size: tuple[int, int]) -> np.ndarray:
    """Read the label map of a sample as int32 [H, W], 0 = none.

    Args:
        sample: whose label map to read.
        size: (H, W) of its image, which the label map must have as well.

    Raises:
        DataSetError: the file cannot be read, is no single-channel integer picture or has another size.
    """
    if sample.source is not None and sample.frame is not None:
        return open_source(sample.source).read(sample.frame).ids
    try:
        with Image.open(sample.instances) as picture:
            labels = np.asarray(picture)
    except (OSError, ValueError) as error:
        raise DataSetError(f"cannot read the label map {sample.instances}: {error}") from error
    if labels.ndim != 2 or labels.dtype.kind not in "uib":
        raise DataSetError(
            f"{sample.instances}: a label map has one integer channel, got {labels.shape} {labels.dtype}"
        )
    if labels.shape != size:
        raise DataSetError(f"{sample.instances}: its image is {size} (height, width), the labels {labels.shape}")
    return labels.astype(np.int32)


def read_boundaries(sample: Sample, size: tuple[int, int]) -> np.ndarray:
    """Read the boundaries of an edge sample as bool [K, H, W], one map per annotator.

    Raises:
        DataSetError: there is no such file, it cannot be read, or its shape does not fit `size` = (H, W).
    """
    if sample.edges is None:
        raise DataSetError(f"{sample.set_name}/{sample.id} has no edges file")
    try:
        boundaries = _load_boundaries(sample, sample.edges)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise DataSetError(f"cannot read the boundaries {sample.edges}: {error}") from error
    if boundaries.ndim != 3 or len(boundaries) == 0 or boundaries.shape[1:] != size:
        raise DataSetError(f"{sample.edges}: expected [K, {size[0]}, {size[1]}], got {boundaries.shape}")
    return boundaries.astype(bool)


def _load_boundaries(sample: Sample, path: Path) -> np.ndarray:
    if sample.source is not None and sample.frame is not None:
        opened = open_source(sample.source)
        assert isinstance(opened, Bsds500)
        return opened.boundaries(sample.frame)
    with np.load(path, allow_pickle=False) as archive:
        return archive["boundaries"]


def find_sets(data: Path) -> dict[str, str]:
    """The sets of a data folder: by name its kind, one of gen2seg.data.sets.KINDS, "coco_exc" for the part of COCO
    with categories unseen in training, or "folder" for the plain layout.

    Raises:
        DataSetError: `data` is no folder or holds no set.
    """
    kinds = {}
    for name, source in _known_sets(data).items():
        if source is None:
            kinds[name] = "folder"
        else:
            kinds[name] = f"{source.kind}_exc" if any(key == "categories" for key, _ in source.options) else source.kind
    return kinds


def _known_sets(data: Path) -> dict[str, Source | None]:
    """By name; None for the plain layout."""
    if not data.is_dir():
        raise DataSetError(f"the data folder {data} does not exist; name it with --data or GEN2SEG_DATA")
    known: dict[str, Source | None] = {}
    for folder in data.iterdir():
        if (folder / "images").is_dir() and (folder / "instances").is_dir():
            known[folder.name] = None
        else:
            known.update(find_sources(folder))
    if not known:
        raise DataSetError(
            f"{data} holds no set: expected <set>/images and <set>/instances, or a published set: COCO val2017, "
            "BSDS500, DRAM, EgoHOS, iShape or PIDray"
        )
    return dict(sorted(known.items()))


def _samples_in(name: str, source: Source) -> list[Sample]:
    opened = open_source(source)
    ids = [Path(frame.image).stem for frame in opened.frames]
    if len(set(ids)) < len(ids):  # one folder a painter, or a kind of thing: the path tells pictures apart
        ids = [Path(frame.image).with_suffix("").as_posix() for frame in opened.frames]
    samples = []
    for id, frame in zip(ids, opened.frames, strict=True):
        image, labels = opened.root / frame.image, opened.root / frame.labels.partition("#")[0]
        edges = labels if isinstance(opened, Bsds500) else None
        samples.append(Sample(name, id, image, labels, edges, source, frame))
    return samples


def _samples_of(folder: Path) -> list[Sample]:
    samples = []
    images = (p for p in (folder / "images").iterdir() if p.suffix.lower() in _IMAGE_SUFFIXES)
    for image in sorted(images, key=lambda p: p.name):
        instances = folder / "instances" / f"{image.stem}.png"
        if not instances.is_file():
            raise DataSetError(f"{image} has no label map: expected {instances}")
        edges = folder / "edges" / f"{image.stem}.npz"
        samples.append(Sample(folder.name, image.stem, image, instances, edges if edges.is_file() else None))
    if not samples:
        raise DataSetError(f"{folder / 'images'} holds no picture")
    return samples


def _spread(samples: list[Sample], limit: int | None) -> list[Sample]:
    if limit is None or limit >= len(samples):
        return samples
    return [samples[index * len(samples) // limit] for index in range(limit)]
