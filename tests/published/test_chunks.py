"""Published chunk files: order, rows, bounded memory, damaged and malicious files."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from published.chunks import ChunkSet
from tests.helpers.published_files import random_samples, write_chunks
from utils.errors import UserError

LENGTHS = {"01": 6, "02": 4}
SIZES = [3, 1, 5]


@pytest.fixture(scope="module")
def samples():
    return random_samples(sum(SIZES), sum(LENGTHS.values()))


@pytest.fixture
def root(tmp_path, samples) -> Path:
    write_chunks(tmp_path / "testing" / "chunked_samples", samples, SIZES)
    return tmp_path


@pytest.fixture(scope="module")
def chunks(tmp_path_factory, samples) -> ChunkSet:
    folder = tmp_path_factory.mktemp("published")
    write_chunks(folder / "testing" / "chunked_samples", samples, SIZES)
    return ChunkSet.open(folder, "testing", LENGTHS)


def test_all_chunks_in_order(chunks, samples):
    assert len(chunks) == 9
    joined = samples["pred_frame"][:, 0]
    assert chunks.video_index.tolist() == (joined >= 6).astype(int).tolist()
    assert chunks.frames.tolist() == (joined - 6 * (joined >= 6)).tolist()
    np.testing.assert_array_equal(chunks.boxes, samples["bbox"].astype(np.float32))
    assert chunks.videos == ["01", "02"]
    assert chunks.num_frames == LENGTHS


@settings(max_examples=30)
@given(st.lists(st.integers(0, sum(SIZES) - 1), max_size=12))
def test_gather_gives_the_rows_asked_for(chunks, samples, indices):
    appearance, motion = chunks.gather(np.array(indices, np.int64))
    assert appearance.dtype == np.uint8
    assert motion.dtype == np.float32
    np.testing.assert_array_equal(appearance, samples["appearance"][indices])
    np.testing.assert_array_equal(motion, samples["motion"][indices][:, 1:])


def test_ten_and_more_chunks_are_ordered_by_number(tmp_path):
    samples = random_samples(12, 12)
    write_chunks(tmp_path / "training" / "chunked_samples", samples, [1] * 12)
    chunks = ChunkSet.open(tmp_path, "training")
    assert chunks.frames.tolist() == samples["pred_frame"][:, 0].tolist()
    assert chunks.videos == ["training"]


@pytest.mark.parametrize("compression", ["zlib", "gzip", "xz"])
def test_compressed_chunks(root, samples, compression):
    folder = root / "testing" / "chunked_samples"
    part = {name: values[:3] for name, values in samples.items()}
    joblib.dump(part, folder / "chunked_samples_00.pkl", compress=(compression, 1))
    chunks = ChunkSet.open(root, "testing", LENGTHS)
    np.testing.assert_array_equal(chunks.gather(np.arange(9))[0], samples["appearance"])


def test_fingerprint_follows_the_files(root):
    before = ChunkSet.open(root, "testing", LENGTHS).fingerprint
    assert ChunkSet.open(root, "testing", LENGTHS).fingerprint == before
    changed = root / "testing" / "chunked_samples" / "chunked_samples_01.pkl"
    os.utime(changed, ns=(1, 1))
    assert ChunkSet.open(root, "testing", LENGTHS).fingerprint != before


MEASURE = """
import resource, sys
import numpy as np
from published.chunks import ChunkSet
chunks = ChunkSet.open(sys.argv[1], "training")
chunks.gather(np.arange(64))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for start in range(0, len(chunks), 64):
    chunks.gather(np.arange(start, min(start + 64, len(chunks))))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_does_not_grow_with_what_was_read(tmp_path):
    samples = random_samples(2000, 100)
    write_chunks(tmp_path / "training" / "chunked_samples", samples, [1000, 1000])
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    repository = Path(__file__).resolve().parents[2]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=repository)
    assert float(result.stdout) < 20  # MiB; the files hold 107


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_chunk_cut_short_is_named(root, share):
    path = root / "testing" / "chunked_samples" / "chunked_samples_02.pkl"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"chunked_samples_02\.pkl: cut short or damaged"):
        ChunkSet.open(root, "testing", LENGTHS)


def test_a_compressed_chunk_cut_short_is_named(root, samples):
    path = root / "testing" / "chunked_samples" / "chunked_samples_02.pkl"
    joblib.dump({name: values[4:] for name, values in samples.items()}, path, compress=1)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"chunked_samples_02\.pkl: cut short or damaged"):
        ChunkSet.open(root, "testing", LENGTHS)


def test_a_missing_chunk_is_named(root):
    (root / "testing" / "chunked_samples" / "chunked_samples_01.pkl").unlink()
    with pytest.raises(UserError, match="chunk 01 of 02 is missing"):
        ChunkSet.open(root, "testing", LENGTHS)


def test_no_chunks_at_all(tmp_path):
    with pytest.raises(UserError, match=r"no chunked_samples_NN\.pkl.*dataset_base_dir"):
        ChunkSet.open(tmp_path, "testing", LENGTHS)


@pytest.mark.parametrize("lengths", [{"01": 6, "02": 3}, {"01": 6, "02": 4, "03": 9}])
def test_labels_of_other_videos_are_refused(root, lengths):
    with pytest.raises(UserError, match="labels and chunks are not of the same data set"):
        ChunkSet.open(root, "testing", lengths)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("motion", np.zeros((9, 5, 2, 32, 32), np.float32), r"\(9, 5, 32, 32, 2\) is needed"),
        ("appearance", np.zeros((9, 5, 32, 32, 3), np.float32), "appearance is float32"),
        ("appearance", np.zeros((8, 5, 32, 32, 3), np.uint8), "appearance has shape"),
        ("pred_frame", np.full((9, 1), -1), "a frame below 0"),
        ("pred_frame", np.zeros((0, 1), int), "no sample"),
        ("bbox", [1, 2], "must be arrays"),
    ],
)
def test_a_foreign_chunk_is_refused(tmp_path, samples, name, values, said):
    folder = tmp_path / "testing" / "chunked_samples"
    folder.mkdir(parents=True)
    joblib.dump({**samples, name: values}, folder / "chunked_samples_00.pkl")
    with pytest.raises(UserError, match=said):
        ChunkSet.open(tmp_path, "testing", LENGTHS)


class Malicious:
    """Pickles to a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("inside", [False, True])
def test_a_malicious_chunk_does_not_run(tmp_path, samples, inside):
    trace = tmp_path / "trace"
    folder = tmp_path / "testing" / "chunked_samples"
    folder.mkdir(parents=True)
    attack = Malicious(os.mkdir, str(trace))
    content = {**samples, "sample_id": attack} if inside else attack
    (folder / "chunked_samples_00.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"chunked_samples_00\.pkl: refused.*mkdir"):
        ChunkSet.open(tmp_path, "testing", LENGTHS)
    assert not trace.exists()
