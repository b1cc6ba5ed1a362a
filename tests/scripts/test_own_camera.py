"""One's own camera, from the beginning: ``cfgs/custom.yaml`` on videos without any label."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import eval as eval_script
import finetune
import infer
import ml_memAE_sc_train
import train
from pre_process import extract_samples, prepare_dataset
from tests.helpers.tiny_videos import write_video
from tests.repository.test_structure import ROOT
from utils.files import read_json

TINY = ["run.device=cpu", "pre_process.boxes.min_area=30", "pre_process.flow.preset=ultrafast"]
TINY += ["data.calibration_share=0.3"]  # so short a video
TINY += ["model.memae.feature_root=2", "model.memae.num_slots=4"]
TINY += ["model.vunet.nf_max=8", "model.vunet.nf_start=4"]
TINY += [f"{stage}.num_epochs=1" for stage in ("ml_memae_sc", "cvae", "finetune")]


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """The folder of everything, and the checkpoint that ``docs/infer.md``'s commands give."""
    folder = tmp_path_factory.mktemp("camera")
    for split, length in (("training", 270), ("testing", 30)):
        (folder / "videos" / split).mkdir(parents=True)
        write_video(folder / "videos" / split / "monday.avi", length, fps=10.0)
    given = ["--cfg_file", str(ROOT / "cfgs" / "custom.yaml"), "--set", *TINY, "data.name=yard",
             f"data.root={folder / 'data'}", f"run.root={folder / 'runs'}"]  # fmt: skip
    prepare_dataset.main(["--name", "yard", "--source", str(folder / "videos"),
                          "--output", str(folder / "data")])  # fmt: skip
    extract_samples.main([*given, "--workers", "1"])
    for stage in (ml_memAE_sc_train, train, finetune):
        stage.main(given)
    return folder, folder / "runs" / "yard" / "finetune" / "last.pth"


def numbers(folder, name):
    """Text and number columns of a table that ``infer.py`` or ``eval.py`` wrote."""
    with (folder / name).open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    values = [key for key in rows[0] if key == "score" or key.endswith("error")]
    names = [key for key in rows[0] if key not in (*values, "label")]
    return (
        [[row[key] for key in names] for row in rows],
        np.array([[float(row[key]) for key in values] for row in rows]),
    )


def test_its_model_watches_new_video_as_evaluation_does(camera):
    folder, model = camera
    eval_script.main(["--model_save_path", str(model), "--output", str(folder / "eval"), "--set",
                      f"data.root={folder / 'data'}"])  # fmt: skip
    infer.main(["--model", str(model), "--output", str(folder / "infer"), "--no_video",
                "--source", str(folder / "videos" / "testing" / "monday.avi")])  # fmt: skip
    for name in ("frame_scores.csv", "cube_scores.csv"):
        (places, ours), (expected, theirs) = (
            numbers(folder / each, name) for each in ("infer", "eval")
        )
        assert places == expected and len(places) > 20
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    told = read_json(folder / "infer" / "alarms.json")
    assert told["threshold_source"] == "calibrated on normal held-out video"
    assert "frames in a thousand" in told["expected_on_normal_video"]
    page = (folder / "infer" / "report.html").read_text()
    assert "to be expected" in page and "in 2.6 s of video; the highest score is" in page
