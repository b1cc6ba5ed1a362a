"""The house plan holds: imports point one way, files stay small, scripts explain themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "utils": {"utils"},
    "models": {"models", "utils"},
    "losses": {"losses", "utils"},
    "datasets": {"datasets", "utils"},
    "pre_process": {"pre_process", "models", "losses", "datasets", "utils"},
}
SCRIPTS = sorted(path for path in ROOT.glob("*.py"))
PRE_PROCESS_SCRIPTS = sorted(
    path
    for path in (ROOT / "pre_process").glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)
ROOM_FILES = [path for room in ALLOWED for path in sorted((ROOT / room).rglob("*.py"))]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported_rooms(path: Path) -> set[str]:
    """First parts of all imports of a file, wherever they stand in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", ROOM_FILES, ids=relative)
def test_imports_point_one_way(path):
    ours = imported_rooms(path) & (set(ALLOWED) | {script.stem for script in SCRIPTS})
    assert ours <= ALLOWED[path.relative_to(ROOT).parts[0]]


@pytest.mark.parametrize("path", SCRIPTS, ids=relative)
def test_a_script_imports_no_script(path):
    assert not imported_rooms(path) & {script.stem for script in SCRIPTS}


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


def test_no_room_imports_in_a_circle():
    graph = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): {
            node.module
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and node.module
        }
        for path in ROOM_FILES
    }

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        for other in graph.get(name, ()):
            walk(other, (*trail, name))

    for name in graph:
        walk(name, ())
