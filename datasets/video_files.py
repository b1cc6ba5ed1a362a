"""Video files decoded by PyAV (FFmpeg): frames with the times that the container gives them."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from utils.errors import UserError
from utils.files import require_file

logger = logging.getLogger(__name__)

# What a file may be: containers and elementary streams that hold video themselves. Playlists,
# scripts that name other files, and patterns of image names are none.
DEMUXERS = (
    "asf,avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,webm,mjpeg,mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,"
    "mpegvideo,ogg,yuv4mpegpipe,obu,av1"
)
# Of a picture: a few bytes may declare one that fills any memory. 8K has half as many.
MOST_PIXELS = 2**26
LIMITS = {"max_pixels": str(MOST_PIXELS)}  # for FFmpeg
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": DEMUXERS, **LIMITS}
# Titles in other letters than UTF-8's are no reason to refuse a video. From PyAV 19 on that goes
# without saying, and there is no such argument.
FOREIGN_TITLES: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)
_MOST_DAMAGED = 64  # faults of a container in a row, behind which nothing more is sought
_NO_DECODER = "{path}: its codec cannot be decoded here; re-encode it, as H.264"
_SLACK = 0.01  # of its length that a video may end early


class TimedFrame(NamedTuple):
    """``seconds`` since the start of the video, and the picture (H,W,3) uint8 BGR."""

    seconds: float
    picture: np.ndarray


@dataclass(frozen=True)
class VideoHeader:
    """What a video file declares, and its first frame.

    Attributes:
        num_frames: 0 where the container does not say.
        seconds: 0 where it does not say.
        fps: average rate; 0 where it does not say.
        width, height: of the pictures as they are shown, after any rotation.
    """

    num_frames: int
    seconds: float
    fps: float
    width: int
    height: int


def read_header(path: Path) -> VideoHeader:
    """Open a video, decode its first frame.

    Raises:
        UserError: missing, no video, a codec that cannot be decoded, or no frame in it.
    """
    with open_video(path) as container:
        stream = container.streams.video[0]
        first = next(decode(container, path), None)
        if first is None:
            raise UserError(
                f"{path}: no frame can be read from this video; replace the file, or make its "
                f"pictures smaller than {MOST_PIXELS // 10**6} million pixels"
            )
        seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
        if not seconds and container.duration:
            seconds = container.duration / av.time_base
        fps = float(stream.average_rate or 0.0)
        height, width = first.picture.shape[:2]
        return VideoHeader(stream.frames, seconds, fps, width, height)


def count_packets(path: Path) -> int:
    """Packets of the video stream, read without decoding; most codecs have one per frame."""
    with open_video(path) as container:
        packets = _packets(container)
        return sum(1 for packet in packets if packet.size and not packet.is_discard)


def packet_times(path: Path) -> np.ndarray:
    """When the packets' frames are shown, in seconds since the first, in order; NaN: not known."""
    with open_video(path) as container:
        packets = [each for each in _packets(container) if each.size and not each.is_discard]
        times = [
            float(each.pts * each.time_base) if each.pts is not None else math.nan
            for each in packets
        ]
    ordered = np.sort(np.array(times))
    return ordered - ordered[:1]


def decode(container: Any, path: Path, fill: bool = False) -> Iterator[TimedFrame]:
    """All frames of an open video, in the order in which they are shown.

    A damaged packet costs its own frame; how many there were is said at the end.

    Args:
        container: from ``open_video``.
        path: for messages.
        fill: give the frame before in the place of a damaged one, so that frame numbers hold.

    Raises:
        UserError: a codec that cannot be decoded.
    """
    stream, damaged, number = container.streams.video[0], 0, 0
    last: TimedFrame | None = None
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = max(1, cv2.getNumThreads())
    stream.codec_context.options = dict(LIMITS)
    convert = VideoReformatter()  # keeps its scaler from frame to frame
    start = float(stream.start_time * stream.time_base) if stream.start_time else 0.0
    rate = float(stream.average_rate or 25.0)
    is_timed = container.format.name != "avi"  # which knows a rate alone
    try:
        for packet in _packets(container):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                damaged += 1
                number += 1  # its time passes in any case
                if fill and last is not None:
                    last = TimedFrame(last.seconds + 1 / rate, last.picture)
                    yield last
                continue
            except ValueError:  # PyAV 19 opens some, and finds no decoder later
                raise UserError(_NO_DECODER.format(path=path)) from None
            for frame in frames:
                known = is_timed and frame.time is not None
                seconds = frame.time - start if known else number / rate
                last = TimedFrame(seconds, _as_bgr(frame, convert))
                yield last
                number += 1
    finally:  # also where no more frames are asked for
        if damaged:
            what = "repeat the frame before" if fill else "were left out"
            logger.warning("%s: %d damaged frames %s", path, damaged, what)


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[Any]:
    """A container with at least one video stream that can be decoded.

    Raises:
        UserError: missing, no video, or a codec that cannot be decoded.
    """
    if not path.exists():
        raise UserError(f"{path}: no such video; was it moved since the data set was prepared?")
    require_file(path)
    if str(path) != str(path).encode("utf-8", "replace").decode():  # FFmpeg is given UTF-8
        raise UserError(f"{path}: its name or a folder's is not UTF-8; rename it")
    try:
        container = av.open(f"file:{path.absolute()}", options=dict(_OPTIONS), **FOREIGN_TITLES)
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(
            f"{path}: not a video that can be opened ({error.strerror}); replace or re-encode it"
        ) from None
    with container:
        if not container.streams.video:
            raise UserError(f"{path}: holds no video stream; replace the file")
        if container.streams.video[0].codec_context is None:
            raise UserError(_NO_DECODER.format(path=path))
        yield container


def is_cut_short(num_frames: int, declared: float) -> bool:
    """Whether a video gave far fewer frames than it declares.

    Containers may declare a frame or two that no decoder gives; more than that is a cut file.
    """
    return declared - num_frames > max(2, _SLACK * declared)


def _packets(container: Any) -> Iterator[Any]:
    """Packets of the first video stream; a file that breaks off ends there.

    What is damaged on the way is passed over: it is no reason to give up a camera's connection.
    """
    packets = container.demux(container.streams.video[0])
    damaged = 0
    while damaged < _MOST_DAMAGED:
        try:
            packet = next(packets)
        except av.error.InvalidDataError:
            damaged += 1
            packets = container.demux(container.streams.video[0])
            continue
        except (StopIteration, av.error.FFmpegError):
            return
        damaged = 0
        yield packet


def _as_bgr(frame: Any, convert: VideoReformatter) -> np.ndarray:
    """(H,W,3) uint8, as OpenCV converts it (bicubic chroma), turned upright."""
    picture = convert.reformat(frame, format="bgr24", interpolation="BICUBIC").to_ndarray()
    turns = round(getattr(frame, "rotation", 0) / 90) % 4  # counter-clockwise
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture
