"""Imports point one way through the rooms, and no module imports itself through others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.repository.import_graph import circles, import_graph, upward_imports

ROOT = Path(__file__).resolve().parents[2]


def project(tmp_path: Path, files: dict[str, str]) -> Path:
    """A made-up project with these files."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_every_import_points_down():
    assert upward_imports(import_graph(ROOT)) == []


def test_no_module_imports_in_a_circle():
    assert circles(import_graph(ROOT)) == []


@pytest.mark.parametrize(
    "statement",
    [
        "import models.vunet",
        "from models.vunet import VUnet",
        "from models import vunet",
        "from models import vunet as other",
        "def late():\n    from models import vunet",
        "from ..models import vunet",
        "import importlib\nimportlib.import_module('models.vunet')",
        "if TYPE_CHECKING:\n    from models.vunet import VUnet",
        "import train",
        "from train import main",
    ],
)
def test_an_upward_import_is_seen_in_every_form(tmp_path, statement):
    files = {"utils/files.py": statement, "models/vunet.py": "", "train.py": ""}
    assert len(upward_imports(import_graph(project(tmp_path, files)))) == 1


def test_rooms_of_one_floor_do_not_import_each_other(tmp_path):
    files = {"models/vunet.py": "import losses.kl", "losses/kl.py": ""}
    graph = import_graph(project(tmp_path, files))
    assert upward_imports(graph) == ["models.vunet imports losses.kl"]


@pytest.mark.parametrize("name", ["attic", "Attic", "_attic"])
def test_a_new_package_is_seen_though_nothing_imports_it(tmp_path, name):
    files = {f"{name}/__init__.py": "", "utils/files.py": ""}
    faults = upward_imports(import_graph(project(tmp_path, files)))
    assert faults == [f"{name}: the package '{name}' has no place in the order of rooms"]


def test_a_package_without_a_place_in_the_order_is_refused(tmp_path):
    files = {"attic/box.py": "import utils.files", "utils/files.py": ""}
    assert upward_imports(import_graph(project(tmp_path, files))) == [
        "attic.box: the package 'attic' has no place in the order of rooms"
    ]


@pytest.mark.parametrize(
    "files",
    [
        {"utils/a.py": "import utils.b", "utils/b.py": "from utils.a import x"},
        {"utils/a.py": "from utils import b", "utils/b.py": "from utils import a"},
        {"utils/a.py": "from . import b", "utils/b.py": "from .a import x"},
        {"utils/__init__.py": "from .a import x", "utils/a.py": "import utils"},
        {
            "utils/a.py": "from utils.b import x",
            "utils/b.py": "from utils.c import x",
            "utils/c.py": "def late():\n    from utils import a",
        },
    ],
)
def test_a_circle_is_seen(tmp_path, files):
    assert len(circles(import_graph(project(tmp_path, files)))) == 1


def test_a_straight_line_is_no_circle(tmp_path):
    files = {"utils/a.py": "from utils import b, c", "utils/b.py": "import utils.c"}
    files["utils/c.py"] = "from os import path"
    graph = import_graph(project(tmp_path, files))
    assert circles(graph) == []
    assert graph["utils.a"] == {"utils.b", "utils.c"}
