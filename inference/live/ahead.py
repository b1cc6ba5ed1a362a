"""Cubes of live frames, extracted in a thread of their own while earlier frames are scored."""

from __future__ import annotations

import threading
from collections import deque

from inference.live.frame_buffer import FrameBuffer
from inference.live.scorer import LiveExtractor, WithCubes


class FramesAhead:
    """Takes frames from a buffer and has their cubes ready.

    It is ahead by as many frames as are asked for at once and no more, so that frames which cannot
    be scored in time wait in the buffer, which drops them.

    Args:
        frames: of the camera; what it raises is raised by ``take``, after the frames before.
        extractor: used by the thread alone until ``close``.
    """

    def __init__(self, frames: FrameBuffer, extractor: LiveExtractor) -> None:
        self._frames, self._extractor = frames, extractor
        self._ready: deque[WithCubes] = deque()
        self._most = 1
        self._changed = threading.Condition()
        self._is_closing = self._is_over = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="cubes", daemon=True)
        self._thread.start()

    def take(self, most: int, timeout: float) -> list[WithCubes] | None:
        """The oldest frames with their cubes, ``most`` at most; see ``FrameBuffer.take``."""
        with self._changed:
            self._most = most
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._ready or self._is_over, timeout)
            if self._ready:
                taken = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
                self._changed.notify_all()
                return taken
            if self._failure is not None:
                raise self._failure
            return None if self._is_over else []

    def close(self) -> list[WithCubes]:
        """Take no more frames; gives those that were not taken from here."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join()
        return list(self._ready)

    def _run(self) -> None:
        try:
            while self._has_place():
                taken = self._frames.take(1, timeout=0.2)
                if taken is None:
                    break
                self._add(self._extractor.push(taken))
        except BaseException as error:  # handed to the thread that scores
            self._failure = error
        try:
            self._add(self._extractor.finish())
        except BaseException as error:
            self._failure = self._failure or error
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _has_place(self) -> bool:
        """Wait for a place; whether to go on."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._ready) < self._most or self._is_closing)
            return not self._is_closing

    def _add(self, frames: list[WithCubes]) -> None:
        with self._changed:
            self._ready.extend(frames)
            self._changed.notify_all()
