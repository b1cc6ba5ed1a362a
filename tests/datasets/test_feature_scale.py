"""The loader on a file of the full published size: it starts at once and needs little memory."""

from __future__ import annotations

import re
import subprocess
import sys


def test_full_size_sparse_file(tmp_path):
    command = [sys.executable, "-m", "benchmarks.feature_loader", "--sparse"]
    command += ["--folder", str(tmp_path), "--snippets", "779951", "--steps", "12"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    first, peak = re.search(r"after ([\d.]+) s[\s\S]*peak ([\d.]+) GiB", result.stdout).groups()
    size = (tmp_path / "all.npy").stat()
    assert size.st_size > 63e9 and size.st_blocks * 512 < 1e9  # holes, not bytes
    assert float(peak) < 2.0
    assert float(first) < 60  # a second on an idle machine
