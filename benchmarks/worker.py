"""One side of a comparison in a process of its own: requests on stdin, results on stdout.

The C library's allocator is set for a whole process, so the two sides cannot share one. Requests
and results are JSON, one a line; only one side works at a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class Side:
    """The end of the pipe in the benchmark's own process.

    Args:
        name: ``ours`` or ``plain``.
        settings: ``device``, ``folder``, ``sizes``, ``threads``, ``precision`` (of our side).
    """

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", name, json.dumps(settings)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, task: str, *arguments: Any) -> dict[str, float]:
        """Have a task done; returns what it measured."""
        self.process.stdin.write(json.dumps([task, *arguments]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the {task} worker ended with code {self.process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def serve(name: str, settings: dict[str, Any]) -> None:
    """Answer requests until there are no more."""
    import torch

    torch.set_num_threads(settings["threads"])
    arguments = settings["device"], Path(settings["folder"]) / name, settings["sizes"]
    arguments[1].mkdir(parents=True, exist_ok=True)
    if name == "ours":
        from benchmarks.our_tasks import OurTasks

        tasks: Any = OurTasks(*arguments, settings["precision"])
    else:
        from benchmarks.plain.tasks import PlainTasks

        tasks = PlainTasks(*arguments)
    for line in sys.stdin:
        task, *parameters = json.loads(line)
        print(json.dumps(getattr(tasks, task)(*parameters)), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
