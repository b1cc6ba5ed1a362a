"""Errors a user can act on, and the one place where a script turns them into an exit code."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from utils.untrusted.addresses import without_secrets
from utils.untrusted.text import printable, shortened

_LONGEST_LINE = 2000  # characters of a message; paths may have many
_RESUME = "what was finished is kept; run the same command again to resume\n"


class UserError(Exception):
    """Something outside the program is wrong: a file, a key, a value.

    The message names the file or key, what is wrong, what is allowed and what to do. Scripts
    print it without a traceback and exit with code 2.
    """


def _end(message: str, code: int) -> NoReturn:
    """Values from outside, which messages repeat, may be of any length; a line is not."""
    lines = (shortened(line, _LONGEST_LINE) for line in printable(message).splitlines())
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()
    raise SystemExit(code) from None


def exit_on_user_error(main: Callable[..., None]) -> Callable[..., None]:
    """Wrap a script's ``main``: ``UserError`` ends it with code 2, Ctrl-C with code 130.

    SIGTERM ends it as Ctrl-C does, with code 143, where the script does not handle it itself.
    """

    @functools.wraps(main)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            with _tidy_on_sigterm():
                main(*args, **kwargs)
        except UserError as error:
            _end(f"error: {error}\n", 2)
        except KeyboardInterrupt:
            _end(
                f"interrupted; {_RESUME}",
                130,
            )
        except _Terminated:
            _end(f"terminated; {_RESUME}", 143)
        except OSError as error:
            if error.errno is None:
                raise
            _end(f"error: {describe_os_error(error)}\n", 2)

    return guarded


def finish_all(*steps: Callable[[], None]) -> None:
    """Run every step, also after one that failed; then raise the first fault.

    Raises:
        OSError, UserError: of the first step that failed so.
    """
    faults: list[Exception] = []
    for step in steps:
        try:
            step()
        except (OSError, UserError) as fault:
            faults.append(fault)
    if faults:
        raise faults[0]


class _Terminated(BaseException):
    """SIGTERM came; as with ``KeyboardInterrupt``, half-written files are removed on the way."""


@contextlib.contextmanager
def _tidy_on_sigterm() -> Iterator[None]:
    """By default SIGTERM ends a process at once, with its temporary files left behind."""

    def end(*_: object) -> None:
        raise _Terminated

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def describe_os_error(error: OSError) -> str:
    """One line for a failed file operation: which file, what the system said, what to do."""
    import errno

    remedies = {
        errno.EDQUOT: "free some of your space and run the same command again; finished parts are "
        "kept",
        errno.EFBIG: "a limit of the file system, or of 'ulimit -f', is in the way; lift it and "
        "run the same command again; finished parts are kept",
        errno.ENOSPC: "free some space and run the same command again; finished parts are kept",
        errno.EACCES: "check the permissions or choose another folder",
        errno.EROFS: "the folder is read-only; choose another one",
        errno.ENOENT: "check the path",
        errno.ENAMETOOLONG: "give the video or folder a shorter name",
    }
    where = f"{without_secrets(str(error.filename))}: " if error.filename else ""
    remedy = remedies.get(error.errno or 0, "mend that and run the same command again")
    return f"{where}{error.strerror}; {remedy}"
