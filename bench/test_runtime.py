"""The runtime on the embedded model, beside the bare network, the reference scripts' way, SAM and MobileSAM.

`--full` adds MAE-B, SAM and MobileSAM at random weights: their time and memory only. They are exported into the folder
that `--bundles` names, and taken from there the next time.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.rivals.bare import bare_session
from bench.rivals.prompt import prompt_full_image
from bench.runtime_memory import measure
from bench.runtime_report import CLICKS, ENCODE, MEMORY, WHOLE, Report
from gen2seg_runtime import Bundle, Encoding, Segmenter
from gen2seg_runtime.preprocess import network_input, plan_geometry
from gen2seg_runtime.threads import thread_count

BACKENDS = ("onnxruntime", "openvino")
MODES = ("metric", "reference")
SAMS = ("mobile-sam", "sam-vit-b")
SCRIPTS = "PyTorch eager, whole-image maps"
ROUNDS = 20
FRAMES = 12


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    from gen2seg_export.resources import machine_description

    made = Report()
    yield made
    machine = ", ".join(f"{key} {value}" for key, value in machine_description().items())
    text = made.markdown(f"{machine}; {thread_count()} threads; embedded model, a generated picture of 480x640")
    folder = Path("reports")
    folder.mkdir(exist_ok=True)
    (folder / "runtime.md").write_text(text, encoding="utf-8")
    made.plot(folder / "runtime.png")
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{text}")


@pytest.fixture(scope="module")
def segmenters() -> dict[str, Segmenter]:
    return {backend: Segmenter.open(backend=backend) for backend in BACKENDS}


@pytest.fixture(scope="module")
def exports(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not request.config.getoption("--full"):
        pytest.skip("what has to be exported first only with --full")
    kept = request.config.getoption("--bundles")
    return Path(kept) if kept else tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module")
def mae(exports: Path) -> Path:
    """A bundle of MAE-B at full size, random weights; the name is that of the export benchmark."""
    from gen2seg_export.pipeline import export_bundle

    folder = exports / "mae-b-fp32"
    if not folder.is_dir():
        export_bundle(folder, backbone="mae-b", random_weights=True, precision="fp32", targets=("onnx",), max_images=1)
    return folder


def _points(count: int) -> np.ndarray:
    return np.random.default_rng(7).uniform(0, (639, 479), (count, 2))


def _times(report: Report, part: str, what: str, way: str, mine: list[float]) -> str:
    """How many times the median of `mine` goes into that of a row; "" where that row was not run."""
    row = report.find(part, what, way)
    return "" if row is None else f"{row.median / float(np.median(mine)):.2g} times as fast as {way}"


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@pytest.mark.benchmark(group="encode, 480x640")
@pytest.mark.parametrize("backend", BACKENDS)
def test_encode(benchmark: Any, report: Report, segmenters: dict, picture: np.ndarray, backend: str) -> None:
    _encode_beside_bare(benchmark, report, segmenters[backend], picture, backend, "", ROUNDS)


def _encode_beside_bare(
    benchmark: Any, report: Report, segmenter: Segmenter, picture: np.ndarray, backend: str, net: str, rounds: int
) -> None:
    """Each encode right after the bare session on the same input: what the machine does meanwhile meets both."""
    bare = bare_session(segmenter.bundle, backend, thread_count())
    spec = segmenter.manifest.input
    x = network_input(picture, spec, plan_geometry((480, 640), spec))
    alone: list[float] = []
    for _ in range(3):
        bare(x)
        segmenter.encode(picture)
    with segmenter.profile() as timings:
        benchmark.pedantic(
            segmenter.encode, (picture,), setup=lambda: alone.append(_seconds(lambda: bare(x))), rounds=rounds
        )
    whole = list(benchmark.stats.stats.data)
    over = np.median(np.array(whole) / np.array(alone[-len(whole) :])) - 1
    stages = ", ".join(f"{name} {1e3 * s / timings.calls[name]:.1f}" for name, s in timings.seconds.items())
    report.add(ENCODE, f"network alone{net}", f"{backend}, bare session", alone)
    report.add(ENCODE, f"encode{net}", f"ours, {backend}", whole, f"{over:+.1%} over the bare session; ms: {stages}")
    benchmark.extra_info["over_bare"] = float(over)


@pytest.mark.benchmark(group="encode, 480x640")
def test_scripts(benchmark: Any, report: Report, segmenters: dict, picture: np.ndarray) -> None:
    """The same weights through PyTorch, and clicks on the very colours that it gives."""
    from bench.rivals.scripts import TorchScripts

    scripts = TorchScripts(segmenters["onnxruntime"].manifest, thread_count())
    scripts.encode(picture)
    benchmark.pedantic(scripts.encode, (picture,), rounds=7)
    report.add(ENCODE, "encode", SCRIPTS, list(benchmark.stats.stats.data), "same weights, float32")
    colors = scripts.encode(picture)
    clicks = [_seconds(lambda x=x, y=y: prompt_full_image(colors, x, y)) for x, y in _points(20)]
    report.add(CLICKS, "1 click, mode reference", SCRIPTS, clicks, "OpenCV contrib's filter")


@pytest.mark.filterwarnings("ignore:.*untrained weights")
@pytest.mark.benchmark(group="encode with MAE-B, 224x224")
@pytest.mark.parametrize("way", ["ours", "scripts"])
def test_mae(benchmark: Any, report: Report, mae: Path, picture: np.ndarray, way: str) -> None:
    """A network of the paper: what the runtime adds to it, and the library's own module as the reference runs it."""
    net = ", MAE-B (random weights)"
    if way == "ours":
        _encode_beside_bare(benchmark, report, Segmenter.open(mae, "onnxruntime"), picture, "onnxruntime", net, 10)
        return
    from bench.rivals.scripts import TorchScripts

    scripts = TorchScripts(Bundle.open(mae).manifest, thread_count())
    scripts.encode(picture)
    benchmark.pedantic(scripts.encode, (picture,), rounds=5)
    report.add(ENCODE, f"encode{net}", SCRIPTS, list(benchmark.stats.stats.data), "same weights, float32")


@pytest.mark.benchmark(group="clicks, 480x640")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_clicks(benchmark: Any, report: Report, segmenters: dict, picture: np.ndarray, backend: str, mode: str) -> None:
    """The first click prepares the colours; K clicks are one call of `masks`."""
    way = f"ours, {backend}"
    encoding: Encoding = segmenters[backend].encode(picture)
    fresh = [segmenters[backend].encode(picture) for _ in range(5)]
    first = [_seconds(lambda each=each: each.mask([(320, 200)], mode=mode)) for each in fresh]
    report.add(CLICKS, f"first click, mode {mode}", way, first, "prepares the colours")
    encoding.mask([(320, 200)], mode=mode)
    turns = itertools.cycle(_points(20))
    benchmark.pedantic(lambda point: encoding.mask([point], mode=mode), setup=lambda: ((next(turns),), {}), rounds=40)
    one = list(benchmark.stats.stats.data)
    report.add(CLICKS, f"1 click, mode {mode}", way, one, _times(report, CLICKS, f"1 click, mode {mode}", SCRIPTS, one))
    found = {}
    for count in (10, 100):
        prompts = _points(count)[:, None].tolist()
        found[count] = [_seconds(lambda each=prompts: encoding.masks(each, mode=mode)) for _ in range(5)]
        report.add(CLICKS, f"{count} clicks in one call, mode {mode}", way, found[count])
    extra = float(np.median(found[100]) - np.median(found[10])) / 90
    report.add(CLICKS, f"each further click, mode {mode}", way, [extra], "(100 clicks - 10 clicks) / 90")
    if mode == "reference":
        for x, y in _points(3):
            ours = encoding.mask([(x, y)], mode=mode)
            theirs = prompt_full_image(np.array(encoding.color_image()), x, y)
            assert np.count_nonzero(ours != theirs) <= 2e-4 * ours.size


@pytest.mark.benchmark(group="the whole picture, 480x640")
@pytest.mark.parametrize("what", ["instances", "instances and their parts", "edges"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_whole(benchmark: Any, report: Report, segmenters: dict, picture: np.ndarray, backend: str, what: str) -> None:
    encoding = segmenters[backend].encode(picture)
    hierarchy = what == "instances and their parts"
    call = encoding.edges if what == "edges" else lambda: encoding.instances(hierarchy=hierarchy)
    benchmark.pedantic(call, rounds=10, warmup_rounds=1)
    found = encoding.instances(hierarchy=hierarchy)
    note = "" if what == "edges" else f"{len(found.records) + len(found.nested)} masks"
    report.add(WHOLE, what, f"ours, {backend}", list(benchmark.stats.stats.data), note)


@pytest.mark.benchmark(group="the whole picture, 480x640")
@pytest.mark.parametrize("backend", BACKENDS)
def test_stream(benchmark: Any, report: Report, segmenters: dict, picture: np.ndarray, backend: str) -> None:
    """A moving picture: `stream` beside encode and instances called by hand on the same frames, without tracking."""
    segmenter: Segmenter = segmenters[backend]
    frames = [np.roll(picture, 4 * i, axis=1) for i in range(FRAMES)]
    by_hand = [_seconds(lambda frame=frame: segmenter.encode(frame).instances()) for frame in frames]
    report.add(WHOLE, "a frame by hand: encode, instances", f"ours, {backend}", by_hand)
    seconds: list[float] = []
    tracks: list[float] = []

    def consume() -> None:
        with segmenter.stream(frames, drop=False) as stream:
            start = time.perf_counter()
            for result in stream:
                seconds.append(time.perf_counter() - start)
                tracks.append(result.timings["track"])
                start = time.perf_counter()

    benchmark.pedantic(consume, rounds=1)
    assert len(seconds) == FRAMES
    note = f"{1 / np.median(seconds):.1f} frames a second; tracking {1e3 * np.median(tracks):.1f} ms of it"
    report.add(WHOLE, "a frame of a stream", f"ours, {backend}", seconds, note)


@pytest.mark.benchmark(group="memory")
@pytest.mark.parametrize(
    "job", [*(("ours", b) for b in BACKENDS), *(("bare", b) for b in BACKENDS), ("scripts",)], ids=" ".join
)
def test_memory(benchmark: Any, report: Report, job: tuple[str, ...]) -> None:
    way = {"ours": "ours, {}", "bare": "{}, bare session", "scripts": SCRIPTS}[job[0]].format(*job[1:])
    _note_memory(benchmark, report, way, job)


def _note_memory(benchmark: Any, report: Report, way: str, job: tuple[str, ...]) -> None:
    peaks = benchmark.pedantic(measure, job, rounds=1)
    benchmark.extra_info |= peaks
    text = ", ".join(f"{what} {megabytes:.0f}" for what, megabytes in peaks.items())
    report.add(MEMORY, "peak of the process, MB, after", way, (), text)


@pytest.mark.benchmark(group="encode, 480x640")
@pytest.mark.parametrize("name", SAMS)
def test_sam(benchmark: Any, report: Report, exports: Path, picture: np.ndarray, name: str) -> None:
    from bench.rivals.sam import SamSessions, export, is_exported

    folder = exports / name
    if not is_exported(folder):
        export(name, folder)
    way = f"{name}, onnxruntime"
    sam = SamSessions(folder, thread_count())
    embedding = sam.encode(picture)
    benchmark.pedantic(sam.encode, (picture,), rounds=5 if name == "mobile-sam" else 2)
    note = "random weights: time only; 1024x1024 inside"
    report.add(ENCODE, "encode", way, list(benchmark.stats.stats.data), note)
    clicks = [_seconds(lambda x=x, y=y: sam.click(embedding, x, y)) for x, y in _points(12)]
    note = "random weights: decoder, the best of 3 masks enlarged to the picture"
    report.add(CLICKS, "1 click", way, clicks[2:], note)


@pytest.mark.benchmark(group="memory")
@pytest.mark.parametrize("name", SAMS)
def test_sam_memory(benchmark: Any, report: Report, exports: Path, name: str) -> None:
    folder = exports / name
    if not (folder / "encoder.onnx").is_file():
        pytest.skip("not exported")
    _note_memory(benchmark, report, f"{name}, onnxruntime", ("sam", str(folder)))
