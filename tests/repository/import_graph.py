"""Which module of the project imports which, read from the source."""

from __future__ import annotations

import ast
from pathlib import Path

# From the ground up: a room imports from itself and from rooms of lower floors.
FLOORS = (
    {"utils"},
    {"models", "losses", "datasets", "evaluation"},
    {"engine", "visualization"},
    {"published"},
    {"pre_process", "ml_memAE_sc_train", "train", "finetune", "density_fit", "frd_train"},
    {"inference"},
    {"eval", "frd_eval", "infer", "export_onnx", "fit", "frd_fit"},
    {"benchmarks"},
)
# Neighbours on one floor that may look at each other, in this direction only.
NEIGHBOURS: dict[str, set[str]] = {}
OUTSIDE = {"tests"}

Graph = dict[str, set[str]]


def import_graph(root: Path) -> Graph:
    """Every module below ``root`` (tests excepted) with the project's modules that it imports.

    A module is named as Python names it; ``import a.b``, ``from a.b import x``, ``from a import b``
    and ``from .b import x`` count alike, wherever they stand in the file, and so does
    ``import_module("a.b")``.
    """
    folders = [path for path in root.iterdir() if path.is_dir() and path.name.isidentifier()]
    paths = [*root.glob("*.py"), *(path for folder in folders for path in folder.rglob("*.py"))]
    modules = {_name(path.relative_to(root)): path for path in paths}
    modules = {name: path for name, path in modules.items() if name.split(".")[0] not in OUTSIDE}
    return {name: _imports(name, path, set(modules)) - {name} for name, path in modules.items()}


def upward_imports(graph: Graph) -> list[str]:
    """What breaks the order of rooms, in words."""
    floors = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    faults = []
    for module, imported in sorted(graph.items()):
        room = module.split(".")[0]
        if room not in floors:
            faults.append(f"{module}: the package '{room}' has no place in the order of rooms")
            continue
        for other in sorted(imported):
            below = other.split(".")[0]
            allowed = below == room or below in NEIGHBOURS.get(room, ())
            if not allowed and floors.get(below, len(FLOORS)) >= floors[room]:
                faults.append(f"{module} imports {other}")
    return faults


def circles(graph: Graph) -> list[str]:
    """Groups of modules that import each other, each as one line."""
    reached = {module: _reachable(graph, module) for module in graph}
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in graph
        if module in reached[module]
    }
    return [" <-> ".join(group) for group in sorted(groups)]


def _name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _imports(name: str, path: Path, modules: set[str]) -> set[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = _source(node, package)
            inner = {f"{source}.{alias.name}" for alias in node.names}
            imported |= {each if each in modules else source for each in inner}
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            imported |= {each.value for each in node.args if isinstance(each, ast.Constant)}
    return imported & modules


def _source(node: ast.ImportFrom, package: str) -> str:
    """The module that ``from`` names, dots resolved."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1]
    return ".".join([*above, *filter(None, [node.module])])


def _reachable(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting.extend(graph.get(module, ()))
    return seen
