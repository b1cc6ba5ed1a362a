"""Videos of a run one after the other: each is scored once and known at once, also when stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from inference.faults import take_readable
from inference.fitting import Recording, UnreadableVideo
from inference.job import Job, Scored
from inference.results.finished import FinishedVideos
from inference.results.running_tables import RunningTables
from inference.video_cubes import VideoResult
from pre_process.cubes.settings import source_fingerprint
from utils.console import echo
from utils.progress import ProgressBar
from utils.runtime import old_objects_set_aside

# Scores a video, draws it, cuts clips of its alarms; its second argument gets numbers of frames.
ScoreOne = Callable[[Recording, Callable[[int], object]], VideoResult]


def score_one_by_one(
    job: Job,
    recordings: Sequence[Recording],
    score_one: ScoreOne,
    faults: list[str] | None,
    finished: FinishedVideos,
) -> Scored:
    """Every video once, or not again; what is known of it is written as soon as it is scored.

    Args:
        job: the run.
        recordings: the videos.
        score_one: scores one of them.
        faults: see ``take_readable``.
        finished: those that an interruption left, and where new ones are kept.

    Raises:
        UserError: a video that cannot be read to its end, where ``faults`` does not take it.
    """
    finished.begin()
    tables = RunningTables(job.output, job.evaluate, job.rule)
    total = sum(each.entry.num_frames for each in recordings)
    with ProgressBar(total=total, desc="scoring", unit="frame", mininterval=1.0) as bar:

        def score(recording: Recording) -> tuple[Recording, VideoResult]:
            name, source = recording.entry.name, _identity(recording)
            result = finished.get(name, source)
            if result is None:
                result = score_one(recording, bar.update)
                finished.keep(result, source)
            else:
                bar.total -= len(result.seconds)
            tables.add(result, recording.fps)
            return recording, result

        with old_objects_set_aside():
            scored = take_readable(recordings, score, faults, UnreadableVideo)
    took = f"in {bar.format_dict['elapsed']:.1f} s"
    echo(f"{bar.n} frames, {job.count([result for _, result in scored])} {took}")
    return scored


def _identity(recording: Recording) -> dict[str, Any]:
    """What tells a video from another of its name, and from the same in another size or rate."""
    entry = recording.entry
    size = {"width": entry.width, "height": entry.height, "fps": recording.fps}
    original = getattr(entry, "original", entry)
    return {**source_fingerprint(original), **size, "source": str(entry.source)}
