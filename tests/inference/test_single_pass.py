"""What is known of a frame as a video passes equals what the whole video gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.evaluate import evaluate
from evaluation.highlights import video_peaks
from evaluation.scales import RAW
from evaluation.scored_cubes import ScoredCubes
from evaluation.scores import ScoreRule, Term
from evaluation.smoothing import Smoothing
from inference.results.kept_pictures import KeptPictures, PictureKeeper
from inference.single_pass import ScoredFrame, StreamedMedian
from inference.video_cubes import ResultCollector
from pre_process.cubes.extractor import FrameCubes
from visualization.gallery import MOST_PEAKS

NONE = np.zeros((0, 4), np.float32)


@settings(max_examples=60)
@given(st.integers(0, 60), st.sampled_from([1, 3, 9, 17]), st.integers(0, 6), st.integers(0, 2**31))
def test_a_streamed_median_is_the_median_of_the_whole(length, size, trim, seed):
    scores = np.random.default_rng(seed).normal(size=length)
    smoothing = Smoothing(trim, "median", size)
    median = StreamedMedian(smoothing)
    streamed = [value for score in scores.tolist() for value in median.push(score)]
    streamed += median.finish()
    assert len(streamed) == length and streamed[:trim] == [None] * min(trim, length)
    assert np.array_equal(streamed[trim:], smoothing(scores))


@settings(max_examples=25)
@given(st.integers(30, 400), st.sampled_from([1, 9, 17]), st.integers(0, 2**31))
def test_pictures_of_all_peaks_are_kept(length, size, seed):
    """The report of the whole video asks for nothing that was let go."""
    rng = np.random.default_rng(seed)
    scores = np.convolve(rng.gamma(1.0, size=length), np.ones(5), "same") + rng.uniform(size=length)
    smoothing = Smoothing(4, "median", size)
    keeper, collector = PictureKeeper(smoothing), ResultCollector("v", ["e"])
    median, waiting = StreamedMedian(smoothing), 0

    def consider(values):
        nonlocal waiting
        for value in values:
            if value is not None:
                keeper.consider(waiting, value)
            waiting += 1

    picture = np.zeros((4, 4, 3), np.uint8)
    for index, score in enumerate(scores.tolist()):
        cube = np.zeros((1, 5, 2, 2, 3), np.uint8), np.zeros((1, 4, 2, 2, 2), np.float16)
        cubes = FrameCubes(index, NONE, *cube)
        frame = ScoredFrame(index, index / 25, picture, cubes, {}, np.array([score]), score)
        keeper.push(frame, index)
        collector.add(index / 25, np.zeros((1, 4), np.float32), {"e": np.array([score])})
        consider(median.push(score))
    consider(median.finish())
    result = collector.result(keeper.kept())
    kept = KeptPictures([result], lambda appearance, motion: {})
    frames = np.arange(length)
    index = ScoredCubes(["v"], [length], np.zeros(length, int), frames, None, {"e": scores})
    rule = {"score": ScoreRule("score", (Term("e", 1.0, RAW),))}
    evaluation = evaluate(index, rule, smoothing, None, "test", 25.0)
    peaks = video_peaks(evaluation, 0, MOST_PEAKS)
    assert peaks
    places = [("v", peak.frame) for peak in peaks]
    assert [place for place, _ in kept.stills(places)] == places
    assert {peak.cube for peak in peaks} <= set(kept._cubes)
