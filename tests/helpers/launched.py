"""Run scripts one after the other in every process that torchrun starts (for tests).

Latents are not sampled, since processes draw other noise: what is left must equal one process.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Commands = Sequence[tuple[str, Sequence[str]]]  # script's name, its arguments


def run_here(commands: Commands) -> None:
    """Run the scripts in this process."""
    import torch

    sampled, torch.randn_like = torch.randn_like, torch.zeros_like
    try:
        for script, arguments in commands:
            importlib.import_module(script).main(list(arguments))
    finally:
        torch.randn_like = sampled


def launch(
    number: int, program: str | Path, *arguments: str, restarts: int = 0
) -> subprocess.Popen:
    """Start ``program`` in ``number`` processes; their output is in the pipe."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--local_addr=127.0.0.1"]  # the machine's own name may lead nowhere
    command += [f"--nproc_per_node={number}", f"--max_restarts={restarts}", str(program)]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def run_launched(number: int, commands: Commands) -> str:
    """Run the scripts in ``number`` processes; their output."""
    process = launch(number, Path(__file__), json.dumps(commands))
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    return output


if __name__ == "__main__":
    run_here(json.loads(sys.argv[1]))
