"""Small files that stand for more than any memory holds are refused before they are expanded."""

from __future__ import annotations

import json
import pickle
import resource
import zipfile

import cv2
import numpy as np
import pytest
import scipy.io
import torch

from datasets.image_folders import read_image
from datasets.labels import mat_files
from datasets.labels.formats import read_raw
from datasets.labels.masks import has_masks, read_masks
from datasets.labels.mat_files import read_mat
from pre_process.detectors.box_files import _read_npz
from tests.utils.test_checkpoint import content
from utils.checkpoint import load_checkpoint, save_checkpoint
from utils.config.load import load_config, scoring_config
from utils.config.yaml_file import read_yaml
from utils.errors import UserError
from utils.files import read_json
from utils.untrusted.expansion import is_cut_png, require_tree


def test_pickles_of_shared_lists(tmp_path):
    tree = [0]
    for _ in range(30):
        tree = [tree] * 10
    (tmp_path / "labels.pkl").write_bytes(pickle.dumps(tree))
    with pytest.raises(UserError, match="shared so often"):
        read_raw(tmp_path / "labels.pkl")
    (tmp_path / "labels.pkl").write_bytes(pickle.dumps([np.zeros(10**6)] * 1000))
    with pytest.raises(UserError, match="shared so often"):
        read_raw(tmp_path / "labels.pkl")


def test_a_container_that_holds_itself(tmp_path):
    tree: list = []
    tree.append(tree)
    (tmp_path / "labels.pkl").write_bytes(pickle.dumps(tree))
    with pytest.raises(UserError, match="holds itself"):
        read_raw(tmp_path / "labels.pkl")


def test_trees_that_share_what_is_small_are_read():
    empty: list = []
    assert require_tree([empty] * 100_000) and require_tree({"a": [1, 2], "b": (empty, {"c": 3})})


def test_yaml_aliases(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "c.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match="aliases"):
        load_config(tmp_path / "c.yaml")
    merges = ["a0: &a0 {x: 1}"]
    merges += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)]
    (tmp_path / "c.yaml").write_text("\n".join(merges))
    with pytest.raises(UserError, match="aliases"):
        read_yaml(tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("a: &a [*a]")
    with pytest.raises(UserError, match=r"c\.yaml"):
        read_yaml(tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}")
    assert read_yaml(tmp_path / "c.yaml")["c"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    "text",
    ["run: {name: 2024-02-30}", f"run: {{seed: {'9' * 5000}}}", "[" * 20_000, "{a: " * 5000,
     "a: 0x" + "f" * 50_000, "a: 1:99999:" + "9" * 5000, "x" * 2_000_000],
)  # fmt: skip
def test_texts_that_yaml_trips_over(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=r"c\.yaml") as caught:
        load_config(tmp_path / "c.yaml")
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "override",
    ["run.name=2024-02-30", f"run.seed={'9' * 5000}", "run.name=" + "[" * 20_000,
     "run.seed=4294967296", "run.seed=0x" + "f" * 9000, "cvae.num_epochs=.inf", "run.name=*a",
     "cvae.lr=.inf", "model.memae.num_slots=1" + "0" * 30, "run.num_threads=1000000",
     "run.device=cuda:" + "9" * 30, "a" * 5000, "a" * 5000 + "=1", f"{'a.' * 500}a=1",
     "data.name." + "b" * 5000 + "=1", f"system={'9' * 5000}", "system=" + "x" * 5000,
     'run.root="a\\0b"', 'data.root="\\0"'],
)  # fmt: skip
def test_overrides_that_are_no_values(tmp_path, override):
    (tmp_path / "c.yaml").write_text("data: {name: a}")
    with pytest.raises(UserError) as caught:
        load_config(tmp_path / "c.yaml", [override])
    assert len(str(caught.value)) < 700
    with pytest.raises(UserError) as caught:
        scoring_config({"data": {"name": "a"}}, "last.pth", overrides=[override])
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, '{"a": ' + "9" * 5000 + "}"]
)
def test_json_that_python_trips_over(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    for read in (read_json, read_raw):
        with pytest.raises(UserError, match=r"a\.json"):
            read(tmp_path / "a.json")


def test_npz_that_unpacks_to_more_than_labels(tmp_path):
    header = {"descr": "<f8", "fortran_order": False, "shape": (300 * 2**17,)}
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("v.npy", "w") as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(300):
            member.write(bytes(2**20))
    assert (tmp_path / "a.npz").stat().st_size < 4 << 20
    for read in (read_raw, _read_npz):
        with pytest.raises(UserError, match="unpacks to 300 MiB"):
            read(tmp_path / "a.npz")


def test_mat_that_unpacks_to_more_than_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(mat_files, "_MOST_BYTES", 2**24)
    zeros = np.zeros((20, 2**20), np.uint8)
    scipy.io.savemat(tmp_path / "a.mat", {"volLabel": zeros}, do_compression=True)
    with pytest.raises(UserError, match="unpacks to more than labels need"):
        read_mat(tmp_path / "a.mat")


def test_deflated_checkpoint(tmp_path):
    save_checkpoint(tmp_path / "stored.pth", content(model={"w": torch.zeros(2**22)}))
    with (
        zipfile.ZipFile(tmp_path / "stored.pth") as stored,
        zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as deflated,
    ):
        for name in stored.namelist():
            deflated.writestr(name, stored.read(name))
    with pytest.raises(UserError, match="compressed archive"):
        load_checkpoint(tmp_path / "a.pth")
    load_checkpoint(tmp_path / "stored.pth")


@pytest.mark.parametrize(
    "row", ["a,300000000,1", f"a,{2**70},1", f"a,{'9' * 5000},1", "a,-1,1", "a,0,300000000"]
)
def test_tables_with_huge_numbers(tmp_path, row):
    from datasets.labels.frame_labels import read_labels
    from datasets.labels.regions import HEADER, read_regions

    path = tmp_path / "labels.csv"
    for header in ("video,frame,label", "video,start,stop", "video,first,last"):
        path.write_text(f"{header}\n{row}\n")
        with pytest.raises(UserError, match=r"labels\.csv"):
            read_labels(path, {"a": 10})
    if int(row.split(",")[1][:30]) > 2**36:
        (tmp_path / "regions.csv").write_text(f"{','.join(HEADER)}\n{row},0,0,5,5\n")
        with pytest.raises(UserError, match="line 2"):
            read_regions(tmp_path / "regions.csv")


@pytest.mark.parametrize("stretch", ["5:", ":", "1:2:3", "9" * 5000 + ":1", "a:b", "5:-3", "1:9e9"])
def test_matlab_scripts_that_are_malformed(tmp_path, stretch):
    (tmp_path / "UCSDped2.m").write_text(f"TestVideoFile{{end+1}}.gt_frame = [{stretch}];")
    with pytest.raises(UserError, match=r"UCSDped2\.m: gt_frame"):
        read_raw(tmp_path / "UCSDped2.m")


def test_labels_whose_names_are_numbers_of_thousands_of_digits(tmp_path):
    from datasets.labels.frame_labels import read_labels

    (tmp_path / "a.json").write_text(json.dumps({"1" * 5000: [0, 1]}))
    with pytest.raises(UserError, match=r"a\.json"):
        read_labels(tmp_path / "a.json", {"01": 2})
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({10**5000: [0, 1]}))
    with pytest.raises(UserError, match=r"b\.pkl"):
        read_labels(tmp_path / "b.pkl", {"01": 2})


@pytest.mark.parametrize("gray", [False, True])
def test_a_picture_with_a_chunk_longer_than_its_file(tmp_path, gray):
    path = tmp_path / "Test001_gt" / "001.png"
    path.parent.mkdir()
    data = bytearray(cv2.imencode(".png", np.zeros((32, 32, 3), np.uint8))[1].tobytes())
    assert not is_cut_png(bytes(data)) and not is_cut_png(bytes(data) + b"more")
    data[data.index(b"IDAT") - 4] = 0xAD
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"001\.png: not a whole image"):
        list(read_masks(tmp_path)) if gray else read_image(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20, "KiB: a gigabyte"
    for end in (0, 5, 8, 20, len(data) - 5):
        path.write_bytes(data[:end])
        with pytest.raises(UserError, match=r"001\.png"):
            read_image(path)


@pytest.mark.parametrize("header", [b"{", b"{'descr': '<f4', 'shape': (9**99**9,)}", b"[" * 9000])
def test_masks_with_a_damaged_head(tmp_path, header):
    head = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    (tmp_path / "01.npy").write_bytes(head)
    assert not has_masks(tmp_path)
