"""A queue of one place between a source of frames and whoever works on them."""

import threading
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class FrameQueue(Generic[_Item]):
    """One waiting item. A newer one replaces it (`drop`) or waits until it is taken.

    So the taker never works on a frame that a newer one has made stale, or the source never runs ahead; in
    neither case does anything pile up. Any number of threads may put, one takes.
    """

    def __init__(self, drop: bool = True) -> None:
        self._drop = drop
        self._ready = threading.Condition()
        self._items: list[_Item] = []  # none or one
        self._dropped = 0
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: _Item) -> bool:
        """Hand an item over; without `drop` this blocks while another one waits.

        Returns:
            False if the queue is closed: nobody will take the item.
        """
        with self._ready:
            if not self._drop:
                self._ready.wait_for(lambda: self._closed or not self._items)
            if self._closed:
                return False
            self._dropped += len(self._items)
            self._items = [item]
            self._ready.notify_all()
            return True

    def finish(self, error: BaseException | None = None) -> None:
        """No more items come; what waits can still be taken, then `take` raises `error` once or says it is over."""
        with self._ready:
            self._closed, self._error = True, error
            self._ready.notify_all()

    def close(self) -> None:
        """The taker goes: drop what waits and let every `put` return."""
        with self._ready:
            self._closed, self._items = True, []
            self._ready.notify_all()

    @property
    def waiting(self) -> int:
        """How many items wait: 0 or 1."""
        with self._ready:
            return len(self._items)

    def take(self) -> tuple[_Item, int] | None:
        """Wait for an item.

        Returns:
            The item and how many were replaced since the last one was taken; None when it is over.
        Raises:
            what `finish` was given, once.
        """
        with self._ready:
            self._ready.wait_for(lambda: self._closed or self._items)
            if self._items:
                item, dropped = self._items.pop(), self._dropped
                self._dropped = 0
                self._ready.notify_all()
                return item, dropped
            error, self._error = self._error, None
            if error is not None:
                raise error
            return None
