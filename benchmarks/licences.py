"""List what the project depends on, directly and further down, with versions and licences.

python -m benchmarks.licences > docs/dependencies.md
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def direct_names() -> set[str]:
    """Packages that the requirement files name."""
    names = set()
    for file in ("requirements.txt", "requirements-mqtt.txt", "requirements-dev.txt"):
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
            found = re.match(r"[A-Za-z][\w.-]*", line)
            names |= {normal(found.group())} if found else set()
    return names


def with_dependencies(names: set[str]) -> dict[str, metadata.Distribution]:
    """The installed packages among ``names`` and all that they need here."""
    found: dict[str, metadata.Distribution] = {}
    waiting = sorted(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # of another system or Python
        needed = [each for each in found[name].requires or [] if "extra ==" not in each]
        waiting += [normal(re.match(r"[\w.-]+", each).group()) for each in needed]
    return found


def licence(package: metadata.Distribution) -> str:
    """As the package's metadata states it, on one line."""
    fields = package.metadata
    classifiers = [
        each.split(" :: ")[-1]
        for each in fields.get_all("Classifier") or []
        if each.startswith("License ::") and not each.endswith("OSI Approved")
    ]
    text = fields.get("License-Expression") or "; ".join(classifiers) or fields.get("License") or ""
    return text.strip().splitlines()[0][:80] if text.strip() else "not stated"


def normal(name: str) -> str:
    """Package names are the same whatever their case and dashes."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Print a Markdown table."""
    direct = direct_names()
    rows = [
        f"| {name} | {package.version} | {licence(package)} | {'yes' if name in direct else ''} |"
        for name, package in sorted(with_dependencies(direct).items())
    ]
    head = "# Dependencies and their licences\n\nMade by `make licences` from the installed "
    head += "packages' own metadata; versions are those of the machine it ran on.\n\n"
    table = "| package | version | licence | named by us |\n|---|---|---|---|\n"
    sys.stdout.write(head + table + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
