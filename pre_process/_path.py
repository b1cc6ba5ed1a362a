"""Imported by this folder's scripts when run as files: their imports start at the project's root.

``python pre_process/SCRIPT.py`` puts this folder at the front of the module path, where the
project's packages are not; ``python -m pre_process.SCRIPT`` needs nothing.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
