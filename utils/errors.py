"""Errors a user can act on, and the one place where a script turns them into an exit code."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable


class UserError(Exception):
    """Something outside the program is wrong: a file, a key, a value.

    The message names the file or key, what is wrong, what is allowed and what to do. Scripts
    print it without a traceback and exit with code 2.
    """


def exit_on_user_error(main: Callable[..., None]) -> Callable[..., None]:
    """Wrap a script's ``main``: ``UserError`` ends it with code 2, Ctrl-C with code 130."""

    @functools.wraps(main)
    def guarded(*args, **kwargs) -> None:
        try:
            main(*args, **kwargs)
        except UserError as error:
            sys.stderr.write(f"error: {error}\n")
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            sys.stderr.write("interrupted; what was finished is kept, run again to go on\n")
            raise SystemExit(130) from None
        except OSError as error:
            if error.errno is None:
                raise
            sys.stderr.write(f"error: {describe_os_error(error)}\n")
            raise SystemExit(2) from None

    return guarded


def describe_os_error(error: OSError) -> str:
    """One line for a failed file operation: which file, what the system said, what to do."""
    import errno

    remedies = {
        errno.ENOSPC: "free some space and run the same command again; finished parts are kept",
        errno.EACCES: "check the permissions or choose another folder",
        errno.EROFS: "the folder is read-only; choose another one",
        errno.ENOENT: "check the path",
    }
    where = f"{error.filename}: " if error.filename else ""
    remedy = remedies.get(error.errno, "mend that and run the same command again")
    return f"{where}{error.strerror}; {remedy}"
