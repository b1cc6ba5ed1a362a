"""One HTML file that shows an evaluation and needs nothing else to be opened."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from evaluation.evaluate import Evaluation
from evaluation.highlights import Highlight, error_rate, video_auc
from evaluation.remarks import has_interval, is_inverted, remarks
from utils.console import duration
from visualization import plots
from visualization.gallery import Gallery, Highlights
from visualization.reasons import why
from visualization.thumbnails import CubePictures

_TEMPLATES = Path(__file__).parent / "templates"
_BASELINES = {
    "energy": "the largest squared flow in a box",
    "feature_norm": "the squared length of a snippet's feature",
}


def curve_pictures(evaluation: Evaluation) -> dict[str, bytes]:
    """``roc`` and ``precision_recall`` as PNG; empty without labels of both classes."""
    if evaluation.labels is None:
        return {}
    labels = np.concatenate(evaluation.labels)
    if not plots.is_drawable(labels):
        return {}
    scores = {name: np.concatenate(each.scores) for name, each in evaluation.branches.items()}
    return {
        "roc": plots.roc_picture(scores, labels),
        "precision_recall": plots.precision_recall_picture(scores, labels),
    }


def render_report(
    evaluation: Evaluation,
    title: str,
    facts: Mapping[str, Any],
    highlights: Highlights,
    gallery: Gallery,
    pictures: Mapping[str, bytes],
    ablation: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Render the report.

    Args:
        evaluation: what to show; without labels there are scores only.
        title: heading, such as the data set's name.
        facts: where the result comes from, name -> text, number or another such mapping.
        highlights: from ``choose_highlights``; its videos are shown in that order.
        gallery: pictures of the highlights.
        pictures: from ``curve_pictures``.
        ablation: rows from ``evaluation.evaluate.ablate``.

    Returns:
        HTML with all pictures inside it and no script. All texts are escaped.
    """
    cards = _Cards(evaluation, gallery)
    return load_template("report.html.j2").render(
        title=title,
        evaluation=evaluation,
        remarks=remarks(evaluation),
        has_interval=has_interval(evaluation),
        alarms=cards.of(highlights.alarms),
        clips={(a["video"], a["start_frame"]): a.get("clip") for a in evaluation.raised},
        inverted=[name for name, branch in evaluation.branches.items() if is_inverted(branch)],
        facts={name: _plain(fact) for name, fact in facts.items()},
        ablation=ablation,
        baseline=next(text for name, text in _BASELINES.items() if name in evaluation.cubes.errors),
        pictures={name: data_uri(picture, "png") for name, picture in pictures.items()},
        false_alarms=cards.of(highlights.false_alarms),
        misses=cards.of(highlights.misses),
        videos=[_video(evaluation, video, cards, highlights) for video in highlights.peaks],
    )


def load_template(name: str) -> jinja2.Template:
    """A template of ``visualization/templates``; what is put into it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent, "number": number, "interval": interval, "duration": duration,
        "clock": clock, "time_of_day": time_of_day,
    }  # fmt: skip
    return environment.get_template(name)


def percent(value: float) -> str:
    """A share in percent with two digits, ``n/a`` when undefined."""
    return "n/a" if math.isnan(value) else f"{100 * value:.2f}"


def interval(metrics: Mapping[str, float]) -> str:
    """The confidence interval of the micro AUC in percent, ``n/a`` when undefined."""
    low, high = percent(metrics["auc_micro_low"]), percent(metrics["auc_micro_high"])
    return low if low == "n/a" else f"{low} to {high}"


def number(value: float) -> str:
    """A number with three meaningful digits, ``n/a`` when undefined; ``12,346``."""
    return "n/a" if math.isnan(value) else f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def clock(seconds: float) -> str:
    """A place in a video: ``0:07.5``, ``1:02:03.0``."""
    tenths = round(10 * seconds)
    hours, minutes = divmod(tenths // 600, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{tenths % 600 / 10:04.1f}"


def time_of_day(text: str) -> str:
    """``2026-05-04T10:21:07.120+00:00`` as ``2026-05-04 10:21:07 UTC``."""
    return f"{text[:10]} {text[11:19]} UTC"


def _plain(fact: Any) -> str:
    if isinstance(fact, Mapping):
        return ", ".join(f"{name} {value}" for name, value in fact.items())
    return str(fact)


def _video(
    evaluation: Evaluation, video: int, cards: _Cards, highlights: Highlights
) -> dict[str, Any]:
    scores, trim = evaluation.primary.scores[video], evaluation.smoothing.trim
    labels = None if evaluation.labels is None else evaluation.labels[video]
    threshold = evaluation.threshold
    peaks = highlights.peaks[video]
    curve = plots.video_picture(
        scores,
        evaluation.primary.raw[video][trim:],
        labels,
        threshold.value if threshold else None,
        first_frame=trim,
        marks=[each.peak for each in peaks],
    )
    can_be_wrong = labels is not None and threshold is not None
    return {
        "name": evaluation.cubes.videos[video],
        "num_frames": len(scores),
        "num_abnormal": None if labels is None else int((labels == 1).sum()),
        "auc": math.nan if labels is None else video_auc(evaluation, video),
        "wrong": error_rate(evaluation, video) if can_be_wrong else None,
        "highest": float(scores.max()),
        "curve": data_uri(curve, "png"),
        "peaks": cards.of(peaks),
    }


class _Cards:
    """Turns highlights into what the template shows of them."""

    def __init__(self, evaluation: Evaluation, gallery: Gallery) -> None:
        self._evaluation = evaluation
        self._gallery = gallery

    def of(self, chosen: Iterable[Highlight]) -> list[dict[str, Any]]:
        return [self._card(highlight) for highlight in chosen]

    def _card(self, highlight: Highlight) -> dict[str, Any]:
        cubes, cube = self._evaluation.cubes, highlight.cube
        name = cubes.videos[highlight.video]
        still = self._gallery.stills.get((name, highlight.frame, cube))
        pictures = None if cube is None else self._gallery.cubes.get(cube)
        return {
            "video": name,
            "at": highlight,
            "still": data_uri(still, "jpeg") if still else None,
            **shown_cube(pictures),
            "errors": {} if cube is None else self._errors(cube),
            "why": "" if cube is None else self._why(cube),
            "box": self._box(cube),
        }

    def _box(self, cube: int | None) -> list[int] | None:
        boxes = self._evaluation.cubes.boxes
        return None if cube is None or boxes is None else [round(x) for x in boxes[cube].tolist()]

    def _why(self, cube: int) -> str:
        errors = self._evaluation.cubes.errors
        return why(
            self._evaluation.primary.rule, {name: float(v[cube]) for name, v in errors.items()}
        )

    def _errors(self, cube: int) -> dict[str, float]:
        errors = self._evaluation.cubes.errors
        return {name.replace("_", " "): float(values[cube]) for name, values in errors.items()}


def shown_cube(pictures: CubePictures | None) -> dict[str, Any]:
    """``strips`` and ``remark`` for the template ``strips.html.j2``."""
    if pictures is None:
        return {"strips": [], "remark": ""}
    strips = [
        {
            "source": data_uri(strip.png, "png"),
            "captions": strip.captions,
            "width": sum(count for _, count in strip.captions),
        }
        for strip in pictures.strips
    ]
    return {"strips": strips, "remark": pictures.remark}


def data_uri(data: bytes, kind: str) -> str:
    """A picture (``png`` or ``jpeg``) as a source that stands in the page itself."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
