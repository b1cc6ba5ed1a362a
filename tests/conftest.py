"""Shared fixtures; VAD_TEST_DATA names the folder of real data and reference outputs."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
import torch
from accelerate.state import AcceleratorState

# A busy machine is no fault of the code: neither examples nor their making have a time limit.
too_slow = hypothesis.HealthCheck.too_slow
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[too_slow])
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def vad_data() -> Path:
    """Folder with ``reference/`` and ``data/``; tests that need it are skipped without it."""
    folder = os.environ.get("VAD_TEST_DATA")
    if not folder:
        pytest.skip("VAD_TEST_DATA is not set: no reference data on this machine")
    return Path(folder)


@pytest.fixture(autouse=True)
def _fresh_process() -> None:
    """As a script finds it; one thread, since tests run side by side on few cores."""
    torch.set_num_threads(1)
    AcceleratorState._reset_state(True)  # it would remember the precision of the test before
