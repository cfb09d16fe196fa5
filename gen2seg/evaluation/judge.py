"""One system on one image: clicks answered and scored, edges matched, small pictures kept."""

import time
from dataclasses import dataclass

import numpy as np

from gen2seg.evaluation.cache import Outcome
from gen2seg.evaluation.clicks import Click, click_on
from gen2seg.evaluation.edge_scores import count_edges
from gen2seg.evaluation.gallery import GalleryRowBuilder, Painting
from gen2seg.evaluation.systems import Points, System


@dataclass(frozen=True)
class Truth:
    """What judges an image.

    Attributes:
        labels: int32 [H, W].
        clicks: the first click on each judged instance.
        boundaries: bool [K, H, W] by annotator, or None.
    """

    labels: np.ndarray
    clicks: list[Click]
    boundaries: np.ndarray | None


def judge(
    system: System, image: np.ndarray, truth: Truth, count: int, center: str, gallery: GalleryRowBuilder | None
) -> Outcome:
    """Let a system answer.

    Args:
        system: which.
        image: uint8 [H, W, 3].
        truth: what it is compared with.
        count: clicks on each instance.
        center: where all but the first lie, a key of clicks.CENTERS.
        gallery: makes the tiles of an image that is shown; else None.

    Raises:
        EvaluationError: an answer is no mask, or edges are none.
    """
    start = time.perf_counter()
    state = system.prepare(image)
    seconds = [time.perf_counter() - start]
    edges = None
    if truth.boundaries is not None and system.has_edges:
        edges = count_edges(system.edges(state), truth.boundaries)
    colors = gallery.color_tile(system.colors(state)) if gallery else None
    paintings: list[Painting] = []
    ious = np.zeros((len(system.settings), len(truth.clicks), count))
    for row, setting in enumerate(system.settings):
        first_clicks: list[float] = []

        def answer(points: Points, before: np.ndarray | None) -> np.ndarray:
            start = time.perf_counter()
            mask = system.mask(state, points, setting, before)  # noqa: B023 - never called after this round
            if before is None:
                first_clicks.append(time.perf_counter() - start)  # noqa: B023
            return mask

        if gallery:
            paintings.append(gallery.start_painting())
        for column, click in enumerate(truth.clicks):
            ious[row, column], first = click_on(answer, truth.labels, click, count, center)
            if gallery:
                paintings[-1].add(click, gallery.shrink_mask(first))
        seconds.append(float(np.median(first_clicks)) if first_clicks else np.nan)
    return Outcome(ious, np.array(seconds), edges, colors, np.array([p.labels for p in paintings]) if gallery else None)
