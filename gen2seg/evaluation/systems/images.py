"""What the systems share that work on the image as it is."""

from abc import ABC, abstractmethod
from functools import cache, partial
from typing import Any

import numpy as np

from gen2seg.evaluation.errors import EvaluationError

from .interface import Points, Proposals, Segments, Setting, Signs


class ImageSystem:
    """Shared by the systems that work on the image as it is."""

    settings: tuple[Setting, ...] = ()
    has_edges = False
    mask_settings: tuple[Setting, ...] = ()

    def prepare(self, image: np.ndarray) -> Any:
        return image

    def mask(
        self,
        state: Any,
        points: Points,
        setting: Setting,
        before: np.ndarray | None = None,
        labels: Signs = None,
    ) -> np.ndarray:
        """The union of the positive clicks' own masks without the union of the negative ones'."""
        here = self.mask_at(state, points[-1], setting)
        if len(points) == 1:
            return here
        if labels is None or all(labels):
            return here | (self.mask(state, points[:-1], setting) if before is None else before)
        gained, lost = np.zeros_like(here), np.zeros_like(here)
        for point, label in zip(points, labels, strict=True):
            part = gained if label else lost
            part |= self.mask_at(state, point, setting)
        return gained & ~lost

    def mask_at(self, state: Any, point: tuple[int, int], setting: Setting) -> np.ndarray:
        """bool [H, W] for one click."""
        raise EvaluationError(f"{type(self).__name__} finds edges only, no masks")

    def edges(self, state: Any) -> np.ndarray:
        raise EvaluationError(f"{type(self).__name__} finds no edges")

    def masks(self, state: Any, setting: Setting) -> Proposals:
        raise EvaluationError(f"{type(self).__name__} finds no masks without a click")

    def colors(self, state: Any) -> np.ndarray | None:
        return None


class SegmentSystem(ImageSystem, ABC):
    """Shared by the systems that cut the whole image into segments: a click gets the segment under it.

    Nothing tells a good segment from a bad one, so that the larger counts as the better one.
    """

    def prepare(self, image: np.ndarray) -> Any:
        # A setting's segments are found when it is first asked for.
        return cache(partial(self.segment, image))

    @abstractmethod
    def segment(self, image: np.ndarray, setting: Setting) -> np.ndarray:
        """int32 [H, W], every pixel in one segment; numbers from 0 on."""

    def mask_at(self, state: Any, point: tuple[int, int], setting: Setting) -> np.ndarray:
        segments = state(setting)
        return segments == segments[point[1], point[0]]

    def masks(self, state: Any, setting: Setting) -> Segments:
        segments = state(setting)
        return Segments(segments + 1, np.bincount(segments.ravel()).tolist())
