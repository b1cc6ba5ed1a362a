"""A thread that does tasks in the order in which they are given."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Task = Callable[[], None]


class Worker:
    """Does tasks one after the other, beside the thread that gives them.

    The first error is raised where the next task is given, or by ``finish``; tasks after it are
    left undone.

    Args:
        name: of the thread.
        most: tasks that may wait; giving another one then waits, too.
    """

    def __init__(self, name: str, most: int) -> None:
        self._tasks: queue.Queue[Task | None] = queue.Queue(most)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, task: Task) -> None:
        """Have a task done later.

        Raises:
            Whatever an earlier one raised.
        """
        self._raise_failure()
        self._tasks.put(task)

    def wait(self) -> None:
        """Wait until all tasks are done.

        Raises:
            Whatever one of them raised.
        """
        self._tasks.join()
        self._raise_failure()

    def finish(self) -> None:
        """Wait until all tasks are done, and end the thread.

        Raises:
            Whatever one of them raised, if it was not raised before.
        """
        self._tasks.put(None)
        self._thread.join()
        self._raise_failure()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.finish()
        except Exception:
            if kind is None:  # else that error is the one to raise
                raise

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self) -> None:
        has_failed = False
        while (task := self._tasks.get()) is not None:
            try:
                if not has_failed:
                    task()
            except BaseException as error:  # handed to the thread that gives tasks
                self._failure, has_failed = error, True
            self._tasks.task_done()
