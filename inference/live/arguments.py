"""What ``--live`` can be told on the command line."""

from __future__ import annotations

import argparse

from utils.console import count, positive


def add_live_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--live`` and what belongs to it."""
    add = parser.add_argument_group("live").add_argument
    add("--live", action="store_true",
        help="judge frames as they come, never looking ahead; a video is played at its own speed; "
        "Ctrl-C ends it")  # fmt: skip
    add("--max_delay", type=positive, default=2.0, metavar="SECONDS",
        help="drop frames that wait longer; inf drops none (default: %(default)s)")  # fmt: skip
    add("--give_up_after", type=positive, default=300.0, metavar="SECONDS",
        help="end when the camera is gone for so long (default: %(default)s)")  # fmt: skip
    add("--part_minutes", type=positive, default=60.0, metavar="M",
        help="begin new tables and a new video so often (default: %(default)s)")  # fmt: skip
    add("--keep_parts", type=count, default=24, metavar="N",
        help="remove older parts; 0 keeps all (default: %(default)s)")  # fmt: skip
