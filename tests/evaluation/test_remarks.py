"""What stands beside the numbers: inverted scores, and metrics that are undefined and why."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.evaluate import Threshold, evaluate
from evaluation.region_metrics import Regions
from evaluation.remarks import remarks
from evaluation.scales import RAW
from evaluation.scored_cubes import ScoredCubes
from evaluation.scores import ScoreRule, Term
from evaluation.smoothing import Smoothing
from visualization.gallery import Gallery, choose_highlights
from visualization.report import render_report
from visualization.results import results_table
from visualization.snippet_results import rates_table

LENGTH = 20


def evaluated(labels, scores, regions=False):
    """Videos of one cube a frame, scored by ``energy`` and by its negative."""
    count = len(labels) * LENGTH
    errors = {"energy": np.concatenate(scores), "other": -np.concatenate(scores)}
    boxes = np.tile([0.0, 0.0, 5.0, 5.0], (count, 1))
    names = [f"{index:02d}" for index in range(len(labels))]
    index, frames = np.repeat(range(len(labels)), LENGTH), np.tile(range(LENGTH), len(labels))
    cubes = ScoredCubes(names, [LENGTH] * len(labels), index, frames, boxes, errors)
    rules = {name: ScoreRule(name, (Term(name, 1.0, RAW),)) for name in errors}
    none = Regions(np.zeros(0, int), np.zeros((0, 4)), np.zeros(0, int)) if regions else None
    smoothing = Smoothing(trim=0, kind="none", size=1)
    truth = dict(zip(names, labels, strict=True))
    fixed = Threshold(0.5, "fixed")
    return evaluate(cubes, rules, smoothing, truth, "x", 25.0, none, fixed)


def html(evaluation):
    return render_report(evaluation, "t", {}, choose_highlights(evaluation), Gallery({}, {}), {})


def both_classes():
    return [(np.arange(LENGTH) // 5 == place).astype(np.uint8) for place in (1, 2)]


def test_an_inverted_score_is_marked_in_table_and_report():
    labels = both_classes()
    found = evaluated(labels, [label + np.linspace(0, 0.1, LENGTH) for label in labels])
    table = results_table(found).splitlines()
    assert found.branches["energy"].metrics["auc_micro"] == 1
    assert [line.startswith("other (inverted?)  ") for line in table[2:4]] == [False, True]
    assert table[4].startswith("other: micro AUC 0.00 is below 40") and "negate it" in table[4]
    page = html(found)
    assert page.count("(inverted?)") == 1 and "other: micro AUC 0.00 is below 40" in page
    assert len(remarks(found)) == 1


def test_a_score_near_chance_is_not_marked():
    labels = both_classes()
    random = np.random.default_rng(0)
    assert remarks(evaluated(labels, [random.random(LENGTH) for _ in labels])) == []


@pytest.mark.parametrize(("value", "words"), [(0, "normal"), (1, "abnormal")])
def test_test_sets_of_one_class_say_what_is_undefined(value, words):
    found = evaluated([np.full(LENGTH, value)] * 2, [np.linspace(0, 1, LENGTH)] * 2, regions=True)
    first, second = remarks(found)
    assert f"all 40 test frames are {words}; add videos" in first
    for name in ("micro AUC", "95 % interval", "macro AUC", "AP", "EER", "best F1"):
        assert name in first
    assert second == "n/a (undefined): RBDC, TBDC: no region is labelled"
    table = results_table(found).splitlines()
    assert table[2].split() == ["energy", *["n/a"] * 8] and table[4:6] == [first, second]
    assert "inverted" not in "".join(table) and "nan" not in rates_table(found)
    assert "videos with an anomaly only: AUC n/a (undefined)" in rates_table(found)
    page = html(found)
    assert first in page and "nan" not in page


def test_videos_of_one_class_each_have_no_macro_auc():
    found = evaluated([np.zeros(LENGTH), np.ones(LENGTH)], [np.zeros(LENGTH), np.ones(LENGTH)])
    assert remarks(found)[-1] == (
        "n/a (undefined): macro AUC, rates over videos with an anomaly: "
        "no test video has both normal and abnormal frames"
    )
