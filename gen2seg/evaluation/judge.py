"""One system on one image: clicks answered and scored, edges matched, automatic masks counted, small pictures kept."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gen2seg.evaluation.automatic import count_masks
from gen2seg.evaluation.cache import Outcome
from gen2seg.evaluation.clicks import Click, ClickRule, click_on
from gen2seg.evaluation.edge_scores import count_edges
from gen2seg.evaluation.gallery import GalleryRowBuilder, Painting
from gen2seg.evaluation.systems import Points, Setting, Signs, System


@dataclass(frozen=True)
class Truth:
    """What judges an image.

    Attributes:
        labels: int32 [H, W].
        clicks: the first click on each judged instance.
        boundaries: bool [K, H, W] by annotator, or None.
        instances: the labels that automatic masks are to find, or None: they are not judged.
    """

    labels: np.ndarray
    clicks: list[Click]
    boundaries: np.ndarray | None
    instances: list[int] | None


def judge(
    system: System,
    settings: Sequence[Setting],
    image: np.ndarray,
    truth: Truth,
    rule: ClickRule,
    gallery: GalleryRowBuilder | None,
) -> Outcome:
    """Let a system answer.

    Args:
        system: which.
        settings: the settings of its to be clicked at, S of them; automatic masks are taken at all of its own.
        image: uint8 [H, W, 3].
        truth: what it is compared with.
        rule: how often and where each instance is clicked.
        gallery: makes the tiles of an image that is shown; else None.

    Raises:
        EvaluationError: an answer is no mask, edges are none, or automatic masks are none.
    """
    start = time.perf_counter()
    state = system.prepare(image)
    prepared = time.perf_counter() - start
    seconds = np.full((2, len(settings)), np.nan)
    edges = None
    if truth.boundaries is not None and system.has_edges:
        edges = count_edges(system.edges(state), truth.boundaries)
    colors = gallery.color_tile(system.colors(state)) if gallery else None
    paintings: list[Painting] = []
    ious = np.zeros((len(settings), len(truth.clicks), rule.count))
    for row, setting in enumerate(settings):
        first_clicks: list[float] = []

        def answer(points: Points, before: np.ndarray | None, labels: Signs) -> np.ndarray:
            start = time.perf_counter()
            mask = system.mask(state, points, setting, before, labels)  # noqa: B023 - never called after this round
            if before is None:
                first_clicks.append(time.perf_counter() - start)  # noqa: B023
            return mask

        if gallery:
            paintings.append(gallery.start_painting())
        for column, click in enumerate(truth.clicks):
            ious[row, column], first = click_on(answer, truth.labels, click, rule)
            if gallery:
                paintings[-1].add(click, gallery.shrink_mask(first))
        if first_clicks:
            click_time = np.median(first_clicks)
            # What a system puts off until it is clicked at a setting is preparation too.
            seconds[:, row] = prepared + max(first_clicks[0] - click_time, 0.0), click_time
    automatic, found = [], []
    for setting in system.mask_settings if truth.instances is not None else ():
        proposals = system.masks(state, setting)
        if gallery:
            proposals, tile = gallery.watch(proposals)
            found.append(tile)
        automatic.append(count_masks(proposals, truth.labels, truth.instances or []))
    return Outcome(
        ious,
        seconds,
        edges,
        colors,
        np.array([p.labels for p in paintings]) if gallery else None,
        tuple(automatic),
        np.array([tile.labels() for tile in found]) if found else None,
    )
