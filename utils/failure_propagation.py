"""One process's failure ends all that work together, and one of them says why."""

from __future__ import annotations

import atexit
import os
import threading

from torch.distributed import Store

from utils import errors

_WATCH_SECONDS = 0.5
_PATIENCE_SECONDS = 10.0  # with a store that does not answer
_FAILED, _FAILED_CODE = "program_failed", "program_failed_code"


def share_fate(store: Store) -> None:
    """From here on a failure of any process that holds ``store`` ends this one.

    It is ended wherever it waits, with the exit code of the one that failed first; that one alone
    speaks.
    """
    errors.ask_before_speaking(lambda code: _is_first_to_fail(store, code))
    leaving = threading.Event()
    watcher = threading.Thread(target=_watch, args=(store.clone(), leaving), daemon=True)
    watcher.start()
    atexit.register(_stop, watcher, leaving)


def _is_first_to_fail(store: Store, code: int) -> bool:
    try:
        first = store.add(_FAILED, 1) == 1
        if first:
            store.set(_FAILED_CODE, str(code))
    except RuntimeError:  # whoever kept the store is gone, perhaps without a word
        return True
    return first


def _stop(watcher: threading.Thread, leaving: threading.Event) -> None:
    # A thread that is inside the store when Python shuts down aborts the whole process.
    leaving.set()
    watcher.join(_PATIENCE_SECONDS)


def _watch(store: Store, leaving: threading.Event) -> None:
    try:
        while not store.check([_FAILED_CODE]):
            if leaving.wait(_WATCH_SECONDS):
                return
        code = int(store.get(_FAILED_CODE))
    except RuntimeError:  # the store closes when the program ends
        return
    if not leaving.wait(2 * _WATCH_SECONDS):  # else this one is on its way out by itself
        os._exit(code)
