"""A few programs killed at random moments; ``make kill`` does a hundred kills of all programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from tests.helpers.tiny_videos import make_dataset
from tests.repository.test_structure import ROOT

SCENES = ("preparation", "extraction", "ml_memae_sc", "inference")


def test_killed_programs_go_on_and_lose_nothing():
    command = [sys.executable, "-m", "tests.robustness.harness.kill", "--kills", "8", "--seed", "5"]
    # A process of its own: gradient threads of other tests would not survive its forks.
    done = subprocess.run(
        [*command, "--scenes", *SCENES], capture_output=True, text=True, cwd=ROOT, timeout=170
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("all equal\n") == len(SCENES) and "nothing lost" in done.stdout


def test_sigterm_ends_an_extraction_cleanly(tmp_path):
    data = make_dataset(tmp_path / "tiny", {"training": (400,), "testing": (10,)}).root
    cfg = tmp_path / "c.yaml"
    cfg.write_text(f"data: {{name: tiny, root: {data}}}\n")
    script = str(ROOT / "pre_process" / "extract_samples.py")
    command = [sys.executable, script, "--cfg_file", str(cfg), "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    deadline = time.monotonic() + 60
    while not list(data.glob("cubes/training/.*.part")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143 and "Traceback" not in told
    assert "run the same command again to resume" in told
    assert not list(data.glob("cubes/*/.*.part")), "nothing half-written stays"
