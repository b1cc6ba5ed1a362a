"""Make the items of an iteration in a thread of their own, some ahead of their use."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
_END = object()


def read_ahead(items: Iterable[Item], most: int) -> Iterator[Item]:
    """The same items in the same order, made in a thread beside what is done with them.

    Libraries that compute release Python's lock, so two such steps of a pipeline use two cores.
    When the iteration is given up, so is the thread's, after the item that it is making.

    Args:
        items: iterated in the thread; a generator is closed there.
        most: items that may wait; they bound the memory.

    Raises:
        Whatever the iteration raises, after the items before.
    """
    made: queue.Queue[Any] = queue.Queue(most)
    is_given_up = threading.Event()

    def make() -> None:
        iterator, last = iter(items), _END
        try:
            for item in iterator:
                made.put((item,))
                if is_given_up.is_set():
                    break
        except BaseException as error:  # raised where the items are used
            last = error
        finally:
            getattr(iterator, "close", lambda: None)()
        made.put(last)

    thread = threading.Thread(target=make, name="read ahead", daemon=True)
    thread.start()
    try:
        while isinstance(each := made.get(), tuple):
            yield each[0]
        if each is not _END:
            raise each
    finally:
        is_given_up.set()
        while thread.is_alive():  # it may wait for a place in the queue
            try:
                made.get(timeout=0.05)
            except queue.Empty:
                continue
