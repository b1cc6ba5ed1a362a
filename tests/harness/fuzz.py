"""Feed damaged and hostile files to every reader: only a clear error may come of them.

python -m tests.harness.fuzz --cases 10000 --seed 0
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import random
import signal
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datasets.feature_files import open_feature_file
from datasets.labels import read_labels
from datasets.regions import read_regions
from datasets.ucf_crime import read_annotations
from datasets.videos import read_image
from pre_process.archives import unpack
from pre_process.box_files import load_boxes
from tests.test_structure import ROOT
from tests.tiny_checkpoint import write_checkpoint
from utils.checkpoint import load_checkpoint
from utils.config import load_config
from utils.errors import UserError
from utils.safe_pickle import load_npy, load_pickle

_LONGEST = 10  # seconds a case may take
_LENGTHS = {"01": 12, "02": 9}
_NASTY = (b"", b"\0", b"\xff" * 8, b"-1", b"nan", b"1e999", b"99999999999999999999", b"../",
          b"null", b"[", b"{", b"'", b"\n", b": ",
          b"!!python/object/apply:os.system ['x']")  # fmt: skip


class _Evil:
    """Runs a command when it is unpickled without care."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.canary}",)


def damaged(seed: bytes, chance: random.Random) -> bytes:
    """A few random edits: bytes changed, put in, cut out, doubled, the end cut off."""
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 2, 4, 12))):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0 and data:
            data[at % len(data)] = chance.randrange(256)
        elif kind == 1:
            data[at:at] = chance.choice(_NASTY)
        elif kind == 2:
            del data[at : at + chance.choice((1, 4, 64, 1024))]
        elif kind == 3:
            data[at:at] = data[at : at + 32]
        elif chance.random() < 0.3:
            del data[at:]
    return bytes(data)


def readers(folder: Path) -> list[tuple[str, bytes, Callable[[Path], Any]]]:
    """(file name, a good file's bytes, its reader) of what is read.

    No MATLAB files: SciPy's reader itself crashes on some damaged ones.
    """
    labels = {name: np.arange(count) % 2 for name, count in _LENGTHS.items()}
    evil, keep = _Evil(folder / "canary"), Path(folder / "unpacked")

    def written(write: Callable[[io.BytesIO], Any]) -> bytes:
        stream = io.BytesIO()
        write(stream)
        return stream.getvalue()

    def labelled(path: Path) -> Any:
        return read_labels(path, _LENGTHS)

    boxes = {"boxes": np.ones((3, 4), np.float32), "frames": np.arange(3, dtype=np.int32),
             "num_frames": np.int32(3), "settings": np.array("{}")}  # fmt: skip
    objects = np.array([labels["01"], labels["02"]], object)
    picture = np.arange(3072, dtype=np.uint8).reshape(32, 32, 3)
    checkpoint = write_checkpoint(folder / "good.pth").read_bytes()
    tree = json.dumps({name: row.tolist() for name, row in labels.items()}).encode()
    text = b"Abuse028_x264.mp4 Abuse 165 240 -1 -1\nArson011_x264.mp4 Arson 150 420 680 1267\n"
    table = b"video,frame,track,x1,y1,x2,y2\n01,3,0,1.0,2.0,30.0,40.0\n"
    return [
        *((each.name, each.read_bytes(), _config_reader(each.name))
          for each in sorted((ROOT / "cfgs").glob("*.yaml"))),
        ("a.pkl", pickle.dumps(labels), load_pickle),
        ("evil.pkl", pickle.dumps([labels, evil]), load_pickle),
        ("o.npy", written(lambda to: np.save(to, objects, allow_pickle=True)), load_npy),
        ("labels.npz", written(lambda to: np.savez(to, **labels)), labelled),
        ("labels.npy", written(lambda to: np.save(to, objects, allow_pickle=True)), labelled),
        ("labels.json", tree, labelled),
        ("labels.pkl", pickle.dumps(labels), labelled),
        ("boxes.npz", written(lambda to: np.savez(to, **boxes)), lambda p: load_boxes(p, 3)),
        ("last.pth", checkpoint, load_checkpoint),
        ("feature.npy", written(lambda to: np.save(to, np.ones((4, 2, 8), np.float32))),
         open_feature_file),
        ("Annotation.txt", text, read_annotations),
        ("regions.csv", table, read_regions),
        *((f"p{kind}", cv2.imencode(kind, picture)[1].tobytes(), read_image)
          for kind in (".png", ".jpg", ".bmp", ".tif")),
        ("a.zip", written(_zip), lambda path: unpack(path, keep)),
        ("a.tar.gz", written(_tar), lambda path: unpack(path, keep)),
    ]  # fmt: skip


def _config_reader(name: str) -> Callable[[Path], Any]:
    system = "frd" if name.startswith("frd") else "hf2vad"
    return lambda path: load_config(path, [], system)


def _zip(stream: io.BytesIO) -> None:
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("a/1.txt", "../escaped", "/tmp/escaped", "b/../../escaped"):
            archive.writestr(name, "text")


def _tar(stream: io.BytesIO) -> None:
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "../.."
        archive.addfile(link)
        for name in ("a.txt", "link/escaped", "../escaped"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"text"))


def _hangs(*_: object) -> None:
    raise TimeoutError(f"longer than {_LONGEST} s")


def fuzz(folder: Path, cases: int, seed: int) -> Counter[str]:
    """Run the cases, each reader in turn; how often each file was refused, by ``read`` and name.

    Raises:
        AssertionError: another error than ``UserError``, a hang, code that was run, or a file
            outside of where files belong. The damaged file is left in ``folder``.
    """
    chance, counts = random.Random(seed), Counter()
    all_readers = readers(folder / "work")
    signal.signal(signal.SIGALRM, _hangs)
    for case in range(cases):
        name, good, read = all_readers[case % len(all_readers)]
        path = folder / "work" / name
        path.write_bytes(damaged(good, chance))
        signal.alarm(_LONGEST)
        try:
            read(path)
            counts[f"{name}: read"] += 1
        except UserError:
            counts[f"{name}: refused"] += 1
        except Exception as error:
            raise AssertionError(f"case {case}, {path}: {type(error).__name__}: {error}") from error
        finally:
            signal.alarm(0)
        assert not (folder / "work" / "canary").exists(), f"case {case}: {path} ran a command"
        assert [each.name for each in folder.iterdir()] == ["work"], f"{path} wrote outside"
        assert not (folder / "work" / "escaped").exists(), f"{path} wrote outside"
    return counts


def main() -> None:
    """Run and tell what became of the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options, begun = parser.parse_args(), time.monotonic()
    folder = Path(tempfile.mkdtemp())
    (folder / "work").mkdir()
    counts = fuzz(folder, options.cases, options.seed)
    for name, count in sorted(counts.items()):
        print(f"{count:6d}  {name}")
    print(f"{options.cases} cases, seed {options.seed}, {time.monotonic() - begun:.0f} s: "
          "no other error, no hang, no code run, nothing outside")  # fmt: skip


if __name__ == "__main__":
    main()
