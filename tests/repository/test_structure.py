"""The plan of the house holds: files and folders stay small and say what they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository.command_help import help_of
from tests.repository.structure import (
    crowded_folders,
    long_files,
    rooms,
    scripts,
    silent_packages,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("check", [long_files, crowded_folders, silent_packages])
def test_no_file_or_folder_breaks_the_plan(check):
    assert check(ROOT) == []


def test_rooms_and_scripts_are_there():
    names = {room.name for room in rooms(ROOT)}
    assert {"datasets", "engine", "evaluation", "inference", "losses", "models"} <= names
    assert {"pre_process", "published", "utils", "visualization"} <= names
    assert {"train.py", "eval.py", "pre_process/extract_samples.py"} <= set(scripts(ROOT))


@pytest.mark.parametrize("script", scripts(ROOT))
def test_scripts_show_an_example(script):
    assert f"python {script} --" in help_of(script)


@pytest.mark.parametrize("script", ["train.py", "pre_process/extract_samples.py"])
def test_scripts_start_as_files(script):
    """The only ones as processes: what each of them finds on the module path."""
    command = [sys.executable, str(ROOT / script), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/")
    assert result.returncode == 0, result.stderr
    assert f"python {script} --" in result.stdout


def test_commands_start_without_what_few_of_them_need():
    code = "import sys, train, infer; print({'sklearn', 'torchvision'} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout == "set()\n", result.stderr


def write_tree(root: Path, files: dict[str, str]) -> Path:
    """A sound project of one room and one script, and these files."""
    sound = {
        "train.py": 'if __name__ == "__main__":\n    pass\n',
        "utils/__init__.py": '"""Plumbing."""\n',
        "utils/files.py": "",
        "tests/test_files.py": "x = 1\n" * 300,
        "docs/notes.md": "",
    }
    for name, text in (sound | files).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


CHECKS = {"long": long_files, "crowded": crowded_folders, "silent": silent_packages}
FAULTS = {
    "a file of 251 lines": ("long", {"utils/long.py": "x = 1\n" * 251}, "utils/long.py: 251"),
    "a long file in a folder below": (
        "long",
        {"utils/a/__init__.py": '"""A."""', "utils/a/b.py": "x = 1\n" * 260},
        "utils/a/b.py: 260",
    ),
    "a script of 121 lines": ("long", {"train.py": "x = 1\n" * 121}, "train.py: 121"),
    "a long script in a room": (
        "long",
        {
            "pre_process/__init__.py": '"""Inputs."""',
            "pre_process/go.py": "x = 1\n" * 120 + 'if __name__ == "__main__":\n    pass\n',
        },
        "pre_process/go.py: 122",
    ),
    "a folder of 16 files": (
        "crowded",
        {f"utils/f{number}.py": "" for number in range(15)},
        "utils: 16 files",
    ),
    "a package without a docstring": ("silent", {"models/__init__.py": "x = 1\n"}, "models"),
    "a package without __init__.py": ("silent", {"models/net.py": ""}, "models"),
    "a silent package in another": ("silent", {"utils/a/__init__.py": ""}, "utils/a"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_seen(tmp_path, name):
    kind, files, expected = FAULTS[name]
    write_tree(tmp_path, files)
    found = {key: check(tmp_path) for key, check in CHECKS.items()}
    assert len(found[kind]) == 1 and found[kind][0].startswith(expected)


def test_a_sound_tree_has_no_faults(tmp_path):
    files = {f"utils/f{number}.py": "x = 1\n" * 250 for number in range(14)}
    write_tree(tmp_path, files)
    assert [check(tmp_path) for check in CHECKS.values()] == [[], [], []]
    assert scripts(tmp_path) == ["train.py"]
    assert [room.name for room in rooms(tmp_path)] == ["utils"]
