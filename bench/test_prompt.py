"""Clicks in mode `reference`, beside the ways that others compute them.

"ours" is what a click on an `Encoding` costs: its colours are prepared once, by the first click. "ours, cold" is
`prompt_mask` on an array that it has not seen: it prepares the colours in every call.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bench.measure import copy_bandwidth, peak_growth
from bench.rivals.prompt import broadcast, compiled_broadcast, full_image_each
from gen2seg_kernels import PreparedColors, prepare_colors, prompt_mask, prompt_masks
from gen2seg_kernels.threads import thread_count

Masks = Callable[[Any, np.ndarray], np.ndarray]
Size = tuple[int, int]
MOST_SECONDS, MOST_BYTES = 60.0, 12e9  # of a rival, or it is skipped
MOST_SECONDS_IN_SHORT = 15.0  # without --full: all of bench/ is to end within ten minutes on two cores
CLICKS = 20
BYTES_PER_PIXEL = 3 + 1  # colours in, mask out: what no implementation can avoid to move
MOST_DIFFERENT = 2e-5  # of the pixels: the rivals' single precision before the truncation to bytes


def ours(colors: np.ndarray | PreparedColors, points: np.ndarray) -> np.ndarray:
    return prompt_masks(colors, list(points[:, None]))


@dataclass(frozen=True)
class Way:
    """One implementation, with a rough cost from which hopeless cases are told before they run."""

    run: Masks
    seconds_per_pixel: float
    bytes_per_pixel: float
    seconds_per_call: float = 0.0


WAYS = {
    "ours": Way(ours, 6e-9, 1),
    "ours, cold": Way(ours, 6e-9, 6),
    "full image + OpenCV contrib": Way(full_image_each, 1.5e-7, 1),
    "broadcast": Way(broadcast, 3e-7, 30),
    "torch.compile": Way(compiled_broadcast, 1.5e-7, 12, 14.0),
}
SIZES = [pytest.param(size, id=f"{size[0]}x{size[1]}") for size in ((224, 224), (480, 640), (1024, 1024))]


@dataclass
class Table:
    """The measured times, printed side by side when all is done."""

    clicks: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # case -> way -> seconds of each click
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    pixels: dict[str, int] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        yield f"\nprompting, {thread_count()} threads; median (min..max), peak memory growth"
        for case, row in self.rows.items():
            yield case
            base = self.clicks.get(case, {}).get("ours")
            for way, text in row.items():
                theirs = self.clicks.get(case, {}).get(way)
                ratio = ""
                if base and theirs and not way.startswith("ours"):
                    times = np.array(theirs) / np.array(base)  # click by click
                    ratio = f"; ours is {np.median(times):.1f} ({times.min():.1f}..{times.max():.1f}) times as fast"
                yield f"  {way:28} {text}{ratio}"
            if base:
                moved = self.pixels[case] * BYTES_PER_PIXEL
                bound = moved / copy_bandwidth()
                yield (
                    f"  {'roofline':28} {1e3 * bound:.3f} ms for {moved / 1e6:.1f} MB at "
                    f"{copy_bandwidth() / 1e9:.1f} GB/s; ours takes {float(np.median(base)) / bound:.0f} times that"
                )


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    measured = Table()
    yield measured
    plugins = request.config.pluginmanager
    with plugins.get_plugin("capturemanager").global_and_fixture_disabled():  # type: ignore[union-attr]
        for line in measured.lines():
            plugins.get_plugin("terminalreporter").write_line(line)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def painted() -> list[np.ndarray]:
    """What the embedded model paints of five photographs, each (h, w, 3) uint8."""
    from gen2seg_runtime import Segmenter
    from gen2seg_runtime.bundle import BundleError

    root = Path(os.environ.get("GEN2SEG_DATA", Path(__file__).parents[1] / "../shared/data"))
    names = sorted(root.glob("*/images/*.jpg"))
    if not names:
        pytest.skip(f"no photographs in {root} (set GEN2SEG_DATA)")
    try:
        segmenter = Segmenter.open()
    except BundleError as error:
        pytest.skip(f"no embedded model: {error}")
    return [segmenter.encode(str(name)).colors for name in names[:: max(1, len(names) // 5)][:5]]


def _colors(kind: str, size: Size, request: pytest.FixtureRequest) -> list[np.ndarray]:
    if kind == "noisy":
        images = [request.getfixturevalue("noisy_colors")]
        interpolation = cv2.INTER_NEAREST  # smoothing would take the noise away
    else:
        images = request.getfixturevalue("painted")
        interpolation = cv2.INTER_CUBIC
    return [
        np.asarray(image) if image.shape[:2] == size else cv2.resize(image, size[::-1], interpolation=interpolation)
        for image in images
    ]


def _points(size: Size, count: int) -> np.ndarray:
    return np.random.default_rng(7).uniform(0, np.array(size[::-1]) - 1, (count, 2))


def _skip_reason(name: str, size: Size, prompts: int, full: bool) -> str | None:
    pixels = size[0] * size[1] * prompts
    way = WAYS[name]
    if not full and size[0] > 480:
        return "only with --full"
    if name.startswith("full image") and not hasattr(cv2, "ximgproc"):
        return "OpenCV's contrib build is not installed"
    seconds, memory = way.seconds_per_pixel * pixels + way.seconds_per_call, way.bytes_per_pixel * pixels
    most = MOST_SECONDS if full else MOST_SECONDS_IN_SHORT
    if seconds > most:
        return f"about {seconds:.0f} s; the limit is {most:.0f} s" + ("" if full else ", with --full 60 s")
    if memory > MOST_BYTES:
        return f"about {memory / 1e9:.0f} GB of memory"
    return None


def assert_alike(name: str, mask: np.ndarray, expected: np.ndarray) -> None:
    # One click may have many.
    allowed = MOST_DIFFERENT * mask.size * (0 if name.startswith("ours") else 10)
    assert np.count_nonzero(mask != expected) <= allowed


def _skip_or_note(table: Table, case: str, name: str, reason: str | None) -> None:
    if reason is not None:
        if reason != "only with --full":
            table.rows.setdefault(case, {})[name] = f"skipped: {reason}"
        pytest.skip(reason)


def _note(table: Table, case: str, name: str, seconds: list[float], memory: float | None, pixels: int) -> None:
    times = 1e3 * np.array(seconds)
    grown = "" if memory is None else f", {memory:.0f} MB"
    table.rows.setdefault(case, {})[name] = f"{np.median(times):9.2f} ms ({times.min():.2f}..{times.max():.2f}){grown}"
    table.clicks.setdefault(case, {})[name] = seconds
    table.pixels[case] = pixels


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["painted", "noisy"])
@pytest.mark.parametrize("name", WAYS)
def test_one_click(benchmark, request, table: Table, name: str, kind: str, size: Size) -> None:
    full = request.config.getoption("--full")
    case = f"{CLICKS} clicks, one at a time, {kind} colours, {size[0]}x{size[1]}"
    _skip_or_note(table, case, name, _skip_reason(name, size, 1, full))
    benchmark.group = case
    images, points = _colors(kind, size, request), _points(size, CLICKS)
    ready = [prepare_colors(image) for image in images] if name == "ours" else images
    clicks = [((ready[i % len(ready)], points[i : i + 1]), {}) for i in range(CLICKS)]
    WAYS[name].run(*clicks[0][0])
    memory = peak_growth(lambda: WAYS[name].run(*clicks[0][0]))
    turns = cycle(clicks)
    masks = []
    benchmark.pedantic(lambda *a: masks.append(WAYS[name].run(*a)[0]), setup=lambda: next(turns), rounds=CLICKS)
    if benchmark.stats:
        _note(table, case, name, list(benchmark.stats.stats.data), memory, size[0] * size[1])
    for i, mask in enumerate(masks[:CLICKS]):
        assert_alike(name, mask, prompt_mask(images[i % len(images)], points[i : i + 1]))
    assert len(masks) >= CLICKS or not benchmark.enabled


@pytest.mark.parametrize("prompts", [16, 256, 1000])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", WAYS)
def test_many_prompts(benchmark, request, table: Table, name: str, size: Size, prompts: int) -> None:
    full = request.config.getoption("--full")
    case = f"{prompts} prompts on one encoding, noisy colours, {size[0]}x{size[1]}"
    _skip_or_note(table, case, name, _skip_reason(name, size, prompts, full))
    benchmark.group = case
    (image,), points = _colors("noisy", size, request), _points(size, prompts)
    colors = prepare_colors(image) if name == "ours" else image
    WAYS[name].run(colors, points if name == "torch.compile" else points[:1])
    masks = benchmark.pedantic(WAYS[name].run, args=(colors, points), rounds=3 if name.startswith("ours") else 1)
    memory = peak_growth(lambda: WAYS[name].run(colors, points)) if name.startswith("ours") else None
    if benchmark.stats:
        seconds = float(np.median(benchmark.stats.stats.data))
        _note(table, case, name, [seconds], memory, prompts * size[0] * size[1])
    for i in range(0, prompts, max(1, prompts // 8)):
        assert_alike(name, masks[i], prompt_mask(image, points[i : i + 1]))


@pytest.mark.parametrize("mode", ["metric", "metric, not connected"])
def test_metric_mode(benchmark, noisy_colors: np.ndarray, mode: str) -> None:
    benchmark.group = "one click in mode metric, 480x640, noisy colours"
    colors = prepare_colors(noisy_colors)
    benchmark(prompt_mask, colors, [(320.0, 200.0)], mode="metric", connected=mode == "metric")
