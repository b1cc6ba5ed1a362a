"""Pictures of results as PNG bytes, drawn without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from evaluation.metrics import auc, average_precision, has_both_classes, runs

# Okabe and Ito's colours, which colour-blind readers can tell apart; the main score comes first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#7F7F7F", "#CC79A7")
_INK = "#2f3a45"
_SHADE = "#f4c7b8"


def roc_picture(branches: Mapping[str, np.ndarray], labels: np.ndarray) -> bytes:
    """ROC curves, one a branch, with their areas.

    Args:
        branches: name -> (n,) frame scores over all videos.
        labels: (n,) of 0 and 1, both there.
    """
    from sklearn.metrics import roc_curve  # see evaluation.metrics

    figure, axes = _square_figure("false alarm rate", "share of abnormal frames detected")
    axes.plot([0, 1], [0, 1], color="#c8ced4", linewidth=0.8, linestyle=":")
    for colour, (name, scores) in zip(COLOURS, branches.items(), strict=False):
        false_rate, true_rate, _ = roc_curve(labels, scores)
        label = f"{name}  {100 * auc(scores, labels):.2f}"
        axes.plot(false_rate, true_rate, color=colour, linewidth=1.6, label=label)
    _legend(axes, "AUC, %", "lower right")
    return _png(figure)


def precision_recall_picture(branches: Mapping[str, np.ndarray], labels: np.ndarray) -> bytes:
    """Precision over recall, one curve a branch, with average precisions; arguments as above."""
    from sklearn.metrics import precision_recall_curve

    figure, axes = _square_figure("recall", "precision")
    share = float(np.mean(labels == 1))
    axes.axhline(share, color="#c8ced4", linewidth=0.8, linestyle=":")
    for colour, (name, scores) in zip(COLOURS, branches.items(), strict=False):
        precision, recall, _ = precision_recall_curve(labels, scores)
        label = f"{name}  {100 * average_precision(scores, labels):.2f}"
        axes.step(recall, precision, where="post", color=colour, linewidth=1.6, label=label)
    _legend(axes, "AP, %", "lower left")
    return _png(figure)


def video_picture(
    scores: np.ndarray,
    raw: np.ndarray,
    labels: np.ndarray | None = None,
    threshold: float | None = None,
    first_frame: int = 0,
    marks: Sequence[int] = (),
) -> bytes:
    """The score of one video over time, labelled intervals shaded.

    Args:
        scores: (T,) the smoothed scores.
        raw: (T,) before smoothing, drawn faintly.
        labels: (T,) of 0 and 1, or ``None``.
        threshold: drawn as a line where given.
        first_frame: number of the first frame in the video.
        marks: frames (numbered as in the video) to mark on the curve.
    """
    figure = Figure(figsize=(8.4, 1.9), dpi=110)
    axes = figure.add_axes((0.08, 0.24, 0.915, 0.73))
    frames = first_frame + np.arange(len(scores))
    if labels is not None:
        for start, stop in runs(labels == 1):
            axes.axvspan(frames[start] - 0.5, frames[stop - 1] + 0.5, color=_SHADE, linewidth=0)
    axes.plot(frames, raw, color="#b9c6d2", linewidth=0.7)
    axes.plot(frames, scores, color=COLOURS[0], linewidth=1.5)
    if len(marks):
        places = np.asarray(marks) - first_frame
        axes.plot(marks, scores[places], "v", color=_INK, markersize=5, clip_on=False)
    _finish(axes, frames, scores, threshold)
    return _png(figure)


def peak_picture(frames: np.ndarray, peaks: np.ndarray, threshold: float | None) -> bytes:
    """The highest scores of a long run.

    Args:
        frames: (k,) first frame of each bin; peaks: (k,) highest score in it, NaN for none, which
            leaves a gap.
        threshold: drawn as a line where given.
    """
    figure = Figure(figsize=(8.4, 2.2), dpi=110)
    axes = figure.add_axes((0.08, 0.22, 0.915, 0.75))
    axes.plot(frames, peaks, color=COLOURS[0], linewidth=1.2)
    known = np.pad(np.isfinite(peaks), 1)
    alone = known[1:-1] & ~known[:-2] & ~known[2:]  # a line needs two points
    axes.plot(frames[alone], peaks[alone], ".", color=COLOURS[0], markersize=3)
    _finish(axes, frames, peaks, threshold)
    return _png(figure)


def is_drawable(labels: np.ndarray | None) -> bool:
    """Whether ROC and precision-recall curves exist: there are labels of both classes."""
    return labels is not None and has_both_classes(labels)


def _finish(axes: Axes, frames: np.ndarray, scores: np.ndarray, threshold: float | None) -> None:
    """Threshold, limits and labels; by hand, for an automatic layout takes twice as long."""
    if threshold is not None:
        axes.axhline(threshold, color="#8a5a00", linewidth=0.9, linestyle="--")
    axes.set(xlabel="frame", ylabel="score", ylim=_limits(scores, threshold))
    axes.set_xlim(frames[0] - 0.5, max(frames[-1], frames[0] + 1) + 0.5)
    axes.yaxis.set_label_coords(-0.055, 0.5)
    _style(axes)


def _limits(scores: np.ndarray, threshold: float | None) -> tuple[float, float]:
    """Room for the smoothed scores; single raw frames may leave it."""
    values = scores if threshold is None else np.append(scores, threshold)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.12 * (high - low) or 1.0
    return low - margin, high + margin


def _square_figure(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.4, 4.0), dpi=110)
    axes = figure.add_axes((0.13, 0.12, 0.85, 0.86))
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#9aa5b1")
    axes.tick_params(colors=_INK, labelsize=8, width=0.6)
    axes.xaxis.label.set(color=_INK, size=9)
    axes.yaxis.label.set(color=_INK, size=9)


def _legend(axes: Axes, title: str, place: str) -> None:
    options: dict[str, Any] = {"title": title, "loc": place, "frameon": False}
    axes.legend(**options, fontsize=8, title_fontsize=8)


def _png(figure: Figure) -> bytes:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    buffer = io.BytesIO()
    # A palette makes line drawings a third the size, which a report of many videos needs.
    picture.quantize(64, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return buffer.getvalue()
