"""Carry numbers and colours of instances from frame to frame.

A network paints every frame anew: the numbers that `instances()` gives follow the areas, and colours drift. The
tracker matches what it knows with what it sees, by the overlap of the masks first and by colour second:

1. The masks of the known tracks are moved to where they should be now: by the shift of the whole picture, if more
   of them then falls onto whole instances than without it, and by the track's own movement.
2. Pairs are taken greedily by intersection over union, weighted by how alike their colours are (`_IOU`).
3. Of what is left, pairs of which one lies mostly inside the other in a like colour (an object that comes into
   view or out of hiding), then those of like colour and area close to where they should be (a small fast one).

A track that is not seen stays where the picture's shift takes it for `memory` frames, then it is forgotten. The
result depends on nothing but the frames. Overlaps are counted on every n-th pixel of a large label map, so the
cost is bounded: some milliseconds for hundreds of instances.
"""

from dataclasses import dataclass, field

import numpy as np

from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.instances import Instances
from gen2seg_runtime.stream.motion import estimate_shift, small_grey

_LONGEST = 640  # label maps are looked at on a grid with at most so many points a side
_IOU = 0.1  # least weighted overlap of a pair
_INSIDE = 0.5  # least share of the smaller one of a pair of the second kind
_ALIKE = 60.0  # colour distance, channels 0..255, at which two colours have nothing to do with each other
_REACH = 1.5  # a small one may be found so many times its own size away
_AREA_RATIO = 2.0

Shift = tuple[float, float]


@dataclass(frozen=True, eq=False)
class TrackedInstances:
    """The instances of one frame with numbers that last.

    Attributes:
        instances: as found in this frame.
        ids: the lasting number, from 1, of each of `instances.records`; never given to another object again.
        colors: (K, 3) uint8, the colour each had when it was first seen.
        labels: (H, W) int32, read-only: 0 or one of `ids`.
    """

    instances: Instances
    ids: tuple[int, ...]
    colors: np.ndarray
    labels: np.ndarray

    def color_image(self) -> np.ndarray:
        """(H, W, 3) uint8: each instance in its lasting colour, the background black."""
        table = np.zeros((len(self.ids) + 1, 3), np.uint8)
        table[1:] = self.colors
        return table[self.instances.labels]


@dataclass
class _Track:
    id: int
    color: tuple[int, int, int]  # when first seen
    last_color: tuple[int, int, int]
    mask: np.ndarray  # bool, on the grid
    corner: tuple[int, int]  # its upper left place (x, y) when last seen
    moved: Shift = (0.0, 0.0)  # by the shift of the picture since then
    velocity: Shift = (0.0, 0.0)  # per frame, beyond that of the picture
    missing: int = 0
    area: int = field(init=False)

    def __post_init__(self) -> None:
        self.area = int(np.count_nonzero(self.mask))


class InstanceTracker:
    """Gives the instances of a sequence of frames lasting numbers and colours. For one thread.

    Args:
        memory: for how many frames an instance that is not seen is remembered, >= 0.
    Raises:
        ImageError: `memory` is no whole number >= 0.
    """

    def __init__(self, memory: int = 15) -> None:
        if isinstance(memory, bool) or not isinstance(memory, int) or memory < 0:
            raise ImageError(f"memory must be a whole number of frames >= 0, got {memory!r}")
        self._memory = memory
        self._tracks: list[_Track] = []
        self._next = 1
        self._size: tuple[int, int] | None = None
        self._grey: np.ndarray | None = None

    def update(self, instances: Instances, picture: np.ndarray | None = None) -> TrackedInstances:
        """The next frame.

        Args:
            instances: what was found in it.
            picture: (H, W, 3) uint8, the frame itself, by which the movement of the camera is measured; None:
                it is taken to stand still.
        Returns:
            The same instances with lasting numbers. When the size of the frames changes, all are new.
        """
        height, width = instances.labels.shape
        if self._size != (height, width):
            self._tracks, self._grey, self._size = [], None, (height, width)
        step = -(-max(height, width) // _LONGEST)
        seen = _Seen(instances, step)
        shift = self._camera_shift(picture, step)
        candidates = self._place(seen, shift)
        matches = self._match(seen, candidates)
        return _tracked(instances, self._follow(seen, matches))

    def _camera_shift(self, picture: np.ndarray | None, step: int) -> Shift:
        before, self._grey = self._grey, None if picture is None else small_grey(picture)
        if before is None or self._grey is None or self._size is None:
            return 0.0, 0.0
        dx, dy = estimate_shift(before, self._grey, self._size)
        return dx / step, dy / step

    def _place(self, seen: "_Seen", shift: Shift) -> tuple[np.ndarray, np.ndarray]:
        """Move the tracks by the picture's shift if that explains more, and count overlaps.

        Returns:
            (T, K) shares: intersection over union, and intersection over the smaller one; of the better one of
            the two places where a track is expected.
        """
        still = self._overlaps(seen, (0.0, 0.0))
        moved = self._overlaps(seen, shift) if shift != (0.0, 0.0) else still
        if moved[0].max(axis=1, initial=0).sum() > still[0].max(axis=1, initial=0).sum():
            base = moved
            for track in self._tracks:
                track.moved = track.moved[0] + shift[0], track.moved[1] + shift[1]
        else:
            base = still
        own = self._overlaps(seen, None)
        return np.maximum(base[0], own[0]), np.maximum(base[1], own[1])

    def _overlaps(self, seen: "_Seen", shift: Shift | None) -> tuple[np.ndarray, np.ndarray]:
        """As `_place`, with the tracks moved by `shift`, or by their own velocities (None)."""
        union = np.zeros((len(self._tracks), len(seen.area)))
        smaller = np.zeros_like(union)
        for row, track in enumerate(self._tracks):
            dx, dy = track.velocity if shift is None else shift
            if shift is None and abs(dx) < 0.5 and abs(dy) < 0.5:
                continue  # the same place again
            common, visible = seen.under(track, (track.moved[0] + dx, track.moved[1] + dy))
            # What has left the picture is not held against a track.
            union[row] = common / np.maximum(visible + seen.area - common, 1)
            smaller[row] = common / np.maximum(np.minimum(visible, seen.area), 1)
        return union, smaller

    def _match(self, seen: "_Seen", shares: tuple[np.ndarray, np.ndarray]) -> dict[int, int]:
        """Index of the track of each instance that has one."""
        union, smaller = shares
        colors = np.array([track.last_color for track in self._tracks], np.float64).reshape(-1, 1, 3)
        apart = np.sqrt(((colors - seen.color[None]) ** 2).sum(axis=2))
        alike = np.clip(1 - apart / _ALIKE, 0, 1)
        matches: dict[int, int] = {}
        _greedy(union * (0.5 + 0.5 * alike), _IOU, matches)
        _greedy(np.where(smaller >= _INSIDE, smaller * alike, 0), 0.25, matches)
        _greedy(self._nearness(seen) * alike, 0.25, matches)
        return matches

    def _nearness(self, seen: "_Seen") -> np.ndarray:
        """(T, K) 1 where the middles agree, 0 where they are too far apart or the areas differ too much."""
        result = np.zeros((len(self._tracks), len(seen.area)))
        for row, track in enumerate(self._tracks):
            x = track.corner[0] + track.mask.shape[1] / 2 + track.moved[0] + track.velocity[0]
            y = track.corner[1] + track.mask.shape[0] / 2 + track.moved[1] + track.velocity[1]
            away = np.hypot(seen.middle[:, 0] - x, seen.middle[:, 1] - y)
            near = np.clip(1 - away / (_REACH * max(track.mask.shape)), 0, 1)
            ratio = seen.area / max(track.area, 1)
            result[row] = np.where((ratio < _AREA_RATIO) & (ratio > 1 / _AREA_RATIO), near, 0)
        return result

    def _follow(self, seen: "_Seen", matches: dict[int, int]) -> list[_Track]:
        """Bring the tracks up to date; the track of each instance."""
        now: list[_Track] = []
        for index, record in enumerate(seen.instances.records):
            mask, corner = seen.cut(index)
            if index in matches:
                track = self._tracks[matches[index]]
                track.velocity = _velocity(track, mask, corner)
                track.mask, track.corner, track.moved, track.missing = mask, corner, (0.0, 0.0), 0
                track.area, track.last_color = int(np.count_nonzero(mask)), record.color
            else:
                track = _Track(self._next, record.color, record.color, mask, corner)
                self._next += 1
            now.append(track)
        seen_ids = {track.id for track in now}
        lost = [track for track in self._tracks if track.id not in seen_ids]
        for track in lost:
            track.missing += 1
            track.velocity = (0.0, 0.0)
        # Oldest first: in a tie the older track wins.
        kept = [track for track in lost if track.missing <= self._memory and seen.visible(track)]
        self._tracks = sorted(now + kept, key=lambda track: track.id)
        return now


class _Seen:
    """The instances of a frame on the tracker's grid."""

    def __init__(self, instances: Instances, step: int) -> None:
        self.instances = instances
        self.step = step
        self.labels = instances.labels[::step, ::step]
        records = instances.records
        # One that slips through the grid is taken for a single point.
        self.area = np.maximum(np.bincount(self.labels.ravel(), minlength=len(records) + 1)[1:], 1)
        self.color = np.array([record.color for record in records], np.float64).reshape(-1, 3)
        boxes = np.array([record.box for record in records], np.float64).reshape(-1, 4) / step
        self.middle = (boxes[:, :2] + boxes[:, 2:]) / 2

    def cut(self, index: int) -> tuple[np.ndarray, tuple[int, int]]:
        """Mask of one instance and its upper left place (x, y); of one missed by the grid a single point."""
        x0, y0, x1, y1 = (value // self.step for value in self.instances.records[index].box)
        mask = np.equal(self.labels[y0 : y1 + 1, x0 : x1 + 1], index + 1)
        return (mask if mask.any() else np.ones((1, 1), bool)), (x0, y0)

    def window(self, track: _Track, shift: Shift) -> tuple[slice, slice, slice, slice]:
        """Rows and columns of the labels under a shifted track, and those of its mask that lie over them."""
        height, width = self.labels.shape
        y, x = track.corner[1] + round(shift[1]), track.corner[0] + round(shift[0])
        rows, columns = track.mask.shape
        top, bottom = min(max(y, 0), height), min(max(y + rows, 0), height)
        left, right = min(max(x, 0), width), min(max(x + columns, 0), width)
        return slice(top, bottom), slice(left, right), slice(top - y, bottom - y), slice(left - x, right - x)

    def under(self, track: _Track, shift: Shift) -> tuple[np.ndarray, int]:
        """(K,) pixels of each instance under a shifted track, and how many of its own are in the picture."""
        rows, columns, own_rows, own_columns = self.window(track, shift)
        mask = track.mask[own_rows, own_columns]
        covered = self.labels[rows, columns][mask]
        return np.bincount(covered, minlength=len(self.area) + 1)[1:], covered.size

    def visible(self, track: _Track) -> bool:
        """Whether any of a track is still in the picture."""
        _, _, rows, columns = self.window(track, track.moved)
        return bool(track.mask[rows, columns].any())


def _velocity(track: _Track, mask: np.ndarray, corner: tuple[int, int]) -> Shift:
    """How far a track went beyond the picture's shift, if it kept its extent (else its outline moved, not it)."""
    same = all(abs(a - b) <= 0.1 * max(a, b) + 1 for a, b in zip(mask.shape, track.mask.shape, strict=True))
    if not same or track.missing:
        return 0.0, 0.0
    dx = corner[0] + mask.shape[1] / 2 - track.corner[0] - track.mask.shape[1] / 2 - track.moved[0]
    dy = corner[1] + mask.shape[0] / 2 - track.corner[1] - track.mask.shape[0] / 2 - track.moved[1]
    return dx, dy


def _greedy(scores: np.ndarray, least: float, matches: dict[int, int]) -> None:
    """Add pairs (instance -> track) to `matches`, best score first, until none reaches `least`.

    Ties go to the older track, then to the larger instance.
    """
    taken = set(matches.values())
    rows, columns = np.nonzero(scores >= least)
    for at in np.lexsort((columns, rows, -scores[rows, columns])):
        row, column = int(rows[at]), int(columns[at])
        if row not in taken and column not in matches:
            matches[column] = row
            taken.add(row)


def _tracked(instances: Instances, tracks: list[_Track]) -> TrackedInstances:
    table = np.zeros(len(tracks) + 1, np.int32)
    table[1:] = [track.id for track in tracks]
    labels = table[instances.labels]
    labels.flags.writeable = False
    colors = np.array([track.color for track in tracks], np.uint8).reshape(-1, 3)
    colors.flags.writeable = False
    return TrackedInstances(instances, tuple(track.id for track in tracks), colors, labels)
