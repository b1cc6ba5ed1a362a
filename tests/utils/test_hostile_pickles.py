"""What a pickle asks for beyond plain arrays is refused and not run; states that lie are errors."""

from __future__ import annotations

import functools
import io
import os
import pickle
import subprocess
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import joblib
import numpy as np
import pytest

from tests.utils.test_safe_pickle import loads, same
from utils.errors import UserError
from utils.safe_pickle import load_joblib, load_npy, load_pickle


class Call:
    """Pickles as a call of ``function(*arguments)``."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def malicious(marker: Path) -> dict[str, bytes]:
    touch = f"touch {marker}"
    return {
        "os.system": pickle.dumps(Call(os.system, touch)),
        "os.system in a dict": pickle.dumps({"gt": [np.arange(2), Call(os.system, touch)]}),
        "eval": pickle.dumps(Call(eval, f"open({str(marker)!r}, 'w')")),
        "exec": pickle.dumps(Call(exec, f"open({str(marker)!r}, 'w')")),
        "open": pickle.dumps(Call(open, str(marker), "w")),
        "getattr": pickle.dumps(Call(getattr, "x", "upper")),
        "subprocess": pickle.dumps(Call(subprocess.check_output, ["touch", str(marker)])),
        "partial": pickle.dumps(functools.partial(os.system, touch)),
        "protocol 0": b"cposix\nsystem\n(S'" + touch.encode() + b"'\ntR.",
        "np.load": pickle.dumps(Call(np.load, str(marker))),
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x16ndarray.__subclasses__\x93)R.",
        "numpy.testing": b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n}tR.",
        "structured dtype": pickle.dumps(np.zeros(2, [("a", "O"), ("b", "i4")])),
        "class": pickle.dumps(Path("x")),
    }


@pytest.mark.parametrize("name", malicious(Path("x")))
@pytest.mark.parametrize("load", [load_pickle, load_joblib])
def test_malicious_pickles_are_refused_and_not_run(tmp_path, name, load):
    marker = tmp_path / "ran"
    path = tmp_path / "labels.pkl"
    path.write_bytes(malicious(marker)[name])
    with pytest.raises(UserError, match=r"labels\.pkl: refused"):
        load(path)
    assert not marker.exists()


def test_malicious_object_npy_and_nested_joblib_stream(tmp_path):
    marker = tmp_path / "ran"
    evil = np.empty(1, object)
    evil[0] = Call(os.system, f"touch {marker}")
    np.save(tmp_path / "boxes.npy", evil, allow_pickle=True)
    joblib.dump({"x": evil}, tmp_path / "chunk.pkl")
    for load, name in ((load_npy, "boxes.npy"), (load_joblib, "chunk.pkl")):
        with pytest.raises(UserError, match="refused"):
            load(tmp_path / name)
    assert not marker.exists()


def test_attributes_set_by_a_pickle_do_not_outlive_it():
    # GLOBAL scalar, then BUILD with slot state (None, {"__defaults__": None}) on the function
    for name in (b"__kwdefaults__", b"__defaults__", b"__name__"):
        state = b"N}X" + len(name).to_bytes(4, "little") + name + b"Ns\x86b."
        with pytest.raises(UserError):
            loads(b"\x80\x02cnumpy.core.multiarray\nscalar\n" + state)
    assert loads(pickle.dumps(np.float32(3))) == 3


class State:
    """Pickles as ``function(*arguments)`` with a state set on it."""

    def __init__(self, maker, state):
        self.maker, self.state = maker, state

    def __reduce__(self):
        function, arguments = self.maker.__reduce__()[:2]
        return function, arguments, self.state


EMPTY, WORD = np.empty(0), np.dtype("i8", copy=True)
WRONG_STATES = {
    "list shorter than the shape": State(EMPTY, (1, (9,), np.dtype("O"), False, [1])),
    "tuple of objects": State(EMPTY, (1, (1,), np.dtype("O"), False, (1,))),
    "bytes as objects": State(EMPTY, (1, (1,), np.dtype("O"), False, b"\1" * 8)),
    "bytes shorter than the shape": State(EMPTY, (1, (9,), np.dtype("f4"), False, b"\0" * 8)),
    "bytes for a huge shape": State(EMPTY, (1, (1 << 60,), np.dtype("f8"), False, b"")),
    "sizes that overflow to the right one": State(
        EMPTY, (1, (1 << 32, 1 << 32), np.dtype("u1"), False, b"")
    ),
    "negative sizes": State(EMPTY, (1, (-2, -2), np.dtype("u1"), False, b"\0" * 4)),
    "text of no width": State(EMPTY, (1, (1 << 60,), np.dtype("U0"), False, b"")),
    "no dtype": State(EMPTY, (1, (1,), None, False, b"\0")),
    "fields on a number": State(WORD, (3, "<", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 8, 63)),
    "a base dtype on a number": State(WORD, (3, "<", (np.dtype("O"), (1,)), None, None, 8, 8, 63)),
}


@pytest.mark.parametrize("name", WRONG_STATES)
def test_states_that_do_not_fit_are_errors(name):
    with pytest.raises(UserError, match=r"cut short or damaged|refused"):
        loads(pickle.dumps(WRONG_STATES[name], 2))


def test_bytes_of_python_2_are_text():
    words = State(EMPTY, (1, (2,), np.dtype("<u2"), False, "\xff\x01\x02\x00"))
    assert same(loads(pickle.dumps(words, 2)), np.array([0x1FF, 2], np.uint16))


def test_a_dtype_keeps_its_size_and_flags():
    word = State(WORD, (3, ">", None, None, None, 1 << 20, 1, 63))
    array = State(EMPTY, (1, (2,), word, False, b"\0" * 7 + b"\1" + b"\0" * 7 + b"\2"))
    assert same(loads(pickle.dumps(array, 2)), np.array([1, 2]))
    assert loads(pickle.dumps(np.dtype("i8"), 2)) == np.dtype("i8")


@pytest.mark.parametrize("code", ["V8", "M8[s]", "f4,O", "(2,)f4", [("a", "O")]], ids=str)
def test_other_dtypes_are_refused(code):
    with pytest.raises(UserError, match="refused: this pickle asks for an array of dtype"):
        loads(pickle.dumps(Call(np.dtype, code, False, True)))


def test_only_arrays_dtypes_and_joblib_arrays_take_a_state():
    for target in (OrderedDict(a=1), {1}, np.float32(1)):
        data = pickle.dumps(target, 2)[:-1] + pickle.dumps({"x": 1}, 2)[2:-1] + b"b."
        with pytest.raises(UserError, match="refused: this pickle asks for the state of a"):
            loads(data)


VALUES = [set, complex, np.ndarray, np.dtype, np.float32(1).__reduce__()[0], OrderedDict]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_functions_and_classes_are_no_values(value):
    for tree in (value, [{"gt": (value,)}], {frozenset([value]): 1}):
        with pytest.raises(UserError, match="refused"):
            loads(pickle.dumps(tree))


def test_arrays_as_views_of_other_arrays_are_errors():
    frombuffer = np.empty(0).__reduce_ex__(5)[0]
    for data in (np.arange(4), 1 << 40):
        with pytest.raises(UserError, match="cut short or damaged"):
            loads(pickle.dumps(Call(frombuffer, data, np.dtype("u1"), (32,), "C")))


def test_transposed_arrays_of_protocol_5():
    array = np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0)
    assert same(loads(pickle.dumps(array, 5)), array)


CLAIMS = {
    "bytes": b"\x80\x04\x8e" + (1 << 28).to_bytes(8, "little") + b"ab.",
    "bytearray": b"\x80\x05\x96" + (1 << 28).to_bytes(8, "little") + b"ab.",
    "frame": b"\x80\x04\x95" + (1 << 28).to_bytes(8, "little") + b"ab.",
}


def joblib_of_huge_shape() -> bytes:
    handle = io.BytesIO()
    joblib.dump(np.zeros(10, np.uint8), handle, protocol=3)
    before, after = handle.getvalue().split(b"K\n\x85")  # the shape (10,)
    return before + b"\x8a\x04" + (1 << 28).to_bytes(4, "little") + b"\x85" + after


def test_lengths_that_the_file_does_not_have_take_no_memory(tmp_path):
    tracemalloc.start()
    try:
        for data in (*CLAIMS.values(), joblib_of_huge_shape()):
            (tmp_path / "claim.pkl").write_bytes(data)
            with pytest.raises(UserError, match="cut short or damaged"):
                load_joblib(tmp_path / "claim.pkl")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_npy_that_claims_more_than_the_file_holds(tmp_path):
    path = tmp_path / "boxes.npy"
    with path.open("wb") as handle:
        header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}
        np.lib.format.write_array_header_1_0(handle, header)
    with pytest.raises(UserError, match=r"cut short or damaged.*array data"):
        load_npy(path)
