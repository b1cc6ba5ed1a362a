"""Videos that cannot be scored: one of many costs itself and not the others."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from utils.errors import UserError
from utils.untrusted.text import printable

logger = logging.getLogger(__name__)

_EXIT_CODE = 3  # some videos were scored and some could not be

Item = TypeVar("Item")
Result = TypeVar("Result")


def take_readable(
    items: Iterable[Item],
    read: Callable[[Item], Result],
    faults: list[str] | None,
    kind: type[UserError] = UserError,
) -> list[Result]:
    """The results of ``read`` for all items for which it gives one.

    Args:
        items: files or videos.
        read: raises ``kind`` where one is of no use.
        faults: gets the messages of those; ``None``: the first one is raised.
        kind: of error that is a fault of the item; others are raised.

    Raises:
        UserError: the first fault, where there is no list for them or nothing is left.
    """
    results, found = [], []
    for item in items:
        try:
            results.append(read(item))
        except kind as error:
            if faults is None:
                raise
            found.append(error)
            logger.warning("left out: %s", error)
    if found and not results:
        raise found[0]
    if faults is not None:
        faults += map(str, found)
    return results


def end_with_faults(faults: Sequence[str]) -> None:
    """End the program with code 3 and name what was left out, if anything was."""
    if not faults:
        return
    # What to do about each was said when it was met.
    lines = "".join(f"  {re.split('[;.] ', each)[0]}\n" for each in faults)
    sys.stderr.write(printable(f"{len(faults)} left out, all others were scored:\n{lines}"))
    raise SystemExit(_EXIT_CODE)
