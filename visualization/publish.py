"""Print and write what an evaluation brought: tables, pictures, report and result files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.evaluate import Evaluation, ablate
from utils.console import echo
from visualization.gallery import (
    Explain,
    Highlights,
    Stills,
    choose_highlights,
    make_gallery,
)
from visualization.report import curve_pictures, render_report
from visualization.results import ablation_table, results_table, write_results


def publish(
    folder: Path,
    title: str,
    evaluation: Evaluation,
    facts: Mapping[str, Any],
    explain: Explain | None,
    stills: Stills,
    with_ablation: bool = False,
    highlights: Highlights | None = None,
) -> None:
    """Print the tables, draw the report and write all result files.

    Args:
        folder: where to.
        title: heading of the report.
        facts: provenance, anything JSON can hold.
        explain, stills: see ``visualization.gallery.make_gallery``.
        with_ablation: also print what smoothing and min-max contribute.
        highlights: what to show; ``None``: see ``choose_highlights``.
    """
    echo(results_table(evaluation))
    ablation = ablate(evaluation) if with_ablation else []
    if ablation:
        echo(f"\n{ablation_table(evaluation, ablation)}")
    highlights = highlights or choose_highlights(evaluation)
    gallery = make_gallery(evaluation, highlights, explain, stills)
    pictures = curve_pictures(evaluation)
    report = render_report(evaluation, title, facts, highlights, gallery, pictures, ablation)
    write_results(folder, evaluation, facts, report, pictures, ablation)
    echo(f"\nscores and metrics: {folder}\nreport: {folder / 'report.html'}")
