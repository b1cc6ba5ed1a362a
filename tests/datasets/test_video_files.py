"""Video files as they are in the world: varying rates, AV1, damage; and hostile ones."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from datasets.rates import frame_rate
from datasets.video_files import decode, open_video, read_header
from datasets.videos import describe_video, probe, read_frames
from inference.sources import find_entries
from tests.helpers.tiny_videos import write_video
from utils.errors import UserError

WIDTH, HEIGHT = 64, 48


def write(path: Path, times: list[float], codec: str = "libx264", **options: str) -> Path:
    """Frames of growing brightness, shown at these times (seconds)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, seconds in enumerate(times):
            picture = np.full((HEIGHT, WIDTH, 3), 60 + 2 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = round(1000 * seconds), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def times_of(path: Path) -> list[float]:
    with open_video(path) as container:
        return [frame.seconds for frame in decode(container, path)]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_variable_frame_rate_is_read_whole_with_its_times(tmp_path, suffix):
    times = [0.0, 0.1, 0.2, 0.9, 1.0, 1.7, 2.5, 2.6]
    path = write(tmp_path / f"a{suffix}", times)
    assert times_of(path) == pytest.approx(times, abs=0.002)
    entry = describe_video(path, "testing")
    assert entry.num_frames == len(times) == len(list(read_frames(entry)))


def test_the_rate_of_varying_intervals_is_their_average(tmp_path):
    path = write(tmp_path / "a.mkv", [0.0, 0.1, 0.2, 1.2, 2.2, 3.2, 4.2, 5.2])
    assert frame_rate(find_entries(str(path))[0], 25.0) == pytest.approx(8 / 5.3, rel=0.1)
    constant = write(tmp_path / "b.mkv", [0.1 * n for n in range(20)])
    assert frame_rate(find_entries(str(constant))[0], 25.0) == pytest.approx(10.0)


def test_av1_is_read(tmp_path):
    if "libsvtav1" not in av.codecs_available:
        pytest.skip("this PyAV cannot write AV1")
    path = write(tmp_path / "a.mp4", [0.1 * n for n in range(12)], codec="libsvtav1")
    assert probe(path).num_frames == 12


def test_a_broken_off_stream_is_read_as_far_as_it_goes(tmp_path):
    path = write(tmp_path / "a.ts", [0.1 * n for n in range(40)], g="1")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 10 < probe(path).num_frames < 30


def test_damaged_packets_cost_their_own_frames(tmp_path):
    path = write(tmp_path / "a.avi", [0.1 * n for n in range(40)], codec="mpeg4", g="1")
    content = bytearray(path.read_bytes())
    for frame in (10, 20):
        place = [n for n in range(len(content) - 4) if content[n : n + 4] == b"00dc"][frame]
        content[place + 8 : place + 20] = bytes(12)  # the picture's header
    path.write_bytes(content)
    pictures = [frame.mean() for frame in read_frames(describe_video(path, "testing", None, True))]
    assert len(pictures) == 40
    assert pictures[-1] == pytest.approx(60 + 2 * 39, abs=3)


def test_a_codec_that_turns_out_unknown_is_a_clear_error(tmp_path, monkeypatch):
    """PyAV 19 opens damaged files whose packets it then refuses, as it refuses this one."""

    class Packet:
        def decode(self):
            raise ValueError("cannot decode unknown codec")

    path = write_video(tmp_path / "a.avi", 3)
    monkeypatch.setattr("datasets.video_files._packets", lambda container: iter([Packet()]))
    with open_video(path) as container, pytest.raises(UserError, match="codec cannot be decoded"):
        list(decode(container, path))


def test_a_damaged_picture_is_replaced_by_the_one_before(tmp_path, caplog):
    path = write_video(tmp_path / "a.avi", 12)
    content = path.read_bytes()
    index = content.index(b"movi")
    places = [n for n in range(index, len(content) - 4) if content[n : n + 4] == b"00dc"]
    start, stop = places[5] + 8, places[6]
    path.write_bytes(content[:start] + bytes(stop - start) + content[stop:])
    pictures = list(read_frames(describe_video(path, "testing")))
    assert len(pictures) == 12 and np.array_equal(pictures[5], pictures[4])
    assert not np.array_equal(pictures[6], pictures[5])
    assert "1 damaged frames repeat the frame before" in caplog.text
    assert len(times_of(path)) == 11  # a stream goes on without it


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nother.mp4\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile other.mp4\n",
    ],
)
def test_a_playlist_named_as_a_video_opens_no_other_file(tmp_path, content):
    write(tmp_path / "other.mp4", [0.0, 0.1])
    path = tmp_path / "a.mp4"
    path.write_text(content)
    with pytest.raises(UserError, match=r"a\.mp4: not a video that can be opened"):
        read_header(path)


def test_a_pattern_in_a_name_is_a_name(tmp_path):
    path = write(tmp_path / "im_%03d.mp4", [0.0, 0.1, 0.2])
    assert probe(path).num_frames == 3


@pytest.mark.parametrize(
    ("name", "count"), [("vfr.mkv", 36), ("vfr.webm", 36), ("av1.mp4", 60), ("trunc.ts", 14)]
)
def test_real_clips_that_went_wrong(vad_data, name, count):
    path = vad_data / "cases" / name
    entry = describe_video(path, "testing")
    assert entry.num_frames == count == len(list(read_frames(entry)))
    if name.startswith("vfr"):
        assert times_of(path)[-1] == pytest.approx(5.7, abs=0.2)
        assert frame_rate(entry, 25.0) == pytest.approx(36 / 5.8, rel=0.03)


def test_pictures_are_those_of_opencv(vad_data):
    """Bit for bit: cubes and boxes that were extracted before stay what they are."""
    path = vad_data / "data" / "ped2" / "testing" / "videos" / "01.mp4"
    capture = cv2.VideoCapture(str(path))
    for picture in read_frames(describe_video(path, "testing")):
        assert np.array_equal(picture, capture.read()[1])


# The first two rows of a track's matrix, in 16.16 fixed point: how a phone says how it was held.
_TURNS = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


def held(path: Path, clockwise: int) -> Path:
    """The video with a matrix in its track header that turns it clockwise when it is shown."""

    def matrix(a: int, b: int, c: int, d: int) -> bytes:
        return struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)

    content = path.read_bytes()
    place = content.index(matrix(*_TURNS[0]), content.index(b"tkhd"))
    turned = matrix(*_TURNS[clockwise])
    path.write_bytes(content[:place] + turned + content[place + len(turned) :])
    return path


@pytest.mark.parametrize("clockwise", _TURNS)
def test_videos_are_turned_as_the_phone_was_held(tmp_path, clockwise):
    path = tmp_path / "a.mp4"
    stored = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    stored[:16, :16] = 230  # bright in the corner at the top left, and nowhere else
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="bgr24")))
        container.mux(stream.encode(None))
    entry = describe_video(held(path, clockwise), "testing")
    assert (entry.width, entry.height) == ((64, 48) if clockwise % 180 == 0 else (48, 64))
    expected = np.rot90(stored, -clockwise // 90)
    for picture in read_frames(entry):
        assert picture.shape == expected.shape
        assert np.abs(picture.astype(int) - expected)[:, :, 0].mean() < 5
