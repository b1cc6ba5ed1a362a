"""A share of the damaged files of ``make fuzz``."""

from __future__ import annotations

import subprocess
import sys

from tests.repository.test_structure import ROOT


def test_damaged_and_hostile_files_give_clear_errors():
    command = [
        sys.executable,
        "-m",
        "tests.robustness.harness.fuzz",
        "--cases",
        "400",
        "--without_programs",
        "--seed",
        "3",
    ]
    # A process of its own: a picture library that crashes is to fail this test only.
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no other error, no hang" in done.stdout and "evil.pkl: refused" in done.stdout
