"""Configuration: every fault in one message, nearest names, overrides."""

from __future__ import annotations

import argparse

import pytest
import yaml

from models.frd.frd import check_model_size
from tests.repository.test_structure import ROOT
from utils.config.load import load_config, save_config
from utils.console import frame_rate
from utils.errors import UserError


@pytest.fixture
def write(tmp_path):
    def _write(text: str):
        path = tmp_path / "set.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def test_defaults_are_the_published_ped2_numbers(write):
    config = load_config(write("data: {name: ped2}"))
    assert config.model.memae.num_slots == 2000 and config.model.vunet.nf_max == 128
    assert (config.ml_memae_sc.batch_size, config.cvae.batch_size) == (256, 128)
    assert config.finetune.lr == 8e-5 and config.ml_memae_sc.adam_eps == 1e-7
    assert (config.eval.w_flow, config.eval.w_frame, config.eval.w_energy) == (1.0, 0.1, 0.0)
    assert str(config.data.folder) == "data/ped2"
    assert str(config.stage_folder("cvae")) == "runs/ped2/cvae"


@pytest.mark.parametrize("path", sorted((ROOT / "cfgs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_in_cfgs_is_valid(path):
    system = yaml.safe_load(path.read_text(encoding="utf-8")).get("system", "hf2vad")
    config = load_config(path, system=system)
    assert config.data.name == path.stem.removeprefix("frd_") or path.stem in (
        "frd_toy",
        "ped2_cpu",
    )
    if system == "frd":
        check_model_size(config.model.feature_size, config.model.num_blocks)


def test_ucf_crime_is_the_published_run():
    """lr 0.001, Lambda 1_1_1, 320 items, 5 epochs, 8 blocks, K 4, no bank (beta 0.1, delta 0.5)."""
    config = load_config(ROOT / "cfgs" / "frd_ucf_crime.yaml", system="frd")
    frd, bank = config.frd, config.frd.bank
    assert (frd.lr, frd.lam_recon, frd.lam_bank, frd.lam_score) == (1e-3, 1, 1, 1)
    assert (frd.betas, frd.weight_decay) == ((0.9, 0.95), 0.01)
    assert (frd.batch_size, frd.num_epochs, frd.cross_clip, config.run.seed) == (320, 5, 4, 1)
    assert (bank.enabled, bank.kind, bank.beta, bank.delta) == (False, "wlab", 0.1, 0.5)
    assert (config.model.num_blocks, config.model.feature_size) == (8, 2048)
    assert (config.model.disruption, config.model.dropout) == (0.5, 0.7)
    assert (config.c2fpl.num_epochs, config.c2fpl.batch_size, config.c2fpl.lr) == (30, 128, 0.01)
    labels = config.pre_process.pseudo_labels
    assert (config.model.feature_scale, config.c2fpl.centred, config.c2fpl.balanced) == (
        "none", False, False,
    )  # fmt: skip
    assert (labels.centred, labels.tail, labels.rule) == (False, "both", "p_differences")
    assert frd.auxiliary.threshold == 0.5


def test_other_features_get_what_holds_on_them():
    paths = set((ROOT / "cfgs").glob("frd_*.yaml")) - {ROOT / "cfgs" / "frd_ucf_crime.yaml"}
    for config in (load_config(path, system="frd") for path in sorted(paths)):
        labels = config.pre_process.pseudo_labels
        assert config.model.feature_scale == "rms" and config.c2fpl.centred
        assert config.c2fpl.balanced and labels.centred
        assert config.frd.auxiliary.threshold is None
        assert (labels.tail, labels.rule) == ("upper", "lowest_log_survival")


def test_all_faults_come_together_with_the_nearest_names(write):
    path = write("data: {name: x}\ncvae: {num_epoch: 3, lr: -1}\nevl: {}\nnum_slots: 4\n")
    with pytest.raises(UserError) as caught:
        load_config(path)
    text = str(caught.value)
    assert str(path) in text and "4 fault(s)" in text
    assert "cvae.num_epoch: unknown key; did you mean 'num_epochs'?" in text
    assert "cvae.lr: -1 is not allowed" in text
    assert "evl: unknown key; did you mean 'eval'?" in text
    assert "num_slots: unknown key; did you mean 'model.memae.num_slots'?" in text


def test_overrides_win_and_are_checked(write):
    path = write("data: {name: x}")
    config = load_config(path, ["cvae.num_epochs=5", "eval.w_flow=0.5", "data.root=/d"])
    assert config.cvae.num_epochs == 5 and str(config.data.folder) == "/d"
    with pytest.raises(UserError, match=r"cvae\.num_epochs: 'many' is not allowed"):
        load_config(path, ["cvae.num_epochs=many"])
    with pytest.raises(UserError, match="KEY=VALUE"):
        load_config(path, ["cvae.num_epochs"])
    with pytest.raises(UserError, match="'name' holds a value"):
        load_config(path, ["data.name.deep=1"])


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\x00", "", "1: 2", "- a"])
def test_files_that_are_no_configuration(write, text):
    with pytest.raises(UserError, match=r"set\.yaml"):
        load_config(write(text))


def test_missing_file_and_wrong_system(tmp_path, write):
    with pytest.raises(UserError, match="no such configuration"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="needs 'hf2vad'"):
        load_config(write("system: other\ndata: {name: x}"))


def test_values_that_depend_on_each_other(write):
    path = write("data: {name: x}\nmodel: {vunet: {nf_max: 64}}\neval: {median: 4}\n")
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert "nf_max must be 2 * nf_start = 128" in str(caught.value)
    assert "median must be odd" in str(caught.value)


def test_resolved_config_reads_back_the_same(tmp_path, write):
    config = load_config(write("data: {name: x}\ncvae: {num_epochs: 7}"))
    save_config(config.model_dump(mode="json"), tmp_path / "resolved.yaml")
    assert load_config(tmp_path / "resolved.yaml") == config
    assert yaml.safe_load((tmp_path / "resolved.yaml").read_text())["cvae"]["num_epochs"] == 7


def test_a_block_or_key_given_twice_is_refused_with_its_lines(write):
    path = write("data: {name: x}\ncvae:\n  lr: 1\n  lr: 2\neval: {}\ncvae: {num_epochs: 7}\n")
    with pytest.raises(UserError) as caught:
        load_config(path)
    text = str(caught.value)
    assert str(path) in text and "keep one of them" in text
    assert "key 'cvae.lr' is given twice, in lines 3 and 4" in text
    assert "key 'cvae' is given twice, in lines 2 and 6" in text
    with pytest.raises(UserError, match=r"--set eval.*'w_flow' is given twice"):
        load_config(write("data: {name: x}"), ["eval={w_flow: 1, w_flow: 2}"])


def test_anchors_are_no_doubled_keys(write):
    path = write(
        "data: {name: x}\ncvae: &both {num_epochs: 7, lr: 0.1}\nfinetune:\n  <<: *both\n  lr: 0.2\n"
    )
    config = load_config(path)
    assert (config.finetune.num_epochs, config.finetune.lr, config.cvae.lr) == (7, 0.2, 0.1)


@pytest.mark.parametrize("name", ["..", ".", "/tmp/x", "a/b", "../x", "a\\b", "", "a b"])
def test_the_name_of_a_data_set_is_no_path(write, name):
    with pytest.raises(UserError, match=r"data\.name: .* a plain name is needed .* data\.root"):
        load_config(write(f"data: {{name: '{name}'}}"))


@pytest.mark.parametrize("system", ["hf2vad", "frd"])
@pytest.mark.parametrize(
    "name", ["..", "../x", "a/../../x", "/tmp/x", "C:\\x", "a\\..\\x", ".", "a/"]
)
def test_a_run_stays_inside_its_root(write, name, system):
    path = write(f"system: {system}\ndata: {{name: x}}\nrun: {{name: '{name}'}}")
    with pytest.raises(UserError, match=r"run\.name: .* must stay inside run\.root"):
        load_config(path, system=system)
    good = load_config(path, ["run.name=a/seed1..2"], system=system)
    assert str(good.stage_folder("c")) == "runs/a/seed1..2/c"


@pytest.mark.parametrize("text", ["1e-300", "1e300", "0", "-1", "nan", "inf", "x" * 5000])
def test_rates_that_no_video_has(text, tmp_path):
    with pytest.raises(argparse.ArgumentTypeError, match=r"from 0\.001 to 10000") as caught:
        frame_rate(text)
    assert len(str(caught.value)) < 200 and frame_rate("29.97") == 29.97
    (tmp_path / "c.yaml").write_text(f"data: {{name: a, fps: {text}}}")
    with pytest.raises(UserError, match=r"data\.fps"):
        load_config(tmp_path / "c.yaml")
