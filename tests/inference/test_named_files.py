"""Files that a checkpoint's or a published configuration names are opened on the user's word."""

from __future__ import annotations

from typing import get_args

import pytest

import eval as eval_script
import infer
from tests.helpers.tiny_checkpoint import MOTION_BOXES, write_checkpoint
from utils.config import named_files
from utils.config.hf2vad import BoxConfig, FlowConfig
from utils.config.load import scoring_config
from utils.errors import UserError


def fails(capsys, main, *arguments) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.fixture
def evil(tmp_path):
    """An mmdet configuration that leaves a mark when it is run, beside its checkpoint."""
    code = tmp_path / "detector.py"
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "detector.pth").write_bytes(b"weights")
    return code


def test_a_checkpoint_runs_no_code_that_it_names(capsys, tmp_path, evil):
    boxes = {"backend": "mmdet", "model": str(evil), "weights": str(evil.with_suffix(".pth"))}
    path = write_checkpoint(tmp_path / "last.pth", pre_process={"boxes": boxes})
    said = fails(capsys, infer.main, "--model", path, "--source", tmp_path)
    assert f"--set pre_process.boxes.model={evil} pre_process.boxes.weights=" in said
    said = fails(capsys, infer.main, "--model", path, "--source", tmp_path, "--set",
                 f"pre_process.boxes.weights={boxes['weights']}")  # fmt: skip
    assert f"add --set pre_process.boxes.model={evil} if" in said
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "block",
    [{"boxes": {"backend": "yolox", "weights": "y.onnx"}},
     {"boxes": {"backend": "torchvision", "weights": "w.pth"}},
     {"flow": {"backend": "raft", "weights": "w.pth"}},
     {"flow": {"backend": "flownet2", "weights": "w.pth"}}],
)  # fmt: skip
def test_weights_that_a_checkpoint_names(capsys, tmp_path, block):
    path = write_checkpoint(tmp_path / "last.pth", pre_process={**MOTION_BOXES, **block})
    said = fails(capsys, infer.main, "--model", path, "--source", tmp_path)
    assert "opened only when you name it" in said and "weights=" in said


def test_every_backend_says_which_of_its_keys_name_files():
    for block, files in (
        (BoxConfig, named_files._BOX_FILES),
        (FlowConfig, named_files._FLOW_FILES),
    ):
        assert set(files) == set(get_args(block.model_fields["backend"].annotation))


def test_named_by_the_user_it_is_opened_and_unused_it_is_not_asked_for(tmp_path):
    boxes = {"backend": "yolox", "weights": "y.onnx"}
    tree = {"data": {"name": "a"}, "pre_process": {"boxes": boxes}}
    blocks = ("pre_process",)
    with pytest.raises(UserError, match=r"names 'y\.onnx'"):
        scoring_config(tree, "last.pth", blocks=blocks, opens=blocks)
    for override in ("boxes.weights=y.onnx", "boxes.backend=motion", "boxes={backend: motion}"):
        scoring_config(tree, "c", None, [f"pre_process.{override}"], blocks=blocks, opens=blocks)


def test_a_data_set_that_a_checkpoint_names(capsys, tmp_path):
    path = write_checkpoint(tmp_path / "last.pth", data={"root": str(tmp_path / "elsewhere")})
    said = fails(capsys, eval_script.main, "--model_save_path", path)
    assert f"add --set data.root={tmp_path / 'elsewhere'} if you trust" in said
    said = fails(capsys, eval_script.main, "--model_save_path", path, "--set",
                 f"data.root={tmp_path / 'elsewhere'}")  # fmt: skip
    assert "dataset.json: no such file" in said


def test_features_that_a_checkpoint_names():
    tree = {"system": "frd", "data": {"name": "a", "testing_labels": "/etc/passwd"}}
    with pytest.raises(UserError, match=r"--set data\.testing_labels=/etc/passwd"):
        scoring_config(tree, "last.pth", system="frd")
    tree["data"]["testing_labels"] = "none"
    scoring_config(tree, "last.pth", system="frd")
