"""From frames to results: a reader thread, a queue of one place, the network and the tracker.

    frames ── reader thread ──► queue of one ── taken when a result is asked for ──► encode ► instances ► tracker

The network works only while somebody waits for a result, so a slow consumer slows everything down and nothing piles
up; with `drop` the frames that came meanwhile are skipped and the newest one is taken, without it the reader waits.
"""

import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gen2seg_runtime import profile
from gen2seg_runtime.encoding import Encoding
from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.images import read_image
from gen2seg_runtime.stream.alignment import InstanceTracker, TrackedInstances
from gen2seg_runtime.stream.queue import FrameQueue

if TYPE_CHECKING:
    from gen2seg_runtime.segmenter import Segmenter


@dataclass(frozen=True, eq=False)
class StreamResult:
    """What came of one frame.

    Attributes:
        index: number of the frame in the source, from 0.
        image: (H, W, 3) uint8, the frame.
        encoding: of the frame.
        tracked: its instances with lasting numbers and colours.
        arrived: `time.monotonic()` when the source gave the frame.
        age: seconds from then until this result was ready.
        dropped: frames skipped since the result before.
        timings: seconds by stage (`gen2seg_runtime.profile`), with "track".
    """

    index: int
    image: np.ndarray
    encoding: Encoding
    tracked: TrackedInstances
    arrived: float
    age: float
    dropped: int
    timings: Mapping[str, float]

    def age_now(self) -> float:
        """Seconds since the source gave the frame."""
        return time.monotonic() - self.arrived


@dataclass(frozen=True)
class _Arrival:
    index: int
    frame: Any
    time: float


class Stream(Iterator[StreamResult]):
    """Results for the frames of a source, in their order; made by `Segmenter.stream`. For one consumer thread.

    A context manager; leaving it, `close` or the end of the source stops the reader. An error of the source or of
    a frame is raised by `next`; after one of a single frame the stream can go on.
    """

    def __init__(
        self,
        segmenter: "Segmenter",
        frames: Iterable[Any],
        *,
        drop: bool = True,
        memory: int = 15,
        max_pixels: int | None = None,
    ) -> None:
        single = isinstance(frames, str | bytes) or (isinstance(frames, np.ndarray) and frames.ndim != 4)
        if single or not isinstance(frames, Iterable):
            raise ImageError(f"frames must be an iterable of pictures, got {type(frames).__name__}")
        self._segmenter = segmenter
        self._max_pixels = max_pixels
        self._tracker = InstanceTracker(memory)
        self._queue: FrameQueue[_Arrival] = FrameQueue(drop)
        # The thread knows the queue, not this object: so a forgotten stream is collected, and its reader ends.
        weakref.finalize(self, self._queue.close)
        threading.Thread(target=_read, args=(frames, self._queue), name="gen2seg-stream", daemon=True).start()

    def __iter__(self) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading; a source that is waiting for its next frame ends when that comes."""
        self._queue.close()

    def __next__(self) -> StreamResult:
        """Wait for a frame and work on it.

        Raises:
            StopIteration: the source is at its end, or the stream was closed.
            whatever the source raised, and what `Segmenter.encode` raises for a frame.
        """
        taken = self._queue.take()
        if taken is None:
            raise StopIteration
        arrival, dropped = taken
        with profile.collect() as timings:
            with profile.stage("read"):
                image = read_image(arrival.frame, max_pixels=self._max_pixels)
            encoding = self._segmenter.encode(image, max_pixels=self._max_pixels)
            instances = encoding.instances()
            with profile.stage("track"):
                tracked = self._tracker.update(instances, image)
        image.flags.writeable = False
        return StreamResult(
            index=arrival.index,
            image=image,
            encoding=encoding,
            tracked=tracked,
            arrived=arrival.time,
            age=time.monotonic() - arrival.time,
            dropped=dropped,
            timings=timings.seconds,
        )


def _read(frames: Iterable[Any], queue: FrameQueue[_Arrival]) -> None:
    """The reader thread: hand frames over until they end, fail or nobody takes them."""
    iterator = None
    try:
        iterator = iter(frames)
        for index, frame in enumerate(iterator):
            if not queue.put(_Arrival(index, frame, time.monotonic())):
                break
        queue.finish()
    except BaseException as error:  # handed to the consumer, whatever it is
        queue.finish(error)
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
