"""Items made in one thread and taken in another, with an end and an error."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class HandOver(Generic[Item]):
    """Items that wait, in order, between the thread that gives them and the one that takes them.

    Attributes:
        waiting: the items; whoever looks at several of them at once holds ``lock``.
        lock: may be held around any method.
    """

    def __init__(self) -> None:
        self.waiting: deque[Item] = deque()
        self.lock = threading.Condition()  # its lock is reentrant
        self._asked = 1
        self._is_over = self._is_closed = False
        self._failure: BaseException | None = None

    def give(self, items: Iterable[Item]) -> None:
        """Append items."""
        with self.lock:
            self.waiting.extend(items)
            self.lock.notify_all()

    def end(self, failure: BaseException | None = None) -> None:
        """There will be no more; ``failure`` is raised where the last one was taken."""
        with self.lock:
            self._is_over, self._failure = True, failure
            self.lock.notify_all()

    def wait_for_place(self, most: int | None = None) -> bool:
        """Wait until fewer than ``most`` items wait; ``None``: than were asked for at once last.

        Returns:
            Whether items are still wanted.
        """
        with self.lock:
            self.lock.wait_for(lambda: len(self.waiting) < (most or self._asked) or self._is_closed)
            return not self._is_closed

    def take(self, most: int, timeout: float) -> list[Item] | None:
        """The oldest items, ``most`` at most.

        Waits for one up to ``timeout`` seconds, then gives an empty list; ``None`` when there will
        be no more.

        Raises:
            What ``end`` was given.
        """
        with self.lock:
            self._asked = most
            self.lock.notify_all()
            self.lock.wait_for(lambda: self.waiting or self._is_over, timeout)
            if self.waiting:
                taken = [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]
                self.lock.notify_all()
                return taken
            if self._failure is not None:
                raise self._failure
            return None if self._is_over else []

    def close(self) -> None:
        """No more items are wanted: whoever waits for a place is told."""
        with self.lock:
            self._is_closed = True
            self.lock.notify_all()
