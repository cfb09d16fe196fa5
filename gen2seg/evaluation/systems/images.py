"""What the systems share that work on the image as it is."""

from typing import Any

import numpy as np

from gen2seg.evaluation.errors import EvaluationError

from .interface import Points, Setting


class ImageSystem:
    """Shared by the systems that work on the image as it is."""

    settings: tuple[Setting, ...] = ()
    has_edges = False

    def prepare(self, image: np.ndarray) -> Any:
        return image

    def mask(self, state: Any, points: Points, setting: Setting, before: np.ndarray | None = None) -> np.ndarray:
        """The union of the clicks' own masks."""
        here = self.mask_at(state, points[-1], setting)
        if len(points) == 1:
            return here
        return here | (self.mask(state, points[:-1], setting) if before is None else before)

    def mask_at(self, state: Any, point: tuple[int, int], setting: Setting) -> np.ndarray:
        """bool [H, W] for one click."""
        raise EvaluationError(f"{type(self).__name__} finds edges only, no masks")

    def edges(self, state: Any) -> np.ndarray:
        raise EvaluationError(f"{type(self).__name__} finds no edges")

    def colors(self, state: Any) -> np.ndarray | None:
        return None
