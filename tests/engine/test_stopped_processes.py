"""Processes that work together end together: on an error, on a signal, when one is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

import ml_memAE_sc_train
from tests.engine.test_many_processes import write_configs
from tests.helpers.launched import ROOT, launch
from utils.checkpoint import load_checkpoint
from utils.run_folder import sole_writer

SCRIPT = ROOT / "ml_memAE_sc_train.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Configurations and data of both systems."""
    folder = tmp_path_factory.mktemp("stops")
    write_configs(folder)
    return folder


def arguments(folder: Path, runs: str, epochs: int) -> list[str]:
    overrides = [f"run.root={folder / runs}", f"ml_memae_sc.num_epochs={epochs}"]
    return ["--cfg_file", f"{folder}/hf2vad.yaml", "--set", *overrides]


def wait_for(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.05)


def workers(launcher: int) -> list[int]:
    """Process numbers of the scripts under a launcher."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return [int(each) for each in children]


def test_a_signal_leaves_a_checkpoint_that_one_process_resumes_from(folder):
    last = folder / "stopped" / "scene" / "ml_memae_sc" / "last.pth"
    process = launch(2, SCRIPT, *arguments(folder, "stopped", 500))
    wait_for(last)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert output.count("stopped by a signal at step") == 1, output
    stopped = load_checkpoint(last)
    assert len(stopped["training"]["random"]) == 2 and not stopped["finished"]
    epochs = stopped["epoch"] + 1
    ml_memAE_sc_train.main(arguments(folder, "stopped", epochs))
    resumed = load_checkpoint(last)
    assert resumed["finished"] and resumed["step"] == 2 * epochs


def test_one_killed_process_ends_the_others_and_all_start_again(folder):
    last = folder / "killed" / "scene" / "ml_memae_sc" / "last.pth"
    options = [*arguments(folder, "killed", 5), "run.timeout_seconds=5"]
    process = launch(2, SCRIPT, *options, restarts=1)
    wait_for(last)
    os.kill(workers(process.pid)[1], signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "resuming after epoch" in output and load_checkpoint(last)["finished"]
    assert [json.loads(line)["epoch"] for line in last.with_name("log.jsonl").open()] == [
        *range(1, 6)
    ]


def test_a_frozen_process_ends_the_run_with_a_message(folder):
    last = folder / "frozen" / "scene" / "ml_memae_sc" / "last.pth"
    options = [*arguments(folder, "frozen", 500), "run.timeout_seconds=2"]
    process = launch(2, SCRIPT, *options)
    wait_for(last)
    frozen = workers(process.pid)[1]
    os.kill(frozen, signal.SIGSTOP)
    printed = ""
    while "lost another one" not in printed:
        line = process.stdout.readline()
        assert line, printed  # the end of the output
        printed += line
    os.kill(frozen, signal.SIGCONT)  # or the launcher would wait 30 s before it kills it
    process.communicate(timeout=60)
    assert process.returncode != 0 and "run.timeout_seconds" in printed
    assert load_checkpoint(last)["step"] > 0


def test_an_error_of_the_first_alone_ends_the_others(folder):
    runs = folder / "locked" / "scene" / "ml_memae_sc"
    with sole_writer(runs):
        process = launch(2, SCRIPT, *arguments(folder, "locked", 1))
        output, _ = process.communicate(timeout=60)
    assert len(re.findall("^error: .*another run is writing", output, re.MULTILINE)) == 1, output
    assert "Traceback" not in output.split("failed (exitcode")[0]
