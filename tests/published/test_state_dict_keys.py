"""Names of published tensors: both ways, and what is said when they do not fit."""

from __future__ import annotations

import pytest
import torch

from models.hf2vad.hf2vad import HF2VAD
from models.hf2vad.ml_memae_sc import MLMemAESC
from models.hf2vad.vunet import VUnet
from published.state_dict_keys import from_published, to_published
from utils.errors import UserError


def make_model(final_act: bool = False, num_slots: int = 4, feature_root: int = 2) -> HF2VAD:
    return HF2VAD(
        MLMemAESC(feature_root, num_slots), VUnet(nf_max=8, nf_start=4, final_act=final_act)
    )


@pytest.mark.parametrize("final_act", [False, True])
def test_round_trip_of_the_full_model(final_act: bool) -> None:
    state = make_model(final_act).state_dict()
    published = to_published(state)
    assert len(published) == len(state)
    assert all(key.startswith(("memAE.", "vunet.")) for key in published)
    again = from_published(published, state)
    assert again.keys() == state.keys()
    assert all(again[key] is state[key] for key in state)


def test_some_published_names() -> None:
    published = to_published(make_model().state_dict())
    assert "memAE.mem3.memMatrix" in published
    assert published["vunet.zc.up.up.conv.weight_v"].shape == (32, 8, 3, 3)
    assert published["vunet.decoder.final_layer.gamma"].shape == (1, 3, 1, 1)
    plain = to_published(make_model(final_act=True).state_dict())
    assert plain["vunet.f_phi.in_op.weight"].shape == (4, 20, 1, 1)


def test_stage_1_alone_has_no_prefix() -> None:
    state = MLMemAESC(2, 4).state_dict()
    published = to_published(state)
    assert "in_conv.conv.conv.0.weight" in published
    assert from_published(published, state).keys() == state.keys()


def test_prefix_of_many_gpu_training_is_dropped() -> None:
    state = make_model().state_dict()
    wrapped = {f"module.{key}": tensor for key, tensor in to_published(state).items()}
    assert from_published(wrapped, state).keys() == state.keys()


def test_loads_strictly_and_gives_the_same_output() -> None:
    torch.manual_seed(0)
    trained, fresh = make_model().eval(), make_model().eval()
    fresh.load_state_dict(from_published(to_published(trained.state_dict()), fresh.state_dict()))
    frames, flows = torch.rand(1, 15, 32, 32), torch.randn(1, 8, 32, 32)
    expected = trained(frames, flows)["frame_pred"]
    assert torch.equal(fresh(frames, flows)["frame_pred"], expected)


def test_faults_are_named_together() -> None:
    model = make_model()
    published = to_published(model.state_dict())
    del published["memAE.mem2.memMatrix"]
    published["memAE.mem3.memMatrix"] = torch.zeros(5, 256)
    with pytest.raises(UserError) as caught:
        from_published(published, model.state_dict(), "weights.pth")
    message = str(caught.value)
    assert message.startswith("weights.pth: 2 tensor(s)")
    assert "missing memAE.mem2.memMatrix" in message
    assert "memAE.mem3.memMatrix has shape (5, 256), the configured model needs (4, 256)" in message


def test_unexpected_tensors_are_named() -> None:
    state = MLMemAESC(2, 4).state_dict()
    fewer = MLMemAESC(2, 4, mem_usage=[False, False, False, True]).state_dict()
    with pytest.raises(UserError, match=r"unexpected mem1\.memMatrix\n\s+unexpected mem2"):
        from_published(to_published(state), fewer)


def test_unknown_names_are_refused_both_ways() -> None:
    state = make_model().state_dict()
    with pytest.raises(UserError, match=r"backbone\.weight"):
        from_published(to_published(state) | {"backbone.weight": torch.zeros(1)})
    with pytest.raises(UserError, match=r"memae\.extra"):
        to_published(state | {"memae.extra": torch.zeros(1)})


def test_a_full_model_is_not_filled_from_stage_1() -> None:
    stage1 = to_published(MLMemAESC(2, 4).state_dict())
    with pytest.raises(UserError, match=r"and \d+ more"):
        from_published(stage1, make_model().state_dict())


def test_a_training_checkpoint_is_not_a_state_dict() -> None:
    with pytest.raises(UserError, match="step"):
        from_published({"step": 3, "model_state_dict": {}})
