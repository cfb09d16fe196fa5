"""Streams: the queue, the iterator, video files, timings."""

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gen2seg_runtime import Segmenter
from gen2seg_runtime.errors import ImageError, ImageReadError, OutputError
from gen2seg_runtime.profile import Timings, collect, stage
from gen2seg_runtime.stream import FrameQueue
from gen2seg_runtime.stream.video import VideoFrames, write_video

from .conftest import BundleMaker


@pytest.fixture
def segmenter(make_bundle: BundleMaker) -> Segmenter:
    return Segmenter.open(make_bundle(), threads=1)


def moving(count: int) -> list[np.ndarray]:
    """Frames (60, 100, 3): a red square moves right, a green one left."""
    frames = []
    for t in range(count):
        frame = np.zeros((60, 100, 3), np.uint8)
        frame[5:25, 5 + 4 * t : 25 + 4 * t] = (220, 30, 30)
        frame[30:55, 70 - 3 * t : 95 - 3 * t] = (30, 200, 60)
        frames.append(frame)
    return frames


def write_frames(path: Path, frames: list[np.ndarray]) -> None:
    with write_video(path, 10) as writer:
        for frame in frames:
            writer.add(frame)


def wait_for(condition, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(condition())


def test_a_dropping_queue_keeps_the_newest():
    queue: FrameQueue[int] = FrameQueue()
    assert all(queue.put(i) for i in range(5))
    assert queue.waiting == 1
    assert queue.take() == (4, 4)
    queue.put(5)
    queue.finish()
    assert queue.take() == (5, 0)
    assert queue.take() is None
    assert not queue.put(6)


def test_a_waiting_queue_holds_the_source_back():
    queue: FrameQueue[int] = FrameQueue(drop=False)
    put: list[int] = []
    thread = threading.Thread(target=lambda: [put.append(i) for i in range(9) if queue.put(i)])
    thread.start()
    assert wait_for(lambda: put == [0])
    time.sleep(0.05)
    assert put == [0]  # the second waits for a place
    assert queue.take() == (0, 0)
    assert queue.take() == (1, 0)
    queue.close()
    thread.join(10)
    assert not thread.is_alive()
    assert queue.take() is None


def test_an_error_of_the_source_is_raised_once_after_what_waits():
    queue: FrameQueue[int] = FrameQueue()
    queue.put(1)
    queue.finish(OSError("unplugged"))
    assert queue.take() == (1, 0)
    with pytest.raises(OSError, match="unplugged"):
        queue.take()
    assert queue.take() is None


def test_every_frame_of_a_file_with_lasting_numbers(segmenter: Segmenter):
    frames = moving(8)
    with segmenter.stream(iter(frames), drop=False) as stream:
        results = list(stream)
    assert [result.index for result in results] == list(range(8))
    for result, frame in zip(results, frames, strict=True):
        np.testing.assert_array_equal(result.image, frame)
        np.testing.assert_array_equal(result.encoding.colors, segmenter.encode(frame).colors)
        assert result.dropped == 0
        assert 0 < result.age <= result.age_now()
        red, green = result.tracked.labels[15, 15 + 4 * result.index], result.tracked.labels[42, 80 - 3 * result.index]
        assert (red, green) == (2, 1)  # the larger one came first
        assert set(result.timings) == {"read", "resize", "network", "normalise", "instances", "track"}


def test_a_slow_consumer_gets_the_newest_frame(segmenter: Segmenter):
    sent: list[int] = []
    go = threading.Event()

    def camera() -> Iterator[np.ndarray]:
        for index, frame in enumerate(moving(9)):
            if index == 1:
                go.wait(10)
            sent.append(index)
            yield frame

    with segmenter.stream(camera()) as stream:
        assert next(stream).index == 0
        go.set()
        assert wait_for(lambda: len(sent) == 9)
        time.sleep(0.05)  # the last one may still be on its way into the queue
        result = next(stream)
        assert (result.index, result.dropped) == (8, 7)
        with pytest.raises(StopIteration):
            next(stream)


def test_a_broken_frame_does_not_end_the_stream(segmenter: Segmenter, tmp_path: Path):
    frames = [*moving(2), tmp_path / "missing.png", *moving(1)]
    with segmenter.stream(frames, drop=False) as stream:
        assert [next(stream).index, next(stream).index] == [0, 1]
        with pytest.raises(ImageReadError, match="missing"):
            next(stream)
        assert next(stream).index == 3
        assert list(stream) == []


def test_an_error_of_the_source_reaches_the_consumer(segmenter: Segmenter):
    def source() -> Iterator[np.ndarray]:
        yield moving(1)[0]
        raise OSError("unplugged")

    stream = segmenter.stream(source(), drop=False)
    assert next(stream).index == 0
    with pytest.raises(OSError, match="unplugged"):
        next(stream)
    assert list(stream) == []


def test_closing_or_forgetting_a_stream_ends_its_source(segmenter: Segmenter):
    ended: list[str] = []

    def endless(name: str) -> Iterator[np.ndarray]:
        try:
            while True:
                yield moving(1)[0]
        finally:
            ended.append(name)

    with segmenter.stream(endless("closed"), drop=False) as stream:
        next(stream)
    assert wait_for(lambda: ended == ["closed"])
    stream = segmenter.stream(endless("forgotten"), drop=False)
    next(stream)
    del stream
    gc.collect()
    assert wait_for(lambda: ended == ["closed", "forgotten"])


def test_what_is_no_source_is_refused(segmenter: Segmenter):
    for bad in (3, "clip.mp4", np.zeros((4, 4, 3), np.uint8), None):
        with pytest.raises(ImageError, match="iterable of pictures"):
            segmenter.stream(bad)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ImageError, match="memory"):
        segmenter.stream([], memory=-1)
    assert [result.index for result in segmenter.stream(np.stack(moving(2)), drop=False)] == [0, 1]


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_video_files_round_trip(tmp_path: Path, suffix: str):
    path = tmp_path / f"clip{suffix}"
    frames = moving(6)
    write_frames(path, frames)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with VideoFrames(path) as video:
        assert (video.fps, video.count, video.is_camera) == (10, 6, False)
        back = list(video)
    assert len(back) == 6
    for frame, read in zip(frames, back, strict=True):
        assert read.shape == frame.shape
        assert np.abs(read.astype(int) - frame).mean() < 12  # lossy; but neither swapped colours nor another frame


def test_videos_that_cannot_be_read_or_written(tmp_path: Path):
    (tmp_path / "text.avi").write_text("no video")
    for source in (tmp_path / "missing.mp4", tmp_path / "text.avi", tmp_path, 97):
        with pytest.raises(ImageReadError, match=r"video|frame"):
            next(VideoFrames(source))
    with pytest.raises(OutputError, match=r"NAME\.avi"), write_video(tmp_path / "a.gif", 5):
        pass
    with pytest.raises(OutputError, match="nothing was written"), write_video(tmp_path / "a.avi", 5):
        pass
    with pytest.raises(OutputError, match="does not exist"), write_video(tmp_path / "no" / "a.avi", 5):
        pass
    with pytest.raises(ImageError, match="fps"), write_video(tmp_path / "a.avi", 0):
        pass
    for bad in (np.zeros((60, 100), np.uint8), np.zeros((61, 100, 3), np.uint8)):
        with pytest.raises(ImageError, match="frame"):
            write_frames(tmp_path / "a.avi", [moving(1)[0], bad])
    assert [p.name for p in tmp_path.iterdir()] == ["text.avi"]


def test_a_profile_names_every_stage(segmenter: Segmenter, squares: np.ndarray):
    with segmenter.profile() as timings:
        encoding = segmenter.encode(squares)
        encoding.mask([(20, 20)])
        encoding.masks([[(20, 20)], [(50, 40)]])
        encoding.mask_box((10, 10, 30, 30))
        encoding.instances()
        encoding.edges()
        segmenter.encode_batch([squares, squares])
    segmenter.encode(squares)  # after the block: not counted
    calls = {"read": 3, "resize": 3, "network": 3, "normalise": 3, "prompt": 3, "instances": 1, "edges": 1}
    assert timings.calls == calls
    assert all(seconds > 0 for seconds in timings.seconds.values())
    assert str(timings).count("\n") == 6


def test_profiles_nest_and_keep_to_their_thread():
    with collect() as outer:
        with collect() as inner, stage("a"):
            pass
        with pytest.raises(KeyError), stage("b"):
            raise KeyError
        thread = threading.Thread(target=lambda: stage("c").__enter__())
        thread.start()
        thread.join()
    assert inner.calls == {"a": 1}
    assert outer.calls == {"a": 1, "b": 1}
    assert str(Timings()) == ""
