"""Groups of the command line of ``infer.py``: thresholds, live use, who hears of alarms."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.scoring.build import BACKENDS
from evaluation.calibration import Rate
from inference.fitting import Fitting
from inference.live.mqtt import mqtt
from inference.live.notify import Listener, command, webhook
from inference.live.server.serve import serving
from inference.live.server.state import LiveState
from utils.console import count, echo, finite, frame_rate, positive
from utils.errors import UserError
from utils.files import digest, sha256_file
from utils.runtime import provenance


def parse_arguments(argv: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """The command line of ``infer.py``, refused where options do not go together."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, type=Path, help="a stage's last.pth, or a run's folder")
    add("--source", required=True, help="video, folder, camera number or stream address")
    add("--output", type=Path, help="folder of the results; default: infer/NAME beside the model")
    add("--overwrite", action="store_true", help="replace the results of an earlier run there")
    add("--backend", choices=BACKENDS, default="auto",
        help="auto: openvino on a CPU, torch on a GPU; onnx: see export_onnx.py")  # fmt: skip
    add("--device", help="auto, cpu, cuda or cuda:N; default: as in the checkpoint")
    add("--no_video", action="store_true", help="write no annotated video")
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="override data, run, eval, alarms or pre_process of the checkpoint's configuration, "
        "for example --set pre_process.boxes.backend=motion")  # fmt: skip
    add_video_arguments(parser)
    add_threshold_arguments(parser)
    add_live_arguments(parser)
    add_page_arguments(parser)
    arguments = parser.parse_args(argv)
    require_live(arguments)
    return arguments


def add_threshold_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--threshold`` and the rates; at most one of them may be given."""
    group = parser.add_argument_group(
        "threshold", "default: the checkpoint's own, calibrated on its training videos"
    )
    add = group.add_mutually_exclusive_group().add_argument
    add("--threshold", type=finite, dest="alarm_level", help="alarm from this score on")
    add("--false_alarms_per_hour", type=Rate.per_hour, dest="alarm_level", metavar="R",
        help="the threshold that gave R alarms per hour of normal training video")  # fmt: skip
    add("--false_frames_per_thousand", type=Rate.per_thousand, dest="alarm_level", metavar="R",
        help="the threshold that R of 1000 normal training frames reached")  # fmt: skip


def add_video_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is said of the source's rate and size."""
    add = parser.add_argument_group("rate and size of the source").add_argument
    add("--fps", type=frame_rate, help="frames per second; default: as the source tells")
    add("--any_rate", action="store_true",
        help="score a source of another rate than the training videos as it is")  # fmt: skip
    add("--max_side", type=count, metavar="N",
        help="make pictures smaller whose longer side is above N pixels, such as 1280 for 4K; "
        "a model that knows the size of its training videos scales to it by itself")  # fmt: skip


def fitting(checkpoint: Mapping[str, Any], arguments: argparse.Namespace) -> Fitting:
    """What a source is made like before this checkpoint scores it."""
    return Fitting.of(checkpoint, arguments.max_side, arguments.any_rate)


def settings_of_run(config: Any, arguments: argparse.Namespace) -> str:
    """What the results of whole videos depend on, beside the videos themselves, as a short hash."""
    names = ("alarm_level", "fps", "any_rate", "max_side", "no_video", "backend", "device")
    options = {name: getattr(arguments, name) for name in names}
    model = sha256_file(arguments.model)
    return digest([model, config.model_dump(mode="json"), options, provenance()["git_revision"]])


def add_live_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--live`` and what goes with it."""
    add = parser.add_argument_group("live").add_argument
    add("--live", action="store_true",
        help="score frames as they come, never looking ahead; a video is played at its own speed; "
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
    add("--mqtt", action="append", default=[], metavar="mqtt://HOST:1883/TOPIC",
        help="publish it at a broker, as JSON; needs paho-mqtt; may be given again")  # fmt: skip
    add("--on_alarm", action="append", default=[], metavar="COMMAND",
        help="run this command line at every start and end of an alarm, which it gets as JSON on "
        "its standard input and as $ALARM_EVENT, $ALARM_ID, ...; may be given again")  # fmt: skip


def listeners(arguments: argparse.Namespace) -> list[Listener]:
    """All who hear of alarms.

    Raises:
        UserError: an address that is none, or a package that is missing.
    """
    return [
        *map(webhook, arguments.webhook),
        *map(mqtt, arguments.mqtt),
        *map(command, arguments.on_alarm),
    ]


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
    for name in ("webhook", "mqtt", "on_alarm"):
        if getattr(arguments, name) and not arguments.live:
            raise UserError(f"--{name} tells of alarms as they come: add --live")
    if arguments.serve is not None and not arguments.live:
        raise UserError("--serve shows a run as it goes: add --live; else see its report.html")
    if arguments.token is not None and not re.fullmatch(r"[A-Za-z0-9._~-]{8,}", arguments.token):
        raise UserError("--token: at least 8 letters, digits or . _ ~ - are needed")
