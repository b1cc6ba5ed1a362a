"""Tell others of alarms: a webhook, a command. In threads of their own: watching never waits.

An MQTT broker: ``inference.live.mqtt``.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from utils.errors import UserError
from utils.untrusted.addresses import is_possible, without_secrets
from utils.untrusted.text import shortened

logger = logging.getLogger(__name__)

Record = Mapping[str, Any]
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts
_GIVE_UP_AFTER = 600.0  # seconds of attempts for one alarm
_MOST_WAITING = 256  # older ones are left out
_TIMEOUT = 10.0  # seconds for an answer
_COMMAND_TIMEOUT = 60.0
_LAST_SECONDS, _LAST_PAUSE = 5.0, 0.2  # for what waits when the run ends
_TRY_LATER = (408, 425, 429)


class Refused(Exception):
    """The other side does not want this, now or later."""


class Listener(Protocol):
    """Hears of alarms; see ``inference.live.alarm_log`` for what a record holds."""

    def tell(self, record: Record) -> None: ...

    def close(self) -> None: ...


class Outbox:
    """Delivers records one after the other, in order, and again when that fails.

    Args:
        name: for messages.
        deliver: raises ``Refused`` for good, or ``OSError`` for now.
    """

    def __init__(self, name: str, deliver: Callable[[Record], None]) -> None:
        self._name, self._deliver = name, deliver
        self._waiting: deque[Record] = deque(maxlen=_MOST_WAITING)
        self._changed = threading.Condition()
        self._closing, self._end = threading.Event(), math.inf
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def tell(self, record: Record) -> None:
        """Deliver a record as soon as that works; returns at once."""
        with self._changed:
            if len(self._waiting) == _MOST_WAITING:
                logger.warning("%s: does not keep up; the oldest message is left out", self._name)
            self._waiting.append(dict(record))
            self._changed.notify()

    def close(self) -> None:
        """Deliver what waits, for some seconds; say when not all of it was."""
        self._end = time.monotonic() + _LAST_SECONDS
        self._closing.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(_LAST_SECONDS)
        if self._thread.is_alive():
            logger.warning("%s: messages of alarms were not delivered before the end", self._name)
        with self._changed:
            self._waiting.clear()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
                if not self._waiting:
                    return
                record = self._waiting.popleft()
            self._insist(record)

    def _insist(self, record: Record) -> None:
        began, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            try:
                return self._deliver(record)
            except Refused as error:
                return logger.warning("%s: not delivered: %s", self._name, error)
            except OSError as error:
                if time.monotonic() - began + pause > _GIVE_UP_AFTER:
                    return logger.warning("%s: not delivered: %s; given up", self._name, error)
                if pause == _FIRST_PAUSE:
                    logger.warning("%s: %s; trying again", self._name, error)
            if self._closing.wait(pause):  # the last attempts come quickly
                time.sleep(_LAST_PAUSE)
                if time.monotonic() > self._end:
                    return None
            pause = min(2 * pause, _LONGEST_PAUSE)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An alarm goes where it was addressed to and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def webhook(address: str) -> Outbox:
    """Posts each record as JSON to an address.

    Args:
        address: http or https; user and password in it are sent as basic authentication.

    Raises:
        UserError: another kind of address.
    """
    shown = without_secrets(address)
    try:
        parts = urllib.parse.urlsplit(address)
        is_usable = parts.scheme in ("http", "https") and is_possible(address)
    except ValueError:  # of a port that is no number
        is_usable = False
    if not is_usable:
        shown = shortened(shown, 200)
        raise UserError(f"--webhook {shown}: must be an address http://... or https://...")
    headers = {"Content-Type": "application/json", "User-Agent": "video-anomaly-detection"}
    if parts.username:
        secret = urllib.parse.unquote(f"{parts.username}:{parts.password or ''}")
        headers["Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"
    target = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    opener = urllib.request.build_opener(_NoRedirect)

    def post(record: Record) -> None:
        request = urllib.request.Request(target, json.dumps(record).encode(), headers)
        try:
            opener.open(request, timeout=_TIMEOUT).close()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in _TRY_LATER:
                raise Refused(f"answered {error.code} {error.reason}") from None
            raise OSError(f"answered {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise OSError(f"no answer ({error.reason})") from None
        except Exception as error:  # http.client's own, for answers that are not HTTP
            raise OSError(f"no answer ({type(error).__name__})") from None

    return Outbox(f"webhook {shown}", post)


def command(line: str) -> Outbox:
    """Runs a command line for each record, which it gets as JSON on its standard input.

    ``ALARM_EVENT``, ``ALARM_ID``, ``ALARM_VIDEO``, ``ALARM_SCORE``, ``ALARM_TIME`` and
    ``ALARM_CLIP`` are in its environment; nothing of an alarm is put into the line itself.
    """

    def run(record: Record) -> None:
        names = {"EVENT": "event", "ID": "id", "VIDEO": "video", "SCORE": "peak_score",
                 "TIME": "start_time", "CLIP": "clip"}  # fmt: skip
        variables = {f"ALARM_{name}": str(record.get(key) or "") for name, key in names.items()}
        process = subprocess.Popen(
            line, shell=True, stdin=subprocess.PIPE, text=True, env=os.environ | variables,
            start_new_session=True,  # Ctrl-C ends the watching, not what an alarm began
        )  # fmt: skip
        try:
            process.communicate(json.dumps(record) + "\n", timeout=_COMMAND_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise Refused(f"killed after {_COMMAND_TIMEOUT:.0f} s without an end") from None
        if process.returncode:
            raise Refused(f"ended with code {process.returncode}")

    return Outbox("--on_alarm", run)
