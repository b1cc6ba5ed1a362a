"""UCF-Crime's annotation text: labels as circulated, and lines of another form."""

from __future__ import annotations

import numpy as np
import pytest
from datasets.features.ucf_crime import frame_labels, read_annotations

from utils.errors import UserError


def test_labels_equal_the_circulating_ones(vad_data):
    folder = vad_data / "data" / "ucf_crime_labels"
    intervals = read_annotations(folder / "Temporal_Anomaly_Annotation.txt")
    with np.load(folder / "test_frame_labels.npz", allow_pickle=False) as archive:
        expected = {name: archive[name] for name in archive.files}
    assert list(intervals) == sorted(expected)
    ours = {name: frame_labels(intervals[name], len(expected[name])) for name in expected}
    for name, labels in ours.items():
        np.testing.assert_array_equal(labels, expected[name], err_msg=name)
    assert sum(len(labels) for labels in ours.values()) == 1_109_680
    assert sum(int(labels.sum()) for labels in ours.values()) == 84_128


def test_reads_pairs_and_clips(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("B2_x264 Abuse 2 4 6 9\nN1_x264.mp4  Normal  -1  -1  -1  -1  \n\n")
    intervals = read_annotations(path)
    assert intervals == {"B2": [(2, 4), (6, 9)], "N1": []}
    assert frame_labels(intervals["B2"], 8).tolist() == [0, 0, 1, 1, 0, 0, 1, 1]


@pytest.mark.parametrize(
    "line", ["A", "A Abuse 3", "A Abuse x 4", "A Abuse 9 4 -1 -1", "A X 1 2\nA X 1 2", ""]
)
def test_other_lines_are_refused(tmp_path, line):
    path = tmp_path / "a.txt"
    path.write_text(line)
    with pytest.raises(UserError, match=r"a\.txt"):
        read_annotations(path)
