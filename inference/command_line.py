"""Groups of the command line of ``infer.py``: thresholds, live use, who hears of alarms."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from evaluation.calibration import Rate
from inference.live.server.serve import serving
from inference.live.server.state import LiveState
from utils.console import count, echo, finite, positive
from utils.errors import UserError


def add_threshold_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--threshold`` and the rates; at most one of them may be given."""
    group = parser.add_argument_group(
        "threshold", "default: the checkpoint's own, calibrated on its training videos"
    )
    add = group.add_mutually_exclusive_group().add_argument
    add("--threshold", type=finite, dest="wanted", help="alarm from this score on")
    add("--false_alarms_per_hour", type=Rate.per_hour, dest="wanted", metavar="R",
        help="the threshold that gave R alarms per hour of normal training video")  # fmt: skip
    add("--false_frames_per_thousand", type=Rate.per_thousand, dest="wanted", metavar="R",
        help="the threshold that R of 1000 normal training frames reached")  # fmt: skip


def add_live_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--live`` and what goes with it."""
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
    add("--webhook", action="append", default=[], metavar="URL",
        help="post every start and end of an alarm there, as JSON; may be given again")  # fmt: skip
    add("--on_alarm", action="append", default=[], metavar="COMMAND",
        help="run this command line at every start and end of an alarm, which it gets as JSON on "
        "its standard input and as $ALARM_EVENT, $ALARM_ID, ...; may be given again")  # fmt: skip


def add_page_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--serve`` and who may look."""
    add = parser.add_argument_group("page to watch a live run by").add_argument
    add("--serve", type=_port, metavar="PORT", help="serve it there; 0: at any free port")
    add("--host", default="127.0.0.1", metavar="ADDRESS",
        help="of this machine; 0.0.0.0: all of its own (default: %(default)s, which only it "
        "itself reaches)")  # fmt: skip
    add("--token", metavar="TEXT",
        help="asked of every viewer; made anew for each run where the page can be reached from "
        "elsewhere and none is given")  # fmt: skip


@contextlib.contextmanager
def page(arguments: argparse.Namespace, folder: Path, name: str) -> Iterator[LiveState | None]:
    """Serve the page that the command line asks for, if it does, until the end of the block.

    Yields:
        What the page shows.

    Raises:
        UserError: the port is in use, or the host is not this machine's.
    """
    if arguments.serve is None:
        yield None
        return
    state = LiveState(name)
    with serving(state, folder, arguments.host, arguments.serve, arguments.token) as address:
        echo(f"page: {address}")
        yield state


def _port(text: str) -> int:
    if count(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: ports go up to 65535")
    return int(text)


def require_live(arguments: argparse.Namespace) -> None:
    """Refuse options that mean nothing without ``--live``, rather than do nothing about them.

    Raises:
        UserError: naming the first one.
    """
    for name in ("webhook", "on_alarm"):
        if getattr(arguments, name) and not arguments.live:
            raise UserError(f"--{name} tells of alarms as they come: add --live")
    if arguments.serve is not None and not arguments.live:
        raise UserError("--serve shows a run as it goes: add --live; else see its report.html")
    if arguments.token is not None and not re.fullmatch(r"[A-Za-z0-9._~-]{8,}", arguments.token):
        raise UserError("--token: at least 8 letters, digits or . _ ~ - are needed")
