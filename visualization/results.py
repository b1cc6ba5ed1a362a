"""Write the results of an evaluation: tables, numbers, pictures; and say them on the screen."""

from __future__ import annotations

import contextlib
import csv
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.evaluate import Evaluation
from evaluation.remarks import has_interval, is_inverted, remarks
from evaluation.scores import DENSITIES
from utils.console import format_table
from utils.files import naming, part_folder, write_json, write_text
from visualization.report import interval, percent

FILES = (
    "frame_scores.csv",
    "cube_scores.csv",
    "metrics.json",
    "roc.png",
    "precision_recall.png",
    "report.html",
)


def write_results(
    folder: Path,
    evaluation: Evaluation,
    facts: Mapping[str, Any],
    report: str,
    pictures: Mapping[str, bytes],
    ablation: Sequence[dict[str, Any]] = (),
) -> None:
    """Write all result files; those of an earlier evaluation are replaced once all are written.

    Args:
        folder: where to; other files in it are left alone.
        evaluation: what to write.
        facts: provenance, anything JSON can hold.
        report: the rendered report.
        pictures: name -> PNG, from ``visualization.report.curve_pictures``.
        ablation: rows from ``evaluation.evaluate.ablate``.
    """
    with _replace_files(folder) as part:
        write_frame_scores(part / "frame_scores.csv", evaluation)
        if evaluation.cubes.boxes is not None:
            write_cube_scores(part / "cube_scores.csv", evaluation)
        write_json(part / "metrics.json", json_ready(_numbers(evaluation, facts, ablation)))
        for name, picture in pictures.items():
            with naming(folder / f"{name}.png"):
                (part / f"{name}.png").write_bytes(picture)
        write_text(part / "report.html", report)


def write_frame_scores(path: Path, evaluation: Evaluation, append: bool = False) -> None:
    """CSV of video, frame, score, label: the frames that are scored, with their smoothed scores.

    ``append``: to a table that is there.
    """
    trim, labels = evaluation.smoothing.trim, evaluation.labels

    def rows() -> Iterator[tuple]:
        for video, scores in enumerate(evaluation.primary.scores):
            name = evaluation.cubes.videos[video]
            for place, score in enumerate(scores.tolist()):
                label = "" if labels is None else int(labels[video][place])
                yield name, place + trim, score, label

    _write_csv(path, ("video", "frame", "score", "label"), rows(), append)


def write_cube_scores(path: Path, evaluation: Evaluation, append: bool = False) -> None:
    """CSV of video, frame, box, errors and score of each cube; ``append``: to a table.

    ``flow_error`` and ``frame_error`` are blank where no network has them; a density has a column
    where it was measured.
    """
    cubes = evaluation.cubes
    blank = [""] * len(cubes.frames)
    names = shown_errors(cubes.errors)
    boxes = np.zeros((len(cubes.frames), 4)) if cubes.boxes is None else cubes.boxes
    columns = (
        [cubes.videos[index] for index in cubes.video_index],
        cubes.frames.tolist(),
        *np.round(boxes.astype(np.float64), 2).T.tolist(),
        *(cubes.errors[name].tolist() if name in cubes.errors else blank for name in names),
        evaluation.primary.cube_scores.tolist(),
    )
    _write_csv(path, cube_columns(names), zip(*columns, strict=True), append)


def shown_errors(known: Container[str]) -> list[str]:
    """The errors that tables of cubes have a column for, of those that are known."""
    return ["flow_error", "frame_error", *(name for name in DENSITIES if name in known)]


def cube_columns(errors: Sequence[str]) -> tuple[str, ...]:
    """The columns of ``cube_scores.csv``; ``errors``: from ``shown_errors``."""
    return ("video", "frame", "x1", "y1", "x2", "y2", *errors, "score")


def results_table(evaluation: Evaluation) -> str:
    """The table that scripts print, with its protocol under it."""
    if evaluation.labels is None:
        return f"no labels, so no metrics\nprotocol: {evaluation.protocol_line}"
    columns = {
        "macro AUC": "auc_macro",
        "AP": "average_precision",
        "EER": "equal_error_rate",
        "best F1": "best_f1",
    }
    if "rbdc" in evaluation.primary.metrics:
        columns |= {"RBDC": "rbdc", "TBDC": "tbdc"}
    rows = []
    header = ["micro AUC", "95 % interval"] if has_interval(evaluation) else ["micro AUC"]
    for name, branch in evaluation.branches.items():
        metrics = branch.metrics
        first = [percent(metrics["auc_micro"]), interval(metrics)][: len(header)]
        rest = [percent(metrics[key]) for key in columns.values()]
        name = f"{name} (inverted?)" if is_inverted(branch) else name
        rows.append([name, *first, *rest])
    table = format_table(["%", *header, *columns], rows)
    return "\n".join([table, *remarks(evaluation), f"protocol: {evaluation.protocol_line}"])


def ablation_table(evaluation: Evaluation, ablation: Sequence[dict[str, Any]]) -> str:
    """Micro AUC under each smoothing and normalisation, as text."""
    names = list(evaluation.branches)
    rows = [
        [f"{row['smoothing']}, {row['normalisation']}", *(percent(row[name]) for name in names)]
        for row in ablation
    ]
    return format_table(["micro AUC, %", *names], rows)


def json_ready(value: Any) -> Any:
    """Replace NaN by ``None`` and NumPy numbers by plain ones, at any depth."""
    if isinstance(value, dict):
        return {key: json_ready(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def _numbers(
    evaluation: Evaluation, facts: Mapping[str, Any], ablation: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    threshold = evaluation.threshold
    return {
        "score": next(iter(evaluation.branches)),
        **evaluation.primary.metrics,
        "best_on_test": evaluation.best_on_test,
        "protocol": evaluation.protocol,
        "remarks": remarks(evaluation),
        "branches": {name: branch.metrics for name, branch in evaluation.branches.items()},
        "threshold": None if threshold is None else asdict(threshold) | evaluation.alarms,
        "ablation": list(ablation),
        "provenance": dict(facts),
    }


def _write_csv(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], append: bool
) -> None:
    mode = "a" if append else "w"
    with naming(path), path.open(mode, newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        if not append:
            writer.writerow(header)
        writer.writerows(rows)


@contextlib.contextmanager
def _replace_files(folder: Path) -> Iterator[Path]:
    """Yield a folder for new result files, which take the old ones' place on success only.

    The folder itself stays, and so does whatever else a user keeps in it.
    """
    with part_folder(folder, "results") as part:
        yield part
        for name in FILES:
            if (part / name).exists():
                (part / name).replace(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
