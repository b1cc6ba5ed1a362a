"""Network and densities of a cube: the same side by side as one after the other."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from engine.scoring.density_scorer import DensityScorer, FlowEnergyScorer
from engine.scoring.network import random_cubes
from evaluation.densities.bank import Bank
from evaluation.densities.densities import Densities
from evaluation.densities.velocity import velocity_features

CUBES = random_cubes(5, seed=1)


def features(appearance, motion):
    return {"velocity": velocity_features(motion)}


def densities() -> Densities:
    appearance, motion = random_cubes(60, seed=0)
    bank = Bank(velocity_features(motion).astype(np.float16), np.zeros(60, int), "euclidean", 3)
    return Densities({"velocity": bank}, appearance[:, -1], {})


class Network(FlowEnergyScorer):
    """Remembers the thread in which it ran."""

    def __call__(self, appearance, motion):
        self.thread = threading.current_thread()
        return super().__call__(appearance, motion)


def test_side_by_side_gives_the_same_errors_in_the_same_order():
    scorers = [DensityScorer(Network(), features, densities(), each) for each in (False, True)]
    plain, beside = (scorer(*CUBES) for scorer in scorers)
    assert list(plain) == list(beside) and "velocity" in plain
    for name in plain:
        np.testing.assert_array_equal(np.asarray(plain[name]), np.asarray(beside[name]))
    here = threading.current_thread()
    assert [scorer._errors.thread is here for scorer in scorers] == [True, False]


def test_an_error_in_the_other_thread_is_raised():
    def fail(*_):
        raise KeyError("network")

    with pytest.raises(KeyError, match="network"):
        DensityScorer(fail, features, densities(), beside=True)(*CUBES)
