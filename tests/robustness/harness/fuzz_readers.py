"""What is fuzzed: good files of every kind, and what reads them."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np
import scipy.io
from hypothesis.strategies import SearchStrategy

from datasets.features.files import open_feature_file
from datasets.image_folders import read_image
from datasets.labels.annotations import read_annotations
from datasets.labels.frame_labels import read_labels
from datasets.labels.regions import read_regions
from datasets.manifest import VideoEntry
from datasets.names import read_video_list
from datasets.videos import describe_video, read_frames
from pre_process.detectors.box_files import load_boxes, load_published_boxes
from pre_process.preparation.archives import unpack
from published.chunks import open_chunk
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.repository.test_structure import ROOT
from tests.robustness.harness.damage import Damage
from utils.checkpoint import load_checkpoint
from utils.config.load import load_config
from utils.safe_pickle import load_npy, load_pickle

_LENGTHS = {"01": 12, "02": 9}
CANARY = "canary"  # the file that hostile files would make
UNPACKED = "unpacked"  # the folder of archives' content


@dataclass(frozen=True)
class Reader:
    """A kind of file.

    Attributes:
        name: of the file.
        good: bytes of one that is read without an error.
        read: what reads it.
        share: of the cases, against 1 for the others; less where a case takes long.
        longest: seconds a case may take.
        damages: to ``good``; default: of its bytes.
        label: in the table; default: the name.
    """

    name: str
    good: bytes
    read: Callable[[Path], Any]
    share: float = 1.0
    longest: int = 10
    damages: SearchStrategy[Damage] | None = None
    label: str = ""


class _Evil:
    """Runs a command when it is unpickled without care."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.canary}",)


def readers(folder: Path) -> list[Reader]:
    """All kinds of files; ``folder`` is where they will lie."""
    return [
        *_configurations(), *_labels(folder), *_arrays(folder), *_pictures(), *_videos(folder),
        *_archives(folder),
    ]  # fmt: skip


def _configurations() -> list[Reader]:
    def read(name: str) -> Callable[[Path], Any]:
        system = "frd" if name.startswith("frd") else "hf2vad"
        return lambda path: load_config(path, [], system)

    paths = sorted((ROOT / "cfgs").glob("*.yaml"))
    return [Reader(path.name, path.read_bytes(), read(path.name), 0.2) for path in paths]


def _labels(folder: Path) -> list[Reader]:
    labels = {name: np.arange(count) % 2 for name, count in _LENGTHS.items()}
    objects = np.array([labels["01"], labels["02"]], object)
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = np.array([[1, 5], [3, 8]]), np.array([[2], [4]])
    tree = json.dumps({name: row.tolist() for name, row in labels.items()}).encode()
    files = {
        "labels.npz": _written(lambda to: np.savez(to, **labels)),
        "labels.npy": _written(lambda to: np.save(to, objects, allow_pickle=True)),
        "labels.json": tree,
        "labels.pkl": pickle.dumps(labels),
    }

    def read(path: Path) -> Any:
        return read_labels(path, _LENGTHS)

    text = b"Abuse028_x264.mp4 Abuse 165 240 -1 -1\nArson011_x264.mp4 Arson 150 420 680 1267\n"
    table = b"video,frame,track,x1,y1,x2,y2\n01,3,0,1.0,2.0,30.0,40.0\n"
    frames = "video,frame,label\n" + "\n".join(
        f"{name},{frame},{value}" for name, row in labels.items() for frame, value in enumerate(row)
    )
    evil = pickle.dumps([labels, _Evil(folder / CANARY)])
    matlab = _written(lambda to: scipy.io.savemat(to, {"gt": cells}))
    packed = _written(lambda to: scipy.io.savemat(to, {"gt": cells}, do_compression=True))
    return [
        *(Reader(name, good, read) for name, good in files.items()),
        Reader("labels.mat", matlab, read, 0.06, longest=90),  # a process each
        Reader("packed.mat", packed, read, 0.03, longest=90),
        Reader("a.pkl", pickle.dumps(labels), load_pickle),
        Reader("evil.pkl", evil, load_pickle),
        Reader("o.npy", files["labels.npy"], load_npy),
        Reader("Annotation.txt", text, read_annotations),
        Reader("regions.csv", table, read_regions),
        Reader("spans.csv", b"video,start,stop\n01,1,3\n02,0,2\n", read),
        Reader("frames.csv", frames.encode(), read),
        Reader("xd.txt", b"01 1 3\n02 0 2\n", read_annotations),
        Reader("test.list", b"F:\\x\\B_x264__0.npy 1\nF:\\x\\B_x264__1.npy 1\n", read_video_list),
    ]


def _arrays(folder: Path) -> list[Reader]:
    boxes = {"boxes": np.ones((3, 4), np.float32), "frames": np.arange(3, dtype=np.int32),
             "num_frames": np.int32(3), "settings": np.array("{}")}  # fmt: skip
    published = np.empty(3, object)
    published[:] = [np.ones((count, 4), np.float32) for count in (2, 0, 1)]
    hostile = np.array([published[0], _Evil(folder / CANARY)], object)
    videos = [VideoEntry("01", "training", folder, "video", 0, 3, 32, 24)]
    samples = {
        "sample_id": np.arange(2), "appearance": np.zeros((2, 5, 32, 32, 3), np.uint8),
        "motion": np.zeros((2, 5, 32, 32, 2), np.float32), "bbox": np.ones((2, 4), np.float32),
        "pred_frame": np.arange(2)[:, None],
    }  # fmt: skip

    def read_boxes(path: Path) -> Any:
        return load_published_boxes(path, videos)

    return [
        Reader("boxes.npz", _written(lambda to: np.savez(to, **boxes)), lambda p: load_boxes(p, 3)),
        Reader("a_bboxes_train.npy", _written(lambda to: np.save(to, published, True)), read_boxes),
        Reader("evil_bboxes.npy", _written(lambda to: np.save(to, hostile, True)), read_boxes),
        Reader("chunk.pkl", _written(lambda to: joblib.dump(samples, to)), open_chunk),
        Reader("last.pth", write_checkpoint(folder / "good.pth").read_bytes(), load_checkpoint),
        Reader("feature.npy", _written(lambda to: np.save(to, np.ones((4, 2, 8), np.float32))),
               open_feature_file),
    ]  # fmt: skip


def _pictures() -> list[Reader]:
    picture = np.arange(3072, dtype=np.uint8).reshape(32, 32, 3)
    kinds = (".png", ".jpg", ".bmp", ".tif", ".webp", ".ppm")
    return [Reader(f"p{each}", cv2.imencode(each, picture)[1].tobytes(), read_image)
            for each in kinds]  # fmt: skip


def _videos(folder: Path) -> list[Reader]:
    def read(path: Path) -> None:
        for _ in read_frames(describe_video(path, "testing")):
            pass

    found = []
    for name, codec in (("v.avi", "MJPG"), ("v.mp4", "mp4v"), ("v.mkv", "mp4v")):
        path = folder / f"good_{name}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10.0, (32, 24))
        for grey in range(6):
            writer.write(np.full((24, 32, 3), 40 * grey, np.uint8))
        writer.release()
        found.append(Reader(name, path.read_bytes(), read, share=0.5))
    return found


def _written(write: Callable[[io.BytesIO], Any]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def _archives(folder: Path) -> list[Reader]:
    """Two good ones, and some with a member that would land elsewhere or leads there."""
    names = {"parent": "../escaped", "deeper": "b/../../escaped", "absolute": f"{folder}/escaped"}
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "../.."
    files = {
        "a.zip": _zip("a/1.txt"),
        "a.tar.gz": _tar(tarfile.TarInfo("a/1.txt")),
        **{f"evil_{kind}.zip": _zip(name) for kind, name in names.items()},
        **{f"evil_{kind}.tar.gz": _tar(tarfile.TarInfo(name)) for kind, name in names.items()},
        "evil_link.tar.gz": _tar(link, tarfile.TarInfo("link/escaped")),
    }

    def read(path: Path) -> Any:
        return unpack(path, folder / UNPACKED)

    return [
        Reader(name, good, read, 1.0 if name[0] == "a" else 0.3) for name, good in files.items()
    ]


def _zip(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, "text")
    return stream.getvalue()


def _tar(*members: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for member in members:
            member.size = 4 * member.isfile()
            archive.addfile(member, io.BytesIO(b"text"))
    return stream.getvalue()
