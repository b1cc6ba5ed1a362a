"""The thread that watches for other processes' failures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import atexit, threading
from torch.distributed import TCPStore
from utils.failure_propagation import share_fate
atexit.register(lambda: print("threads at the end:", threading.active_count()))
share_fate(TCPStore("127.0.0.1", 0, is_master=True))
print("threads at work:", threading.active_count())
"""


def test_no_thread_is_inside_the_store_when_python_shuts_down() -> None:
    # One that is there aborts the process (SIGABRT) after its work was done, now and then.
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[:2] == ["threads at work: 2", "threads at the end: 1"]
