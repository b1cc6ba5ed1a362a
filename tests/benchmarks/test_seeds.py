"""Mean and deviation over seeds."""

import json

import pytest

from benchmarks import seeds


def write_run(folder, seed, hybrid, name="hybrid"):
    path = folder / f"run{seed}" / "eval" / "metrics.json"
    path.parent.mkdir(parents=True)
    branches = {name: {"auc_micro": hybrid}, "no learning": {"auc_micro": 0.5}}
    provenance = {"seed": seed, "checkpoint": "last.pth"}
    path.write_text(json.dumps({"branches": branches, "provenance": provenance}))
    return path


def test_the_table_has_each_seed_the_mean_and_the_deviation(tmp_path, capsys):
    paths = [write_run(tmp_path, seed, value) for seed, value in ((0, 0.9), (1, 0.94), (2, 0.98))]
    seeds.main([str(paths[0]), str(paths[1].parent), str(paths[2].parent.parent)])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("hybrid"))
    assert row.split() == ["hybrid", "90.00", "94.00", "98.00", "94.00", "4.00"]


def test_one_run_has_no_deviation(tmp_path):
    (row, _) = seeds.summarise([seeds.read_metrics(write_run(tmp_path, 0, 0.9))])
    assert row == ["hybrid", "90.00", "90.00", "-"]


@pytest.mark.parametrize("fault", ["missing", "other scores"])
def test_faults_are_named(tmp_path, capsys, fault):
    first = write_run(tmp_path, 0, 0.9)
    other = tmp_path if fault == "missing" else write_run(tmp_path, 1, 0.9, "scorer")
    with pytest.raises(SystemExit) as stop:
        seeds.main([str(first), str(other)])
    expected = "run eval.py" if fault == "missing" else "different scores"
    assert stop.value.code == 2 and expected in capsys.readouterr().err
