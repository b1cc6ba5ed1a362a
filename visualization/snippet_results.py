"""What is printed and drawn of snippet scores beside the common report."""

from __future__ import annotations

import math
from pathlib import Path

from evaluation.evaluate import Evaluation
from utils.files import atomic_path
from visualization.plots import video_picture
from visualization.report import percent


def rates_table(evaluation: Evaluation) -> str:
    """The numbers that the papers on these features print beside the AUC, as text."""
    if evaluation.labels is None or evaluation.threshold is None:
        return ""
    metrics, alarms = evaluation.primary.metrics, evaluation.alarms
    return (
        f"videos with an anomaly only: AUC {_rate(metrics['auc_abnormal_videos'])}\n"
        f"false-alarm rate at {evaluation.threshold.value:g}: all videos "
        f"{_rate(alarms['false_alarm_rate'])}, videos with an anomaly "
        f"{_rate(alarms['false_alarm_rate_abnormal_videos'])}"
    )


def _rate(value: float) -> str:
    return "n/a (undefined)" if math.isnan(value) else f"{percent(value)} %"


def write_curves(folder: Path, evaluation: Evaluation) -> None:
    """One picture a video, ``VIDEO.png``: its scores over time, labelled intervals shaded."""
    folder.mkdir(parents=True, exist_ok=True)
    for video, scores in enumerate(evaluation.primary.scores):
        labels = None if evaluation.labels is None else evaluation.labels[video]
        threshold = evaluation.threshold.value if evaluation.threshold else None
        picture = video_picture(scores, scores, labels, threshold)
        with atomic_path(folder / f"{evaluation.cubes.videos[video]}.png") as temporary:
            temporary.write_bytes(picture)
