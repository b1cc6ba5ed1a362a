"""What the plan of the house says of files and folders, as functions of a project's root."""

from __future__ import annotations

import ast
from pathlib import Path

LONGEST_SCRIPT, LONGEST_FILE, LARGEST_FOLDER = 120, 250, 15
_NOT_PRODUCT = {"tests", "benchmarks"}


def rooms(root: Path) -> list[Path]:
    """Every top-level package of the product, whatever its name."""
    folders = (path for path in root.iterdir() if path.is_dir() and path.name[0].isalpha())
    return sorted(
        path for path in folders if path.name not in _NOT_PRODUCT and any(path.glob("*.py"))
    )


def scripts(root: Path) -> list[str]:
    """The user's programs, as ``python`` is told of them."""
    files = [*root.glob("*.py"), *root.glob("pre_process/*.py")]
    runs = (path for path in files if '__name__ == "__main__"' in path.read_text(encoding="utf-8"))
    return sorted(path.relative_to(root).as_posix() for path in runs)


def long_files(root: Path) -> list[str]:
    """Files of rooms and scripts with more lines than they may have."""
    limits = dict.fromkeys(root.glob("*.py"), LONGEST_SCRIPT)
    limits |= dict.fromkeys(_files(root), LONGEST_FILE)
    limits |= {root / script: LONGEST_SCRIPT for script in scripts(root)}
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in limits}
    return [
        f"{path.relative_to(root)}: {lengths[path]} lines, at most {limit} are allowed"
        for path, limit in limits.items()
        if lengths[path] > limit
    ]


def crowded_folders(root: Path) -> list[str]:
    """Folders with more modules than one subject has."""
    counts = {
        folder: sum(path.name != "__init__.py" for path in folder.glob("*.py"))
        for folder in _folders(root)
    }
    return [
        f"{folder.relative_to(root)}: {count} files, at most {LARGEST_FOLDER} are allowed"
        for folder, count in counts.items()
        if count > LARGEST_FOLDER
    ]


def silent_packages(root: Path) -> list[str]:
    """Packages whose ``__init__.py`` is missing or does not say what lives there."""
    return [str(each.relative_to(root)) for each in _folders(root) if not _docstring(each)]


def _files(root: Path) -> list[Path]:
    return [path for room in rooms(root) for path in sorted(room.rglob("*.py"))]


def _folders(root: Path) -> list[Path]:
    return sorted({path.parent for path in _files(root)})


def _docstring(folder: Path) -> str | None:
    path = folder / "__init__.py"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return ast.get_docstring(ast.parse(text))
