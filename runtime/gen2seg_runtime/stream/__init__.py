"""Pictures that keep coming: the newest frame first, objects that keep their number and colour.

`queue.py` passes frames from the source to the network, `alignment.py` carries numbers and colours from frame to
frame, `motion.py` tells how far the picture moved, `stream.py` puts them together (`Segmenter.stream`), `video.py`
reads and writes files and cameras.
"""

from gen2seg_runtime.stream.alignment import InstanceTracker, TrackedInstances
from gen2seg_runtime.stream.queue import FrameQueue
from gen2seg_runtime.stream.stream import Stream, StreamResult

__all__ = ["FrameQueue", "InstanceTracker", "Stream", "StreamResult", "TrackedInstances"]
