"""Frames to snippet scores: no frame lost, none scored twice, nothing across a gap."""

from __future__ import annotations

import numpy as np
import pytest

from inference.frd.live import LiveSnippets, scored_frames
from inference.frd.stream import SnippetStream
from inference.live.frame_buffer import LiveFrame


class Grey:
    """A backbone whose feature is the mean grey level; remembers the snippets it was given."""

    feature_size = 1

    def __init__(self):
        self.snippets = []

    def prepare(self, frame):
        return float(frame.mean())

    def __call__(self, snippets):
        self.snippets += [list(each) for each in snippets]
        return np.array([[[np.mean(each)]] for each in snippets])


def picture(level, size=4):
    return np.full((size, size, 3), level, np.uint8)


def stream_of(backbone, frames=4, stride=None):
    return SnippetStream(backbone, lambda row: {"score": float(row[0, 0, 0])}, frames, stride)


def run(stream, count, first=0):
    given = []
    for index in range(first, first + count):
        given += stream.push(index, picture(index))
    return given


@pytest.mark.parametrize(("count", "expected"), [(8, 2), (11, 2), (3, 1), (1, 1)])
def test_every_frame_is_given_once_with_the_score_of_its_snippet(count, expected):
    backbone = Grey()
    stream = stream_of(backbone)
    given = run(stream, count) + stream.finish()
    assert [item for item, _ in given] == list(range(count))
    assert len(backbone.snippets) == expected
    if count == 3:  # filled up with its last frame
        assert backbone.snippets == [[0, 1, 2, 2]]
    if count == 11:  # the last frames fill no snippet
        assert [values["score"] for _, values in given] == [1.5] * 4 + [5.5] * 7


def test_a_shorter_stride_scores_a_sliding_window():
    backbone = Grey()
    given = run(stream_of(backbone, 4, 2), 8)
    assert backbone.snippets == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]
    assert [values["score"] for _, values in given] == [1.5] * 4 + [3.5] * 2 + [5.5] * 2
    assert len(run(stream_of(backbone, 4, 9), 4)) == 4  # a stride is a snippet at most


def live(indices, gaps=()):
    return [
        LiveFrame(i, picture(i), float(i), 0.0, "dropped" if i in gaps else "") for i in indices
    ]


def test_no_snippet_crosses_lost_frames_and_frames_that_fill_none_have_no_score():
    backbone = Grey()
    snippets = LiveSnippets(stream_of(backbone))
    given = snippets.push(live([*range(6), *range(20, 23), *range(40, 44)], gaps=(20, 40)))
    ready = scored_frames([*given, *snippets.finish()])
    assert backbone.snippets == [[0, 1, 2, 3], [40, 41, 42, 43]]
    assert [each.live.index for each in ready] == [*range(6), *range(20, 23), *range(40, 44)]
    assert [each.score for each in ready] == [1.5] * 6 + [None] * 3 + [41.5] * 4
    assert all(each.is_whole and not len(each.cubes.boxes) for each in ready)
