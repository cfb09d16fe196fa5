"""Miniature data sets in their published layouts."""

import json
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

SIZE = (48, 64)  # height, width


def blocks(seed: int, size: tuple[int, int] = SIZE, ids: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Coloured rectangles on dark ground: rgb uint8 and ids 0..`ids` int32."""
    rng = np.random.default_rng(seed)
    rgb = rng.integers(1, 20, (*size, 3)).astype(np.uint8)
    labels = np.zeros(size, np.int32)
    for number in range(1, ids + 1):
        top, left = (number - 1) % 2 * size[0] // 2 + 2, (number - 1) // 2 * size[1] // 2 + 2
        rows, columns = slice(top, top + size[0] // 2 - 6), slice(left, left + size[1] // 2 - 6)
        labels[rows, columns] = number
        rgb[rows, columns] = rng.integers(60, 255, 3)
    return rgb, labels


def write_hdf5(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["dataset"] = values


def save(picture: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=95) if path.suffix == ".jpg" else Image.fromarray(picture).save(path)


def hypersim(root: Path, frames: int = 3, *, colored: bool = False, prefix: str = "rgb/") -> Path:
    """Scene ai_001_001 with 12 objects over its frames, ai_001_002 with four, and a frame without any."""
    for scene, per_frame in (("ai_001_001", 12), ("ai_001_002", 4)):
        for number in range(frames):
            rgb, labels = blocks(number)
            ids = np.where(labels > 0, labels + number * per_frame // frames, -1).astype(np.int32)
            folder = f"{scene}/images/scene_cam_00_"
            for kind in ("color", "diff", "gamma", "tonemap"):  # all that the archive has
                save(rgb, root / prefix / f"{folder}final_preview/frame.{number:04d}.{kind}.jpg")
            geometry = f"{folder}geometry_hdf5"
            if colored:
                table = np.random.default_rng(9).integers(1, 255, (100, 3)).astype(np.uint8)
                save(
                    np.where(ids[..., None] > 0, table[ids], 0),
                    root / "instance-rgb" / geometry / f"frame.{number:04d}.png",
                )
            else:
                write_hdf5(root / prefix / geometry / f"frame.{number:04d}.semantic_instance.hdf5", ids)
                classes = np.array([-1, 5, 7, 35, 1])[labels].astype(np.int16)  # none, chair, table, lamp, wall
                write_hdf5(root / prefix / geometry / f"frame.{number:04d}.semantic.hdf5", classes)
    if not colored:
        write_hdf5(
            root / prefix / "ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0000.semantic_instance.hdf5",
            np.full(SIZE, -1, np.int32),
        )
    return root


def virtual_kitti2(root: Path, size: tuple[int, int] = (94, 310), frames: int = 2) -> Path:
    """Scene01, two weathers (one that the reference does not take), both cameras; palette PNGs."""
    for weather in ("fog", "clone"):
        for camera in (0, 1):
            for number in range(frames):
                rgb, labels = blocks(10 + number, size, ids=2)
                base = root / "Scene01" / weather / "frames"
                save(rgb, base / "rgb" / f"Camera_{camera}" / f"rgb_{number:05d}.jpg")
                picture = Image.fromarray(labels.astype(np.uint8), "L").convert("P")
                picture.putpalette(list(np.random.default_rng(1).integers(0, 256, 768)))
                path = base / "instanceSegmentation" / f"Camera_{camera}" / f"instancegt_{number:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)
    return root


def coco(root: Path, split: str = "train2017", file: str = "instances_{}", name: str = "{:012d}.jpg") -> Path:
    """Three pictures: two objects that overlap; one object and a crowd; none."""
    images, annotations = [], []

    def add(image: int, category: int, x: int, y: int, w: int, h: int, crowd: bool = False) -> None:
        corners = [x, y, x + w, y, x + w, y + h, x, y + h]
        mask = np.zeros(SIZE, np.uint8)
        mask[y : y + h, x : x + w] = 1
        counts = np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=2, append=2))).tolist()
        counts = counts if mask.T.ravel()[0] == 0 else [0, *counts]
        shape = {"size": list(SIZE), "counts": counts} if crowd else [corners]
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": category,
                "segmentation": shape,
                "area": w * h,
                "bbox": [x, y, w, h],
                "iscrowd": int(crowd),
            }
        )

    for number in (9, 25, 30):
        rgb, _ = blocks(number)
        save(rgb, root / split / name.format(number))
        images.append({"id": number, "file_name": name.format(number), "height": SIZE[0], "width": SIZE[1]})
    add(9, 1, 10, 10, 8, 8)
    add(9, 3, 5, 5, 30, 30)
    add(25, 1, 2, 2, 10, 10)
    add(25, 3, 30, 20, 20, 20, crowd=True)
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}],
    }
    path = root / "annotations" / f"{file.format(split)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return root


def pidray(root: Path) -> Path:
    """The easy test part."""
    return coco(root, "easy", "xray_test_easy", "xray_easy{:05d}.png")


def dram(root: Path) -> Path:
    """One painting of a known and one of an unseen movement, of one name: two people apart, a dog, a car, unknown."""
    for number, place in enumerate(("realism/a-painter", "unseen/rococo/another")):
        rgb, labels = blocks(number)
        values = np.array([0, 15, 15, 12, 7], np.uint8)[labels]
        values[0, :4] = 255
        save(rgb, root / "DRAM_processed/test" / place / "portrait.jpg")
        save(values, root / "DRAM_processed/labels" / place / "portrait.png")
    (root / "DRAM_processed/test/dram_with_unseen.txt").write_text("realism/a-painter/portrait\n")
    return root


def egohos(root: Path) -> Path:
    """One picture a split: both hands, what the right one holds and what it acts on."""
    for number, split in enumerate(("train", "val", "test_indomain", "test_outdomain")):
        rgb, labels = blocks(number)
        save(rgb, root / split / "image" / f"ego_{number}.jpg")
        save(np.array([0, 1, 2, 4, 7], np.uint8)[labels], root / split / "label" / f"ego_{number}.png")
        save((labels > 0).astype(np.uint8), root / split / "contact" / f"ego_{number}.png")
    return root


def ishape(root: Path) -> Path:
    """Two of the six sub-sets with pictures of the same names; numbers below 1000 are no objects."""
    for part in ("antenna", "wire"):
        for split, count in (("train", 1), ("val", 2)):
            for number in range(count):
                rgb, labels = blocks(number)
                save(rgb, root / part / split / "image" / f"{number}.jpg")
                ids = np.array([0, 3, 1000, 1001, 2000], np.uint16)[labels]
                save(ids, root / part / split / "instance_map" / f"{number}.png")
    return root


def clevrtex(root: Path, count: int = 20) -> Path:
    """Pictures with an alpha channel and flat masks, in folders of ten, as the archive has them."""
    for number in range(count):
        rgb, labels = blocks(number, ids=3)
        folder = root / "clevrtex_full" / str(number // 10)
        save(np.dstack([rgb, np.full(SIZE, 255, np.uint8)]), folder / f"CLEVRTEX_full_{number:06d}.png")
        save(labels.astype(np.uint8), folder / f"CLEVRTEX_full_{number:06d}_flat.png")
    return root


def folder(root: Path, count: int = 4, size: tuple[int, int] = SIZE) -> Path:
    """images/ and instances/ with 16-bit ids above 255."""
    for number in range(count):
        rgb, labels = blocks(number, size)
        save(rgb, root / "images" / f"photo{number}.png")
        save(np.where(labels > 0, labels + 300, 0).astype(np.uint16), root / "instances" / f"photo{number}.png")
    return root


def bsds500(root: Path, count: int = 2, split: str = "test") -> Path:
    """Three annotators a picture: 2, 3 and 5 regions; the archive's cell array of structs."""
    from scipy.io import savemat

    for number in range(count):
        rgb, labels = blocks(number, ids=4)
        save(rgb, root / "data/images" / split / f"{100 + number}.jpg")
        cells = np.empty((1, 3), object)
        for index, regions in enumerate((1, 2, 4)):
            segmentation = np.where(labels <= regions, labels + 1, 1).astype(np.uint16)
            drawn = np.zeros(SIZE, np.uint8)
            drawn[:, 1:] |= segmentation[:, 1:] != segmentation[:, :-1]
            drawn[1:] |= segmentation[1:] != segmentation[:-1]
            cells[0, index] = {"Segmentation": segmentation, "Boundaries": drawn}
        path = root / "data/groundTruth" / split / f"{100 + number}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        savemat(path, {"groundTruth": cells})
    return root
