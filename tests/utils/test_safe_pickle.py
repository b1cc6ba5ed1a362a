"""Pickled arrays are read, anything else in a pickle is refused and not run."""

from __future__ import annotations

import pickle
import tempfile
from collections import OrderedDict
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from utils.errors import UserError
from utils.safe_pickle import load_joblib, load_npy, load_pickle

DTYPES = ["u1", "<i4", ">i4", "<f4", ">f8", "f2", "?", "c8", "U5", "S3"]
SCALARS = (1, -2.5, None, True, "text", b"bytes", 3 + 4j, 1 << 70)


def same(left, right) -> bool:
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        if left.dtype != right.dtype or left.shape != right.shape:
            return False
        if left.dtype == object:
            return all(same(a, b) for a, b in zip(left.flat, right.flat, strict=True))
        return left.tobytes() == right.tobytes()
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return type(left) is type(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


def loads(data: bytes):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bytes.pkl"
        path.write_bytes(data)
        return load_pickle(path)


def ragged(*lengths: int) -> np.ndarray:
    array = np.empty(len(lengths), object)
    for index, length in enumerate(lengths):
        array[index] = np.arange(length * 4, dtype=np.float32).reshape(length, 4)
    return array


@settings(max_examples=60)
@given(
    array=st.sampled_from(DTYPES).flatmap(
        lambda code: hnp.arrays(np.dtype(code), hnp.array_shapes(min_dims=0, min_side=0))
    ),
    protocol=st.integers(0, 5),
    fortran=st.booleans(),
)
def test_arrays_of_every_protocol_come_back(array, protocol, fortran):
    array = np.asfortranarray(array) if fortran else array
    tree = {"a": array, "list": [array, (1, array)], 3: OrderedDict(x=array)}
    data = pickle.dumps(tree, protocol)
    assert same(loads(data), pickle.loads(data))


@pytest.mark.parametrize("protocol", range(6))
def test_containers_and_scalars_come_back(protocol):
    tree = [*SCALARS, {1, 2}, frozenset("ab"), np.float32(2.5), np.int64(7), np.bool_(True)]
    assert same(loads(pickle.dumps(tree, protocol)), tree)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_are_writable_and_plain(protocol):
    array = loads(pickle.dumps(np.zeros(3), protocol))
    array[0] = 1
    assert type(array) is np.ndarray


def test_both_module_names_of_numpy():
    data = pickle.dumps(np.arange(4), 2)
    new = data.replace(b"numpy.core.", b"numpy._core.")
    old = data.replace(b"numpy._core.", b"numpy.core.")
    for spelling in (old, new):
        assert same(loads(spelling), np.arange(4))


def test_numpy_scalars_as_keys_and_object_arrays_in_fortran_order():
    grid = np.asfortranarray(np.array([[np.float32(1), "a", None], [2, 3, 4]], object))
    tree = {np.int64(3): grid, "set": {np.int32(1), np.int32(2)}}
    loaded = loads(pickle.dumps(tree, 2))
    assert same(loaded[np.int64(3)], grid)
    assert loaded["set"] == {1, 2}


def test_parts_shared_beyond_any_memory_are_refused():
    nest = (np.arange(2),)
    for _ in range(60):
        nest = (nest, nest)
    with pytest.raises(UserError, match="shared so often"):
        loads(pickle.dumps(nest))


def test_a_list_that_contains_itself_is_refused():
    loop = [np.arange(2)]
    loop.append(loop)
    with pytest.raises(UserError, match="holds itself"):
        loads(pickle.dumps(loop))


def test_object_npy(tmp_path):
    np.save(tmp_path / "boxes.npy", ragged(3, 0, 2), allow_pickle=True)
    np.save(tmp_path / "plain.npy", np.eye(2))
    assert same(load_npy(tmp_path / "boxes.npy"), ragged(3, 0, 2))
    assert same(load_npy(tmp_path / "plain.npy"), np.eye(2))


COMPRESSIONS = [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 1), ("lzma", 1)]


@pytest.mark.parametrize("compress", COMPRESSIONS, ids=str)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_joblib_dumps(tmp_path, compress, protocol):
    rng = np.random.default_rng(0)
    tree = {
        "sample_id": np.arange(5),
        "appearance": rng.integers(0, 255, (5, 5, 8, 8, 3), np.uint8),
        "motion": np.asfortranarray(rng.normal(size=(5, 2)).astype(">f4")),
        "empty": np.zeros((0, 4)),
        "ragged": ragged(1, 2),
        "name": "chunk",
        "nested": [np.float64(1.5), (np.arange(3, dtype=np.int16),)],
    }
    path = tmp_path / "chunk.pkl"
    joblib.dump(tree, path, compress=compress, protocol=protocol)
    assert same(load_joblib(path), joblib.load(path, ensure_native_byte_order=False))
    assert same(load_joblib(path, memory_map=True), tree)


def test_joblib_arrays_can_be_mapped(tmp_path):
    joblib.dump({"x": np.arange(1000.0)}, tmp_path / "chunk.pkl")
    mapped = load_joblib(tmp_path / "chunk.pkl", memory_map=True)["x"]
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable


def test_joblib_before_alignment_bytes(tmp_path):
    class Old(joblib.numpy_pickle.NumpyPickler):
        def _create_array_wrapper(self, array):
            wrapper = super()._create_array_wrapper(array)
            del wrapper.numpy_array_alignment_bytes
            return wrapper

    with (tmp_path / "old.pkl").open("wb") as handle:
        Old(handle, protocol=3).dump({"x": np.arange(9), "y": 2})
    assert same(load_joblib(tmp_path / "old.pkl"), {"x": np.arange(9), "y": 2})


@pytest.mark.parametrize("compress", COMPRESSIONS[:3], ids=str)
@pytest.mark.parametrize("memory_map", [False, True])
def test_every_truncation_is_an_error(tmp_path, compress, memory_map):
    path = tmp_path / "chunk.pkl"
    joblib.dump({"x": np.arange(50), "y": np.arange(7)}, path, compress=compress)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 9, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"chunk\.pkl: (cut short|refused)"):
            load_joblib(path, memory_map)


@settings(max_examples=150)
@given(st.binary(max_size=80), st.integers(0, 200))
def test_rubbish_is_an_error_or_plain_data(noise, position):
    data = pickle.dumps({"gt": np.arange(4), "b": [1, "x"]}, 4)
    for rubbish in (noise, data[:position] + noise, data[:position] + noise + data[position:]):
        try:
            loads(rubbish)
        except UserError as error:
            assert "bytes.pkl: " in str(error)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_pickle(tmp_path / "nothing.pkl")
    with pytest.raises(UserError, match="no such file"):
        load_npy(tmp_path)


def test_real_files(vad_data):
    labels = load_pickle(vad_data / "data/ped2/original_artifacts/gt_label.json")
    assert sum(map(len, labels.values())) == 2010
    boxes = load_npy(vad_data / "data/ped2/original_artifacts/ped2_bboxes_train.npy")
    assert len(boxes) == 2550
    assert sum(map(len, boxes)) == 29970
