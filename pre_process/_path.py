"""Imported by this folder's scripts when run as files: their imports start at the project's root.

``python pre_process/SCRIPT.py`` puts this folder at the front of the module path, where the
project's packages are not; ``python -m pre_process.SCRIPT`` needs nothing. The folder itself stays
behind the root: worker processes get this module path and import the script once more.
"""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parent.parent)

if sys.path[0] != ROOT:
    sys.path.insert(0, ROOT)
