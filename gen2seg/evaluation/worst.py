"""The answers that missed most, as pictures to look at: what a system does not understand shows there."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from gen2seg.contact_sheet import TILE, draw_clicks, fit_tile, make_sheet
from gen2seg.evaluation.clicks import Click
from gen2seg.evaluation.datasets import read_labels
from gen2seg.evaluation.run import ImageResult
from gen2seg.evaluation.summary import Report
from gen2seg.evaluation.systems import SystemSpec
from gen2seg_runtime.formats import overlay
from gen2seg_runtime.images import read_image

COUNT = 12
# Smaller instances are left out: one cannot see what went wrong. A share of the picture.
LEAST_AREA = 0.005


def draw_worst(report: Report, specs: Sequence[SystemSpec]) -> Iterator[tuple[str, Image.Image]]:
    """For each system with learned weights among `specs`, on pictures as they are, `worst-<system>.png`: of the COUNT
    images with the lowest IoU of a first click, at most one each, the picture, the instance and the answer."""
    for spec in specs:
        info = next((info for info in report.evaluation.systems if info.name == spec.name), None)
        if info is None or info.distortion or not spec.learned:
            continue
        column = spec.name
        cases = list(_worst_cases(report, column))[:COUNT]
        if not cases:
            continue
        system = spec.open()
        names, lines = [], []
        for iou, result, click in cases:
            image = read_image(result.sample.image)
            labels = read_labels(result.sample, (image.shape[0], image.shape[1]))
            setting = report.sets[result.sample.set_name].scores[column].setting
            answer = system.mask(system.prepare(image), [(click.x, click.y)], setting)
            names.append(f"{result.sample.set_name}/{result.sample.id}: {iou:.3f}")
            lines.append(_pictures(image, labels == click.instance, answer, click))
        yield f"worst-{spec.name}.png", make_sheet(["click", "instance", f"{spec.name}: answer"], names, lines, TILE)


def _worst_cases(report: Report, column: str) -> Iterator[tuple[float, ImageResult, Click]]:
    info = report.system_of(column)
    cases = []
    for result in report.evaluation.results:
        score = report.sets[result.sample.set_name].scores.get(column)
        if score is None or not result.clicks:
            continue
        ious = result.ious[info.name][info.settings.index(score.setting), :, 0]
        with Image.open(result.sample.image) as picture:
            area = LEAST_AREA * picture.width * picture.height
        large = [n for n, click in enumerate(result.clicks) if click.area >= area]
        if large:
            worst = min(large, key=lambda n: (ious[n], n))
            cases.append((float(ious[worst]), result, result.clicks[worst]))
    # Equals by name, so that the pictures do not depend on the order of judging.
    yield from sorted(cases, key=lambda case: (case[0], case[1].sample.set_name, case[1].sample.id))


def _pictures(image: np.ndarray, instance: np.ndarray, answer: np.ndarray, click: Click) -> list[np.ndarray]:
    """The whole picture with the click; instance and answer laid over it."""
    plain = fit_tile(image)
    height, width = plain.shape[:2]
    rows = ((np.arange(height) + 0.5) * image.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * image.shape[1] / width).astype(int)
    scale = width / image.shape[1]
    point = [(click.x * scale, click.y * scale)]
    small = [mask[np.ix_(rows, columns)].astype(np.int32) for mask in (instance, answer)]
    return [draw_clicks(plain, point), *(draw_clicks(overlay(plain, mask, 0.6), point) for mask in small)]
