"""Short runs of the long-run benchmark, and that its verdict finds leaks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.process_watch import Sample, describe, trend, watched
from tests.repository.test_structure import ROOT
from utils.files import read_json

MIB = 2**20


def run(rss=lambda at: 100 * MIB, files=lambda at: 9, threads=lambda at: 4, count=200):
    return [Sample(at, at / 10, int(rss(at)), files(at), threads(at)) for at in range(1, count)]


def test_a_run_that_fills_up_first_and_wobbles_is_flat():
    samples = run(lambda at: 100 * MIB + min(at, 60) * MIB + at % 7 * MIB, lambda at: 9 + at % 3)
    assert trend(samples)._replace(grown=0) == (0, 0, 0, False)
    assert describe("a", "frames", 1000, samples)["verdict"] == "flat"


@pytest.mark.parametrize(
    "leak",
    [{"rss": lambda at: 100 * MIB + at * MIB // 20}, {"files": lambda at: 9 + at // 20},
     {"threads": lambda at: 4 + at // 50}],
)  # fmt: skip
def test_leaks_are_found(leak):
    found = describe("a", "frames", 1000, run(**leak))
    assert found["verdict"] == "grows"
    if "rss" in leak:
        assert found["growth_kib"] == pytest.approx(1000 * 1024 / 20, rel=0.02)


def test_too_few_samples_are_no_verdict():
    with pytest.raises(ValueError, match="take them more often"):
        trend(run(count=20))


def test_a_process_is_watched(tmp_path):
    done = [0]
    kept = []
    with watched(lambda: done[0], every=0.005) as samples:
        for done[0] in range(1, 200):
            kept.append((tmp_path / "a").open("w"))
            while len(samples) < done[0] // 3:
                pass
    found = trend(samples)
    assert found.files >= 40 and found.grows
    for handle in kept:
        handle.close()


def test_live_inference_and_training_do_not_grow(tmp_path):
    """Two epochs of each stage, and live frames; keeping half of the frames would be 14 MiB more.

    Training is hardly warm after two epochs, so its memory is bounded loosely.
    """
    output = tmp_path / "run.json"
    command = [sys.executable, "-m", "benchmarks.long_run", "--frames", "1500", "--epochs", "2"]
    done = subprocess.run(
        [*command, "--output", str(output)], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert output.exists(), done.stderr
    runs = read_json(output)["runs"]
    assert [each["run"] for each in runs[-2:]] == ["training, frd", "live inference"], done.stderr
    for each in runs:
        assert each["files"][1] <= each["files"][0] + 2, each["run"]
        # OpenVINO starts two, for the statistics at a stage's end.
        assert each["threads"][1] <= each["threads"][0] + 2, each["run"]
        bound = 20 if each["run"] == "live inference" else 60
        assert each["rss_end_mib"] - each["rss_half_mib"] < bound, each["run"]
    assert runs[-1]["amount"] == 1500
