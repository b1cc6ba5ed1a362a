"""Circulating spellings of video names, and lists of videos."""

from __future__ import annotations

import pytest

from datasets.names import canonical_name, group_crops, is_order_open, read_video_list
from utils.errors import UserError

LISTS = {
    "paths": "./UCF_Test/B2_x264_i3d.npy\n/home/x y/Abuse/A1_x264_i3d.npy\n",
    "windows": "F:\\UCF Crime\\B2_x264.npy\r\nF:\\UCF Crime\\A1_x264.npy\r\n",
    "mixed": "list/RGBTest\\B2_x264__0.npy\nlist/RGBTest\\B2_x264__1.npy\n"
    "list/RGBTest\\A1_x264__0.npy\nlist/RGBTest\\A1_x264__1.npy\n",
    "labels": "B2_x264.mp4 1\nA1_x264.mp4 0\n",
    "table": "path,label\nx/B2_x264__0.npy,Abuse\nx/A1_x264__0.npy,Normal\n",
    "annotations": "B2_x264  Abuse  165  240  -1  -1\nA1_x264 Normal -1 -1 -1 -1\n",
    "bars": "Testing_Normal_Videos_Anomaly/B2_x264.mp4|1411|[-1]\nA1|12|[1, 2]\n",
    "names": "\ufeffB2\n\nA1",
}


def test_names_of_circulating_files():
    assert canonical_name("Abuse028_x264_i3d.npy") == "Abuse028"
    assert canonical_name("Normal_Videos_003_x264.mp4") == "Normal_Videos_003"
    assert canonical_name("01_0014") == "01_0014"


@pytest.mark.parametrize("kind", LISTS)
def test_every_form_of_a_list_names_the_same_videos_in_its_order(tmp_path, kind):
    path = tmp_path / "test.list"
    path.write_bytes(LISTS[kind].encode())
    assert read_video_list(path) == ["B2", "A1"]
    path.write_bytes(LISTS[kind].lstrip("\ufeff").encode("utf-16"))
    assert read_video_list(path) == ["B2", "A1"]


def test_names_of_xd_violence_with_points_and_signs(tmp_path):
    name = "A.Beautiful.Mind.2001__#00-25-20_00-29-20_label_A"
    lines = [f"list/data/RGBTest\\{name}__{crop}.npy" for crop in range(5)]
    (tmp_path / "rgbtest.list").write_text("\n".join(lines))
    assert read_video_list(tmp_path / "rgbtest.list") == [name]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "names no video"),
        ("path,label\n", "names no video"),
        ("A\nB\nA_x264.npy\n", "names A twice"),
        ("A__0.npy\nB__0.npy\nA__1.npy\nB__1.npy\n", "crops of A do not follow each other"),
        ("A__0.npy\nA__1.npy\nB__0.npy\n", "video B lacks crop 1 of 2"),
        ("A__0.npy\nB.npy\n", "B has no crop number"),
        ("A\0B", "not a text file"),
    ],
)
def test_other_lists_are_refused(tmp_path, content, words):
    (tmp_path / "a.list").write_text(content)
    with pytest.raises(UserError, match=rf"a\.list: .*{words}"):
        read_video_list(tmp_path / "a.list")


def test_a_missing_list(tmp_path):
    with pytest.raises(UserError, match="no such text file"):
        read_video_list(tmp_path / "a.list")


def test_numbers_that_do_not_begin_at_0_are_names_of_their_own():
    assert group_crops(["cam__1", "cam__2"], "folder") is None
    assert group_crops(["b__1", "a__0", "b__0", "a__1"], "folder") == {"b": [2, 0], "a": [1, 3]}


@pytest.mark.parametrize(
    ("names", "is_open"),
    [
        (["Abuse028", "Normal_Videos_003", "RoadAccidents001"], True),
        (["Abuse028", "Explosion002", "Normal_Videos_003"], False),  # both orders are the same
        (["01_0014", "01_001", "01_002"], True),
        (["01_0014", "01_0015", "10_0037"], False),
        (["v=a__#1_label_A", "v=b__#1_label_B1-0-0"], True),
        (["01", "02", "10"], False),
        (["Normal_1", "Normal_2"], False),
    ],
)
def test_where_the_order_of_names_tells_nothing(names, is_open):
    assert is_order_open(names) is is_open
