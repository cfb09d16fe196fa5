"""What a system reached on an image, kept in files, so that a killed or repeated run only does what is missing.

One .npz an image and system, named by the SHA-256 of all that the result depends on: what the system says of itself
(its weights' digest, its version, the distortion), the picture's and the truth's digests, the clicks and the protocol.
Files are written to a temporary name and renamed: a run that dies leaves no half of one.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from gen2seg.evaluation.automatic import MaskCounts
from gen2seg.evaluation.clicks import Click
from gen2seg.evaluation.edge_scores import EdgeCounts
from gen2seg.folders import make_folder
from gen2seg_runtime.files import atomic_write

# To be raised with every change of what a click, a score or an edge count is.
PROTOCOL = 5


@dataclass(frozen=True)
class Outcome:
    """One system on one image.

    Attributes:
        ious: float64 [S, N, C], see run.ImageResult.
        seconds: float64 [2, S]: at each setting how long the image's preparation took, and the median first click
            after it; NaN without clicks.
        edges: counts, or None where no edges were judged.
        colors: uint8 [h, w, 3], tile for the contact sheet; None where not shown, or the system has none.
        masks: int32 [S, h, w], tiles, see gallery.GalleryRow; None where not shown.
        automatic: counts at each of the system's M mask settings; empty where none were judged.
        found: int32 [M, h, w], their tiles; None where not shown.
    """

    ious: np.ndarray
    seconds: np.ndarray
    edges: EdgeCounts | None = None
    colors: np.ndarray | None = None
    masks: np.ndarray | None = None
    automatic: tuple[MaskCounts, ...] = ()
    found: np.ndarray | None = None


@dataclass(frozen=True)
class Cache:
    """A folder of outcomes.

    Attributes:
        folder: None keeps nothing.
        reads: whether outcomes of other runs are taken; else only those of this one, which a worker left that died.
        run: names this run.
    """

    folder: Path | None
    reads: bool = True
    run: str = ""

    def load(self, key: str) -> Outcome | None:
        """The outcome under a key; None if there is none, or its file is damaged (it is then made anew)."""
        if self.folder is None:
            return None
        try:
            with np.load(self._path(key), allow_pickle=False) as parts:
                if not self.reads and (not self.run or str(parts["run"]) != self.run):
                    return None
                edges = EdgeCounts(*parts["edges"]) if "edges" in parts else None
                automatic = ()
                if "automatic_found" in parts:
                    columns = [parts[f"automatic_{name}"] for name in ("found", "best", "masks")]
                    automatic = tuple(MaskCounts(f, b, int(m)) for f, b, m in zip(*columns, strict=True))
                colors, masks, found = (parts.get(name) for name in ("colors", "masks", "found"))
                return Outcome(parts["ious"], parts["seconds"], edges, colors, masks, automatic, found)
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
            return None

    def save(self, key: str, outcome: Outcome) -> None:
        """Keep an outcome.

        Raises:
            OutputError: it cannot be written.
        """
        if self.folder is None:
            return
        parts = {
            "run": np.array(self.run),
            "ious": outcome.ious,
            "seconds": outcome.seconds,
            "colors": outcome.colors,
            "masks": outcome.masks,
            "found": outcome.found,
        }
        if outcome.automatic:
            parts["automatic_found"] = np.stack([counts.found for counts in outcome.automatic])
            parts["automatic_best"] = np.stack([counts.best for counts in outcome.automatic])
            parts["automatic_masks"] = np.array([counts.masks for counts in outcome.automatic])
        if outcome.edges is not None:
            e = outcome.edges
            parts["edges"] = np.stack([e.predicted, e.correct, e.found, e.annotated])
        path = self._path(key)
        make_folder(path.parent)
        with atomic_write(path) as file:
            np.savez_compressed(file, **{name: part for name, part in parts.items() if part is not None})

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / f"{key}.npz"


def outcome_key(system: dict[str, Any], arrays: Sequence[np.ndarray], clicks: Sequence[Click], **options: Any) -> str:
    """The name of an outcome.

    Args:
        system: what the system says of itself, and its settings, as JSON values.
        arrays: picture, labels and, where there are some, boundaries.
        clicks: the first clicks.
        options: what else the outcome depends on, as JSON values.
    """
    digest = hashlib.sha256()
    points = [(click.instance, click.x, click.y) for click in clicks]
    digest.update(json.dumps([PROTOCOL, system, points, options], sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
