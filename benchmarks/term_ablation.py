"""What each term of the score is worth: micro AUC with it alone, with all, and with all but it.

Nothing is trained: squared flow (the one that the configuration has a weight for), appearance and
velocity of cubes extracted before, with the configuration's weights. Normal cubes
are compared with the other blocks of the normal video, as where nothing is held out; with
``--held_out`` statistics come from ``data.calibration_share`` of it, as own videos are scored.

python -m benchmarks.term_ablation --cfg_file cfgs/toy.yaml --data data/toy data/street
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.cubes.dataset import CubeSet
from datasets.cubes.held_out import hold_out
from datasets.labels.frame_labels import load_labels
from engine.normal_data import Scored, score_normal
from evaluation.evaluate import evaluate
from evaluation.normal_statistics import normal_statistics
from evaluation.scored_cubes import ScoredCubes
from evaluation.scores import Errors, score_rules
from evaluation.smoothing import Smoothing
from utils.config.load import load_config
from utils.console import echo, format_table

TERMS = ("squared flow", "appearance", "velocity")
_ENERGIES = ("w_steady_energy", "w_fast_energy", "w_energy")
_DENSITIES = ("w_appearance", "w_velocity")
WAYS = ("surprise", "z")


def rows_of(root: Path, config: Any, is_held_out: bool = False) -> dict[str, float]:
    """Micro AUC in percent of every choice of terms, on both scales."""
    share = config.data.calibration_share if is_held_out else 0
    parts = hold_out(CubeSet.open(root, "training"), share, config.data.fps)
    scored: Scored = score_normal("density", None, *parts, config)
    testing, labels = CubeSet.open(root, "testing"), load_labels(root)
    errors = scored.score(testing)
    smoothing = Smoothing.of(config.eval)
    statistics = normal_statistics(scored.errors, parts[1] or parts[0], smoothing)
    keys = dict(zip(TERMS, (_energy(config.eval), *_DENSITIES), strict=True))
    off = dict.fromkeys((*_ENERGIES, *_DENSITIES, "w_flow", "w_frame"), 0.0)
    found: dict[str, float] = {}
    for way in WAYS:
        for count in range(1, len(TERMS) + 1):
            for chosen in combinations(TERMS, count):
                if count == 1 and way != WAYS[0]:
                    continue  # a single term's order does not depend on its scale
                weights = off | {keys[name]: _weight(config.eval, keys[name]) for name in chosen}
                settings = config.eval.model_copy(update=weights | {"normalisation": way})
                name = " + ".join(chosen) + (f" ({way})" if count > 1 else "")
                found[name] = _auc(testing, errors, statistics, settings, labels)
    return found


def _weight(settings: Any, key: str) -> float:
    """The configuration's; 1 where it has none."""
    return getattr(settings, key) or 1.0


def _energy(settings: Any) -> str:
    """The squared flow that a configuration scores by."""
    used = [key for key in _ENERGIES if getattr(settings, key) > 0]
    return used[0] if used else _ENERGIES[0]


def _auc(
    cubes: CubeSet,
    errors: Errors,
    statistics: Mapping[str, Any],
    settings: Any,
    labels: Mapping[str, np.ndarray],
) -> float:
    rules = score_rules("density", statistics, settings, "ablation")
    lengths = [cubes.num_frames[name] for name in cubes.videos]
    where = ScoredCubes(cubes.videos, lengths, cubes.video_index, cubes.frames, cubes.boxes, errors)
    rule = {"hybrid": rules["hybrid"]}
    evaluation = evaluate(where, rule, Smoothing.of(settings), labels, "ablation", fps=1.0)
    return 100 * evaluation.primary.metrics["auc_micro"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cfg_file", required=True)
    parser.add_argument("--data", nargs="+", required=True, type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the banks")
    parser.add_argument("--held_out", action="store_true", help="statistics of held-out video")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = _configured(options.cfg_file, options.seed)
    columns = {root.name: rows_of(root, config, options.held_out) for root in options.data}
    for each in columns.values():
        each |= _compared(each)
    rows = [_row(name, columns) for name in next(iter(columns.values()))]
    echo(format_table(["micro AUC, %", *columns, "mean"], rows))


def _configured(path: str, seed: int) -> Any:
    """The configuration, with a weight for each density."""
    config = load_config(path, [f"run.seed={seed}"])
    without = [f"eval.{key}=1" for key in _DENSITIES if not getattr(config.eval, key)]
    return load_config(path, [f"run.seed={seed}", *without])


def _compared(aucs: Mapping[str, float]) -> dict[str, float]:
    """The best single term, and how far all terms together lie above it."""
    best = max(aucs[name] for name in TERMS)
    together = aucs[f"{' + '.join(TERMS)} ({WAYS[0]})"]
    return {"best single term": best, f"all ({WAYS[0]}) above it": together - best}


def _row(name: str, columns: Mapping[str, Mapping[str, float]]) -> list[str]:
    values = [each[name] for each in columns.values()]
    return [name, *(f"{value:.2f}" for value in (*values, np.mean(values)))]


if __name__ == "__main__":
    main()
