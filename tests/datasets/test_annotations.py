"""The annotation texts of UCF-Crime and XD-Violence: labels as circulated, lines of other forms."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.labels.annotations import read_annotations
from datasets.labels.frame_labels import fit_labels, read_labels
from utils.errors import UserError

XD = (
    "v=38GQ9L2meyE__#1_label_B6-0-0 1 3 5 6\n"
    "The.Fast.2001__#00-29-00_00-29-52_label_B2-G-0.mp4 0 2\n"
)


def spans(raw):
    return {key: value.spans.tolist() for key, value in zip(raw.keys, raw.values, strict=True)}


def test_labels_equal_the_circulating_ones(vad_data):
    folder = vad_data / "data" / "ucf_crime_labels"
    raw = read_annotations(folder / "Temporal_Anomaly_Annotation.txt")
    with np.load(folder / "test_frame_labels.npz", allow_pickle=False) as archive:
        expected = {name: archive[name] for name in archive.files}
    assert list(raw.keys) == sorted(expected) and not raw.is_partial
    lengths = {name: len(values) for name, values in expected.items()}
    ours = fit_labels(raw, lengths, folder, slack=16)
    for name, labels in ours.items():
        np.testing.assert_array_equal(labels, expected[name], err_msg=name)
    assert sum(len(labels) for labels in ours.values()) == 1_109_680
    assert sum(int(labels.sum()) for labels in ours.values()) == 84_128


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_reads_pairs_and_clips(tmp_path, mark):
    path = tmp_path / "a.txt"
    path.write_text(f"{mark}B2_x264 Abuse 2 4 6 9\nN1_x264.mp4  Normal  -1  -1  -1  -1  \n\n")
    raw = read_annotations(path)
    assert spans(raw) == {"B2": [[2, 4], [6, 9]], "N1": []}
    labels = fit_labels(raw, {"B2": 8, "N1": 8}, path, slack=1)
    assert labels["B2"].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    with pytest.raises(UserError, match=r"B2: interval 6\.\.9 .* its 8 frames"):
        fit_labels(raw, {"B2": 8, "N1": 8}, path)


def test_xd_violence_leaves_normal_videos_out(tmp_path):
    path = tmp_path / "annotations.txt"
    path.write_text(XD)
    raw = read_annotations(path)
    names = ["v=38GQ9L2meyE__#1_label_B6-0-0", "The.Fast.2001__#00-29-00_00-29-52_label_B2-G-0"]
    assert spans(raw) == {names[0]: [[1, 3], [5, 6]], names[1]: [[0, 2]]} and raw.is_partial
    lengths = dict.fromkeys([*names, "The.Fast.2001__#01-00-00_01-00-10_label_A"], 6)
    labels = read_labels(path, lengths)
    assert [values.tolist() for values in labels.values()] == [
        [1, 1, 0, 0, 0, 0], [0] * 6, [0, 1, 1, 0, 0, 1],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line", ["A", "A Abuse 3", "A Abuse x 4", "A Abuse 9 4 -1 -1", "A X 1 2\nA X 1 2", "", "A 1"]
)
def test_other_lines_are_refused(tmp_path, line):
    path = tmp_path / "a.txt"
    path.write_text(line)
    with pytest.raises(UserError, match=r"a\.txt"):
        read_annotations(path)
