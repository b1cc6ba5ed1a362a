"""Stopped and resumed training equals unbroken training to the last bit, on one thread.

``python -m tests.robustness.harness.stops`` compares all stages in both precisions.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.repository.test_structure import ROOT


def test_a_stopped_run_equals_an_unbroken_one():
    command = [
        sys.executable,
        "-m",
        "tests.robustness.harness.stops",
        "--stops",
        "1",
        "--seed",
        "3",
    ]
    command += ["--stages", "ml_memae_sc", "frd", "--precisions", "bf16"]
    # Threads as run.num_threads says, not as the environment does.
    environment = {key: os.environ[key] for key in os.environ if key != "OMP_NUM_THREADS"}
    # A process of its own: gradient threads of other tests would not survive its forks.
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing differs" in done.stdout and "values equal" in done.stdout
