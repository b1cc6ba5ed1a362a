"""The house plan holds: imports point one way, files stay small, scripts explain themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = [
    "datasets", "engine", "evaluation", "inference", "losses", "models", "pre_process", "published",
    "utils", "visualization",
]  # fmt: skip
SCRIPTS = sorted(path for path in ROOT.glob("*.py"))
PRE_PROCESS_SCRIPTS = sorted(
    path
    for path in (ROOT / "pre_process").glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)
LARGEST_FOLDER = 15
FOLDERS = sorted({path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")})
ROOM_FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SCRIPTS + PRE_PROCESS_SCRIPTS, ids=relative)
def test_scripts_are_short_and_show_an_example(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 120
    command = [sys.executable, str(path), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stderr
    assert f"python {relative(path)} --" in result.stdout


@pytest.mark.parametrize("path", ROOM_FILES, ids=relative)
def test_files_stay_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 250


@pytest.mark.parametrize("folder", FOLDERS, ids=relative)
def test_a_folder_has_one_subject_and_says_which(folder):
    files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= LARGEST_FOLDER
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
