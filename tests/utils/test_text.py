"""Names from outside on the way to a terminal, a table and a page."""

from __future__ import annotations

import os

import pytest

import infer
from datasets.names import canonical_name
from datasets.video_folders import find_videos
from datasets.videos import describe_video
from pre_process.prepare_dataset import main as prepare
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import write_video
from utils.checkpoint import load_checkpoint
from utils.config.yaml_file import read_yaml
from utils.console import echo
from utils.errors import UserError, exit_on_user_error
from utils.files import read_json, write_text
from utils.untrusted.text import printable, safe_name, shortened

HOSTILE = {
    "a\x1b[31mred": "a%1B[31mred",
    "two\nlines": "two%0Alines",
    "=HYPERLINK(1)": "%3DHYPERLINK(1)",
    "+1": "%2B1",
    "back\u202ewards": "back%E2%80%AEwards",
    "bad\udcff": "bad%FF",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_videos(name):
    assert safe_name(name) == canonical_name(name + "_x264.mp4") == HOSTILE[name]
    assert safe_name(HOSTILE[name]) == HOSTILE[name]


def test_ordinary_names_stay():
    for name in ("01_0014", "Überwachung 3", "v=abc__#00-1_label_A", "im_%03d"):
        assert safe_name(name) == name


def test_what_is_said_is_shown_and_not_obeyed(capsys):
    echo("a\x1b[2Jb\udcff\tc\nd")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\udcff\tc\nd\n"
    assert printable("as it is") == "as it is"


def test_a_long_value_does_not_fill_the_terminal(capsys):
    @exit_on_user_error
    def main():
        raise UserError(f"a.yaml: {'9' * 100_000} is no name\nname it 'b'")

    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert ended.value.code == 2 and len(told) < 2100
    assert told.startswith("error: a.yaml: 999") and told.endswith("9 is no name\nname it 'b'\n")


def test_texts_are_shortened_in_their_middle():
    assert shortened("0123456789", 10) == "0123456789"
    assert shortened("0123456789a", 10) == "01 ... 89a"


def test_results_of_a_hostile_name(tmp_path, capsys):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("=1+1\x1b[31m", "a\nb"):
        write_video(tmp_path / "clip.avi", 12).rename(folder / f"{name}.avi")
    model = write_checkpoint(tmp_path / "last.pth")
    infer.main(["--model", str(model), "--source", str(folder), "--output", str(tmp_path / "out"),
                "--threshold", "0", "--no_video"])  # fmt: skip
    captured = capsys.readouterr()
    table = (tmp_path / "out" / "frame_scores.csv").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    for text in (captured.out, captured.err.replace("\r", "").replace("\x1b[A", ""), table, page):
        assert "\x1b[31m" not in text and "a\nb" not in text
    assert "\n=" not in table and "%3D1+1%1B[31m" in table


def test_a_name_that_is_not_utf8(tmp_path, capsys):
    source = tmp_path / "videos"
    source.mkdir()
    raw = os.fsencode(source) + b"/bad\xff.avi"
    write_video(tmp_path / "clip.avi", 12).rename(os.fsdecode(raw))
    with pytest.raises(UserError, match="is not UTF-8; rename it"):
        describe_video(os.fsdecode(raw), "testing")
    with pytest.raises(SystemExit) as ended:
        prepare(["--name", "x", "--source", str(source), "--output", str(tmp_path / "out")])
    assert ended.value.code == 2 and "bad\\udcff.avi" in capsys.readouterr().err
    write_text(tmp_path / "a.txt", os.fsdecode(raw))


def test_a_pattern_as_a_name_reads_no_sequence(tmp_path):
    for number in range(3):
        (tmp_path / f"im_{number:03d}.png").write_bytes(b"x")
    (tmp_path / "im_%03d.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"im_%03d\.png"):
        describe_video(tmp_path / "im_%03d.png", "testing")
    (tmp_path / "im_%03d.png").rename(tmp_path / "im_%03d.mp4")
    with pytest.raises(UserError, match=r"im_%03d\.mp4: not a video"):
        describe_video(tmp_path / "im_%03d.mp4", "testing")


def test_pipes_are_no_files(tmp_path):
    for name, read in (
        ("last.pth", load_checkpoint), ("a.yaml", read_yaml), ("a.json", read_json),
        ("a.mp4", lambda path: describe_video(path, "testing")),
    ):  # fmt: skip
        os.mkfifo(tmp_path / name)
        with pytest.raises(UserError, match="not a"):
            read(tmp_path / name)
    with pytest.raises(UserError):
        find_videos(tmp_path)
