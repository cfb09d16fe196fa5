"""Video files and cameras as frames, and frames as video files, through OpenCV.

Which formats can be read and written depends on the OpenCV that is installed: MJPEG in .avi always can, .mp4 and
others where it was built with FFmpeg (its wheels are).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from gen2seg_runtime.errors import ImageError, ImageReadError, OutputError
from gen2seg_runtime.files import atomic_path

CODECS = {".avi": "MJPG", ".mp4": "mp4v", ".mkv": "mp4v"}
_FALLBACK_FPS = 25.0


class VideoFrames(Iterator[np.ndarray]):
    """The frames of a video file or a camera, (H, W, 3) uint8 RGB each. For one thread; a context manager.

    Attributes:
        fps: frames a second as the source says; 25 where it says nothing usable.
        count: number of frames as a file says (often an estimate); None for cameras and where it says nothing.
        is_camera: the source is a camera.
    """

    def __init__(self, source: str | os.PathLike[str] | int) -> None:
        """Open a source.

        Args:
            source: a file, or the number of a camera, from 0.
        Raises:
            ImageReadError: there is no such file or camera, or OpenCV cannot read it.
        """
        import cv2

        self.is_camera = isinstance(source, int)
        self._name = f"camera {source}" if self.is_camera else str(source)
        if not isinstance(source, int) and not Path(source).is_file():
            raise ImageReadError(f"{source}: no such video file")
        level = cv2.getLogLevel() if hasattr(cv2, "getLogLevel") else None  # type: ignore[attr-defined]
        try:
            if level is not None:
                cv2.setLogLevel(0)  # type: ignore[attr-defined]  # what it has to say, the error below says
            self._capture: Any = cv2.VideoCapture(source if isinstance(source, int) else os.fspath(source))
        finally:
            if level is not None:
                cv2.setLogLevel(level)  # type: ignore[attr-defined]
        if not self._capture.isOpened():
            self._capture.release()
            raise ImageReadError(f"{self._name}: cannot be opened as a video (OpenCV {cv2.__version__})")
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0 < fps <= 1000 else _FALLBACK_FPS
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if not self.is_camera and 0 < count < 1 << 40 else None
        self._read = 0

    def __next__(self) -> np.ndarray:
        """The next frame.

        Raises:
            StopIteration: the end, or a file that is damaged from here on (OpenCV does not tell them apart).
            ImageReadError: there is not a single frame.
        """
        import cv2

        ok, frame = self._capture.read()
        if not ok:
            self.close()
            if self._read == 0:
                raise ImageReadError(f"{self._name}: holds no frame that OpenCV can read")
            raise StopIteration
        self._read += 1
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file or camera back."""
        self._capture.release()


class VideoWriter:
    """Takes frames; made by `write_video`."""

    def __init__(self, path: Path, target: Path, fps: float) -> None:
        self._path = path
        self._target = target
        self._fps = fps
        self._writer: Any = None
        self._size = (0, 0)
        self.frames = 0

    def add(self, frame: np.ndarray) -> None:
        """Append a frame, (H, W, 3) uint8 RGB, all of one size.

        Raises:
            ImageError: another type, or another size than the first frame.
            OutputError: OpenCV cannot write such a file.
        """
        import cv2

        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
            raise ImageError(f"a frame is (H, W, 3) uint8, got {frame.shape} {frame.dtype}")
        size = (frame.shape[1], frame.shape[0])
        if self._writer is None:
            code = cv2.VideoWriter_fourcc(*CODECS[self._target.suffix.lower()])  # type: ignore[attr-defined]
            self._writer, self._size = cv2.VideoWriter(str(self._path), code, self._fps, size), size
            if not self._writer.isOpened():
                raise OutputError(f"{self._target}: this OpenCV cannot write such a video; try a name ending in .avi")
        if size != self._size:
            raise ImageError(f"frames of a video have one size: {self._size}, then {size} (width, height)")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


@contextmanager
def write_video(path: str | os.PathLike[str], fps: float) -> Iterator[VideoWriter]:
    """Write a video file, under a temporary name until the block ends without an error.

    Args:
        path: its suffix chooses the format: .avi (MJPEG), .mp4 or .mkv (MPEG-4).
        fps: frames a second, above 0.
    Raises:
        OutputError: another suffix, the folder is missing, or no frame was added.
        ImageError: `fps` is not a positive number.
    """
    target = Path(path)
    if target.suffix.lower() not in CODECS:
        raise OutputError(f"{path}: a video is called {', '.join('NAME' + suffix for suffix in CODECS)}")
    if not (np.isfinite(fps) and fps > 0):
        raise ImageError(f"fps must be a positive number, got {fps!r}")
    with atomic_path(target) as temporary:
        writer = VideoWriter(temporary, target, fps)
        try:
            yield writer
        finally:
            writer.close()
