"""The report of a live run: one HTML file, written again and again from a bounded summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.alarms import AlarmStats, verdict
from evaluation.evaluate import Threshold
from inference.live.peak_curve import PeakCurve
from visualization import plots
from visualization.report import data_uri, load_template, shown_cube
from visualization.thumbnails import CubePictures


@dataclass(frozen=True)
class AlarmPicture:
    """What an alarm looked like: the frame with the box, the cube's pictures, and why.

    A frame that is scored as a whole has no box, cube or reason.
    """

    alarm: Mapping[str, Any]
    still: bytes
    cube: CubePictures | None
    why: str = ""


def render_live_report(
    title: str,
    facts: Mapping[str, str],
    threshold: Threshold | None,
    stats: AlarmStats,
    curve: PeakCurve,
    alarms: Sequence[Mapping[str, Any]],
    pictures: Sequence[AlarmPicture],
) -> str:
    """Render the report.

    Args:
        title: heading.
        facts: of the run, name -> text.
        threshold: of the alarms, if there is one.
        stats: the rate of alarms.
        curve: highest scores over time.
        alarms: the last ones, as they stand in ``alarms.json``.
        pictures: of the last ones.

    Returns:
        HTML with all pictures inside it and no script. All texts are escaped.
    """
    frames, scores = curve.points()
    drawn = None
    if len(frames):
        value = threshold.value if threshold else None
        drawn = data_uri(plots.peak_picture(frames, scores, value), "png")
    return load_template("live.html.j2").render(
        title=title,
        facts=facts,
        threshold=threshold,
        alarm_rate=stats.describe(),
        verdict=verdict(threshold, stats, float(np.nanmax(scores)) if len(scores) else None),
        curve=drawn,
        frames_per_bin=curve.frames_per_bin,
        raised=list(alarms),
        pictures=[
            {
                "alarm": each.alarm,
                "still": data_uri(each.still, "jpeg"),
                **shown_cube(each.cube),
                "why": each.why,
                "clip": next((a["clip"] for a in alarms if a["id"] == each.alarm["id"]), None),
            }
            for each in reversed(pictures)
        ],
    )
