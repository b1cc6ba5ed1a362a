"""Commands in README and docs: their scripts, options, configurations and targets exist."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.repository.command_help import help_of
from tests.repository.test_structure import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(start: str) -> list[tuple[str, str]]:
    """(document, command) of every line in a code block that begins with ``start``."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8").replace("\\\n", " ")
        for block in re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL):
            lines = [line.strip() for line in block.splitlines()]
            found += [(document.name, line) for line in lines if line.startswith(start)]
    return sorted(set(found))


def script_commands() -> list[tuple[str, str]]:
    return [pair for pair in commands("python ") if re.match(r"python [\w/]+\.py", pair[1])]


@pytest.mark.parametrize(("document", "command"), script_commands())
def test_scripts_and_their_options_exist(document, command):
    words = shlex.split(command, comments=True)[1:]
    script, given = words[0], words[1:]
    assert (ROOT / script).is_file(), f"{document} names {script}"
    options = [word.split("=")[0] for word in given if word.startswith("--")]
    known = set(re.findall(r"--\w+", help_of(script)))
    assert set(options) <= known, f"{document}: {command}"
    for name in re.findall(r"\bcfgs/[\w.]+\.yaml", command):
        assert (ROOT / name).is_file(), f"{document} names {name}"


@pytest.mark.parametrize(("document", "command"), commands("make "))
def test_make_targets_exist(document, command):
    target = command.split()[1]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"{document}: {command}"


def test_there_are_such_commands():
    assert len(script_commands()) > 15 and len(commands("make ")) >= 2
