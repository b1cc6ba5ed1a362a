"""What is said of normal data when a stage ends."""

from __future__ import annotations

import pytest

from engine.normal_data import warn_of_empty_memory


def moments(flow_error: float, energy: float) -> dict:
    return {"flow_error": {"mean": flow_error}, "energy": {"mean": energy}}


@pytest.mark.parametrize(("error", "is_said"), [(9.8, True), (2.0, False)])
def test_an_autoencoder_that_reconstructs_nothing_is_told(caplog, error, is_said):
    warn_of_empty_memory(moments(error, 10.0))
    assert ("98 % of the squared flow" in caplog.text) == is_said


def test_a_checkpoint_without_networks_has_none(caplog):
    warn_of_empty_memory({"energy": {"mean": 1.0}})
    assert not caplog.text
