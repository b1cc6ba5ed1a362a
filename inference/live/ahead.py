"""Cubes of live frames, extracted in a thread of their own while earlier frames are scored."""

from __future__ import annotations

import threading

from inference.live.frame_buffer import FrameBuffer
from inference.live.scorer import LiveExtractor, WithCubes
from utils.threads.hand_over import HandOver


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
        self._ready: HandOver[WithCubes] = HandOver()
        self.take = self._ready.take
        self._thread = threading.Thread(target=self._run, name="cubes", daemon=True)
        self._thread.start()

    def close(self) -> list[WithCubes]:
        """Take no more frames; gives those that were not taken from here."""
        self._ready.close()
        self._thread.join()
        return list(self._ready.waiting)

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            while self._ready.wait_for_place():
                taken = self._frames.take(1, timeout=0.2)
                if taken is None:
                    break
                self._ready.give(self._extractor.push(taken))
        except BaseException as error:  # handed to the thread that scores
            failure = error
        try:
            self._ready.give(self._extractor.finish())
        except BaseException as error:
            failure = failure or error
        self._ready.end(failure)
