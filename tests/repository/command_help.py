"""What a script prints for ``--help``, without a process of its own."""

from __future__ import annotations

import contextlib
import importlib
import io
from functools import cache


@cache
def help_of(script: str) -> str:
    """The help of a script, named as ``pre_process/extract_samples.py``."""
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            module.main(["--help"])  # torch's ``record`` returns where others exit with 0
        except SystemExit as end:
            assert end.code == 0, script
    assert printed.getvalue().startswith("usage: "), script
    return printed.getvalue()
