"""Checkpoints: whole or not there, read without running code, faults named."""

from __future__ import annotations

import os
import pickle
import shutil

import pytest
import torch
from torch import nn

from models.frd.c2fpl import C2FPLScorer
from models.frd.scorers import scorer_from_checkpoint
from utils.checkpoint import load_checkpoint, load_weights, save_checkpoint
from utils.errors import UserError
from utils.untrusted.checkpoint_checks import require_whole


def content(**changes):
    base = {
        "system": "hf2vad",
        "stage": "cvae",
        "config": {"data": {"name": "a"}},
        "model": {"weight": torch.ones(2)},
        "finished": True,
        "epoch": 1,
        "step": 2,
        "provenance": {},
    }
    return {**base, **changes}


def test_round_trip(tmp_path):
    save_checkpoint(tmp_path / "last.pth", content())
    loaded = load_checkpoint(tmp_path / "last.pth", stages=("cvae", "finetune"))
    assert loaded["format_version"] == 1 and torch.equal(loaded["model"]["weight"], torch.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == ["last.pth"]


def test_wrong_stage_system_version_or_key(tmp_path):
    path = tmp_path / "last.pth"
    save_checkpoint(path, content())
    with pytest.raises(UserError, match="stage 'cvae', but 'ml_memae_sc' is needed"):
        load_checkpoint(path, stages=("ml_memae_sc",))
    with pytest.raises(UserError, match="'frd' is needed"):
        load_checkpoint(path, system="frd")
    torch.save({**content(), "format_version": 99}, path)
    with pytest.raises(UserError, match="format version 99 of newer code"):
        load_checkpoint(path)
    torch.save({"format_version": 1, "system": "hf2vad"}, path)
    with pytest.raises(UserError, match="lacks stage, config"):
        load_checkpoint(path)
    torch.save({"state": 1}, path)
    with pytest.raises(UserError, match="not a checkpoint of this project"):
        load_checkpoint(path)


@pytest.mark.parametrize("keep", [0, 1, 100, 700])
def test_truncated_file(tmp_path, keep):
    path = tmp_path / "last.pth"
    save_checkpoint(path, content())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"not a checkpoint") as caught:
        load_checkpoint(path)
    assert "weights_only" not in str(caught.value)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:12ab\nsize 12345\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"not a checkpoint \(empty\); fetch it again"),
        (b"\n <!DOCTYPE html><html>Google Drive", r"\(a web page\); download the file itself"),
        (LFS, r"\(a Git LFS pointer, not the file itself\); run 'git lfs pull'"),
        (b'{"error": "quota"}', r"""\(a text file \('{"error": "quota"}'\)\)"""),
        (b"\x1f\x8b\x08 some bytes", r"\(a gzip archive\); unpack it"),
        (bytes(5000), "nothing but zero bytes"),
        (pickle.dumps({"a": 1}), r"\(a Python pickle that torch\.save did not write\)"),
        (b"\xfe\x01" * 300, "truncated or not a checkpoint"),
    ],
)
def test_a_foreign_file_says_what_it_is(tmp_path, data, message):
    path = tmp_path / "last.pth"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        load_checkpoint(path)
    assert "weights_only" not in str(caught.value) and "likely succeed" not in str(caught.value)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_around_a_checkpoint(tmp_path, kind):
    save_checkpoint(tmp_path / "in" / "last.pth", content())
    archive = shutil.make_archive(str(tmp_path / "set"), kind, tmp_path / "in")
    with pytest.raises(UserError, match=rf"not a checkpoint \(a {kind} archive.*unpack it"):
        load_checkpoint(archive)


def test_torchscript_and_whole_modules_are_refused_without_advice_to_run_them(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "script.pth"))
    with pytest.raises(UserError, match=r"\(a TorchScript archive\)") as caught:
        load_checkpoint(tmp_path / "script.pth")
    assert "weights_only" not in str(caught.value)
    for new_format in (True, False):
        path = tmp_path / "module.pth"
        torch.save(nn.Linear(2, 2), path, _use_new_zipfile_serialization=new_format)
        with pytest.raises(UserError, match=r"refused.*linear\.Linear.*nothing in it") as caught:
            load_checkpoint(path)
        assert "still be loaded" not in str(caught.value)


def test_the_web_page_of_the_cases(vad_data):
    with pytest.raises(UserError, match=r"not a checkpoint \(a web page\)") as caught:
        load_checkpoint(vad_data / "cases" / "html.pth")
    assert "weights_only" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.pth")
    with pytest.raises(UserError, match=str(tmp_path)):
        load_checkpoint(tmp_path)


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({**content(), "format_version": 1, "x": Evil(tmp_path / "ran")}, path)
    with pytest.raises(UserError, match="refused"):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "last.pth"
    save_checkpoint(path, content())
    before = path.read_bytes()
    with pytest.raises((AttributeError, TypeError, RuntimeError, pickle.PicklingError)):
        save_checkpoint(path, content(step=lambda: None))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pth"]


def test_other_architecture_names_the_tensors():
    model = nn.Linear(2, 3)
    state = {"weight": torch.ones(3, 4), "extra": torch.ones(1)}
    with pytest.raises(UserError) as caught:
        load_weights(model, state, "file.pth")
    text = str(caught.value)
    assert "missing bias" in text and "unexpected extra" in text
    assert "weight: (3, 4) instead of (3, 2)" in text


@pytest.mark.parametrize(
    "video",
    [{"width": 640, "height": 360}, {"width": -1, "height": 360, "fps": 25.0},
     {"width": 640, "height": 360, "fps": float("nan")}, [640, 360, 25.0]],
)  # fmt: skip
def test_a_training_video_that_is_not_whole_is_refused(tmp_path, video):
    whole = {"width": 640, "height": 360, "fps": 25.0}
    path = tmp_path / "last.pth"
    save_checkpoint(path, content(video=whole))
    assert load_checkpoint(path)["video"] == whole
    save_checkpoint(path, content(video=video))
    with pytest.raises(UserError, match="video"):
        load_checkpoint(path)


SCORE = {"mean": 1.0, "std": 1.0, "quantiles": [1.0]}
DIAGNOSIS = {
    "rms": 3.0,
    "gain": None,
    "correlation": 0.9,
    "labelled": 0.1,
    "videos": {"01": [1, 5], "02": [0, 4]},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"statistics": {"num_cubes": 5, "score": [1.0]}},
        {"statistics": {"num_cubes": 5, "score": {"mean": 1.0}}},
        {"statistics": {"score": SCORE}},
        {"statistics": {"num_cubes": 5, "score": SCORE | {"surprise": "x" * 2000}}},
        {"statistics": {"num_cubes": 5, "score": SCORE | {"surprise": {"knots": [1.0]}}}},
        {"statistics": {"num_cubes": 1.5}},
        {"statistics": {"quantile_levels": 3}},
        {"feature_scale": None},
        {"feature_scale": 0.0},
        {"feature_scale": float("nan")},
        {"feature_scale": torch.zeros(0)},
        {"feature_mean": 3},
        {"feature_mean": torch.zeros(2, device="meta")},
        {"densities": 5},
        {"diagnosis": {}},
        {"diagnosis": DIAGNOSIS | {"rms": float("inf")}},
        {"diagnosis": DIAGNOSIS | {"labelled": None}},
        {"diagnosis": DIAGNOSIS | {"videos": 10**9}},
        {"diagnosis": DIAGNOSIS | {"videos": {"01": [1]}}},
        {"diagnosis": DIAGNOSIS | {"videos": {"01": [5, 1]}}},
        {"diagnosis": DIAGNOSIS | {"videos": {"01": [0, 0]}}},
        {"diagnosis": DIAGNOSIS | {"videos": {"01": [torch.zeros(2).to_sparse(), 1]}}},
    ],
)
def test_tables_of_features_and_densities(changes, tmp_path):
    require_whole(content(diagnosis=DIAGNOSIS, feature_scale=2.5), tmp_path / "last.pth")
    with pytest.raises(UserError, match=r"last\.pth"):
        require_whole(content(**changes), tmp_path / "last.pth")


def test_a_configuration_with_gaps_is_filled(tmp_path):
    whole = content(config={"data": {"name": "a"}, "run": {"device": "cpu"}, "cvae": {"lr": 1.0}})
    require_whole(whole, tmp_path / "last.pth")
    config = whole["config"]
    assert config["run"]["seed"] == 0 and config["run"]["device"] == "cpu"
    assert config["cvae"]["lr"] == 1.0 and "num_epochs" in config["cvae"] and config["model"]


def test_a_mean_feature_of_another_length_is_refused():
    model = C2FPLScorer(256).state_dict()
    checkpoint = {"stage": "c2fpl", "model": model, "feature_mean": torch.ones(256)}
    assert scorer_from_checkpoint(checkpoint, "last.pth").mean.sum() == 256
    for wrong in (torch.ones(1), torch.ones(255), torch.ones(256, dtype=torch.int64)):
        with pytest.raises(UserError, match=r"last\.pth: its feature_mean"):
            scorer_from_checkpoint(checkpoint | {"feature_mean": wrong}, "last.pth")
