"""A folder of results that belongs to one run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import UserError
from utils.files import remove_parts
from utils.run_folder import sole_writer

_RESULTS = (
    "frame_scores*.csv", "cube_scores*.csv", "annotated*.mkv", "alarms.json*", "metrics.json",
    "report.html", "annotated/*.mp4",
)  # fmt: skip


@contextmanager
def claimed_folder(folder: Path, overwrite: bool) -> Iterator[None]:
    """Hold a folder for this process, without results of an earlier run in it.

    Args:
        folder: made where it is missing.
        overwrite: remove the results of an earlier run; other files are left alone.

    Raises:
        UserError: another run writes there now, or there are results and ``overwrite`` is false.
        OSError: the folder cannot be made or written to.
    """
    with sole_writer(folder):
        old = [path for pattern in _RESULTS for path in folder.glob(pattern)]
        if old and not overwrite:
            raise UserError(
                f"{folder}: holds the results of an earlier run ({old[0].name}, ...); pass "
                "--overwrite to replace them, or another --output"
            )
        for path in old:
            path.unlink()
        for each in (folder, folder / "annotated"):
            remove_parts(each)
        yield
