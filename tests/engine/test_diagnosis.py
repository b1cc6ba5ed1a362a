"""What a training tells without labels, and what is said where it is off."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.frd.diagnosis import describe, diagnose, remedies, report_facts

VIDEOS = ["a"] * 4 + ["b"] * 4 + ["c"] * 2
NORMS = np.arange(10.0)


CROPS = np.stack([NORMS / 10, 1 - NORMS / 10], axis=1)


def diagnosis(gain=0.4, rms=0.4, values=None, labels=(0, 1, 0, 0, 0, 1, 0, 0, 1, 0), crops=CROPS):
    values = np.sin(NORMS) + 0.1 * NORMS if values is None else values
    return diagnose(rms, gain, values, NORMS, np.array(labels), VIDEOS, crops)


def test_numbers_and_words():
    found = diagnosis(values=2 * NORMS + 1)
    assert found["correlation"] == pytest.approx(1.0)
    assert found["labelled"] == pytest.approx(0.3)
    assert found["videos"] == {"a": [1, 4], "b": [1, 4], "c": [1, 2]}
    lines = describe(found, 180, "frd")
    assert lines["feature scale"].endswith("0.400; reconstructions have a gain of 0.400")
    assert lines["reconstruction error and feature norm"] == "correlation +1.00"
    assert "30.0% of the training snippets, in 3 of 3 videos: c 50%" in lines["pseudo labels"]
    assert lines["steps"] == "180 (published run on UCF-Crime: 12000)"
    assert diagnosis(values=np.ones(10))["correlation"] is None
    assert "score and feature norm" in describe(diagnosis(gain=None), 9, "c2fpl")


def test_nothing_is_said_where_all_is_well():
    for trained in (False, True):
        assert remedies(diagnosis(), 400, 1e-3, trained, "frd") == []


@pytest.mark.parametrize(
    ("changes", "steps", "trained", "words"),
    [
        ({"gain": 1.0}, 180, False, "set model.feature_scale=rms"),
        ({"values": -NORMS}, 400, True, "on the shortest: set model.feature_scale=rms"),
        ({"values": NORMS}, 400, True, "little more than the feature norm"),
        ({}, 5, False, "5 steps are few (published: 12000); raise frd.num_epochs"),
        (
            {"crops": CROPS * [1, 0] + [0, 0.999]},
            400,
            True,
            "calls every snippet abnormal in 1 of 2 crops (1, counted from 0): too large steps "
            "took it where its sigmoid is flat and it learns no more; lower frd.lr to 0.0003",
        ),
        ({"crops": CROPS * 0}, 400, True, "every snippet the same score: look at the number of"),
        ({"labels": [0] * 10}, 400, True, "no training snippet has a pseudo label"),
        ({"labels": [1, 1, 1, 0, 1, 0, 0, 0, 0, 0]}, 400, True, "75% of the pseudo labels are in"),
        ({"labels": [1, 1, 0, 1, 1, 1, 0, 1, 0, 0]}, 400, True, "60% of the snippets have"),
    ],
)
def test_what_is_off_comes_with_its_remedy(changes, steps, trained, words):
    (found,) = remedies(diagnosis(**changes), steps, 1e-3, trained, "frd")
    assert words in found


def test_a_crop_in_which_nothing_happens_is_well():
    assert remedies(diagnosis(crops=CROPS * [1, 0]), 400, 1e-3, True, "frd") == []


def test_hardly_any_pseudo_label_is_told():
    labels = np.zeros(200)
    labels[[0, 50, 100, 150, 199]] = 1
    norms, videos = np.arange(200.0), [str(row // 20) for row in range(200)]
    crops = np.stack([norms, norms], axis=1)
    found = diagnose(0.4, 0.4, np.sin(norms), norms, labels, videos, crops)
    (said,) = remedies(found, 400, 1e-3, True, "frd")
    assert said.startswith("2.5% of the snippets have a pseudo label, few to learn from")


def test_enough_steps_close_the_gap_of_the_scale():
    """AdamW moves a gain by the learning rate a step: 0.6 are 600 steps."""
    off = diagnosis(gain=1.0)
    assert remedies(off, 700, 1e-3, False, "frd") == []
    assert len(remedies(off, 500, 1e-3, False, "frd")) == 1


def test_the_report_has_it_and_published_files_have_what_their_scores_tell():
    values = {"score": NORMS, "reconstruction": -NORMS, "feature_norm": NORMS}
    published = report_facts({"stage": "frd"}, values)
    assert published == {
        "diagnosis of these videos": {"reconstruction error and feature norm": "correlation -1.00"}
    }
    facts = report_facts(trained_scorer(), {"feature_norm": NORMS})
    assert "90 steps are few" in facts["diagnosis: warnings"]["1"]
    text = facts["diagnosis of these videos"]["feature scale"]
    assert text == "RMS 0.300, of the training features 0.400"


def trained_scorer():
    """A checkpoint of C2FPL's scorer that reads 50 values, trained on features of RMS 0.4."""
    return {
        "stage": "c2fpl",
        "step": 90,
        "config": {"c2fpl": {"lr": 0.01}},
        "diagnosis": diagnosis(gain=None),
        "model": {"fc1.weight": torch.zeros(512, 50)},
    }


def test_features_of_another_scale_than_those_trained_on_are_reported(caplog):
    report_facts(trained_scorer(), {"feature_norm": NORMS})
    assert not caplog.records
    report_facts(trained_scorer(), {"feature_norm": 9 * NORMS})
    report_facts(trained_scorer(), {"feature_norm": NORMS / 9})
    assert ["made in another way" in each.message for each in caplog.records] == [True, True]
