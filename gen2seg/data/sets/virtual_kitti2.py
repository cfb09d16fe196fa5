"""Virtual KITTI 2 (Cabon, Murray and Humenberger, 2020): rendered drives; only vehicles have instances."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .base import (
    DataSet,
    Frame,
    expect_folder,
    nothing_found,
    read_options,
)

LAYOUT = (
    "SceneNN/WEATHER/frames/rgb/Camera_K/rgb_NNNNN.jpg with "
    "SceneNN/WEATHER/frames/instanceSegmentation/Camera_K/instancegt_NNNNN.png"
)


@dataclass(frozen=True)
class VirtualKitti2Options:
    """weathers: the variants to take, those of the reference unless others are named; cameras: 0 = left, 1 = right."""

    weathers: tuple[str, ...] = ("morning", "fog", "rain", "sunset", "overcast")
    cameras: tuple[int, ...] = (0, 1)


class VirtualKitti2(DataSet):
    """The five scenes; label maps hold the track number + 1, so 0 is what has no instance."""

    kind = "virtual-kitti-2"
    ignore_background = True  # people, signs, houses and trees have no ids: black would be wrong for them

    def __init__(self, root: Path, options: Mapping[str, Any]) -> None:
        chosen = read_options(VirtualKitti2Options, options, self.kind)
        expect_folder(root, self.kind, LAYOUT)
        frames = list(_find(root, chosen))
        if not frames:
            raise nothing_found(root, self.kind, LAYOUT)
        super().__init__(root, frames)


def _find(root: Path, chosen: VirtualKitti2Options) -> Iterator[Frame]:
    for scene in sorted(path for path in root.glob("Scene*") if path.is_dir()):
        for weather in chosen.weathers:
            frames = scene / weather / "frames"
            for camera in chosen.cameras:
                # The archive spells the folder one way, the published description another.
                spellings = (
                    frames / name / f"Camera_{camera}" for name in ("instanceSegmentation", "instancesegmentation")
                )
                labels = next((path for path in spellings if path.is_dir()), None)
                if labels is None:
                    continue
                known = {path.name for path in labels.iterdir()}
                for image in sorted((frames / "rgb" / f"Camera_{camera}").glob("rgb_*.jpg")):
                    name = f"instancegt_{image.stem.removeprefix('rgb_')}.png"
                    if name in known:
                        yield Frame(
                            image.relative_to(root).as_posix(), (labels / name).relative_to(root).as_posix(), scene.name
                        )
