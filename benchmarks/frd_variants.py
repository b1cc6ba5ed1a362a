"""FRD-UVAD's three variants and C2FPL's scorer on a data set, several seeds, beside the baselines.

python -m benchmarks.frd_variants --cfg_file cfgs/frd_pets2009.yaml --seeds 1 2 3 --folder runs/pets
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import frd_eval
import frd_train
from benchmarks.frd_baselines import snippet_truth
from benchmarks.frd_label_rules import labels_by, outside_subspace
from benchmarks.seeds import read_metrics
from datasets.features.dataset import FeatureSet
from datasets.features.labels import open_split
from datasets.features.snippet_scores import save_snippet_values
from engine.frd.tasks import FRDTask
from engine.setup import StageSetup
from pre_process.make_pseudo_labels import main as make_pseudo_labels
from utils.config.load import load_config
from utils.console import echo, format_table
from utils.errors import UserError, exit_on_user_error
from utils.files import write_json

# The paper's behaviour, as cfgs/frd_ucf_crime.yaml has it.
PUBLISHED = (
    "model.feature_scale=none",
    "c2fpl.centred=false",
    "c2fpl.balanced=false",
    "pre_process.pseudo_labels.centred=false",
    "pre_process.pseudo_labels.tail=both",
    "pre_process.pseudo_labels.rule=p_differences",
    "frd.auxiliary.threshold=0.5",
)
VARIANTS = ("alone", "one_crop", "c2fpl_scorer", "c2fpl")
SCORES_OF = {"testing": "eval/metrics.json", "training": "eval_training/snippet_scores.npz"}
# What else was compared, not offered by the configuration.
EXPERIMENTS = ("gain", "c2fpl_truth", "c2fpl_outside")


class Runs:
    """Trains and evaluates variants in folders of their own; what is finished is kept."""

    def __init__(
        self,
        cfg_file: str,
        folder: Path,
        overrides: Sequence[str],
        truth: Path | None = None,
        crop: int = 0,
    ) -> None:
        self.cfg_file, self.folder, self.overrides = cfg_file, folder, list(overrides)
        self.truth, self.crop = truth, f"data.crops=[{crop}]"

    def __call__(self, variant: str, seed: int) -> Path:
        """Train one variant; the folder of its stage, evaluated."""
        if variant == "c2fpl_scorer":
            labels = self.folder / f"{seed}" / "pseudo_labels.npz"
            where = f"pre_process.pseudo_labels.file={labels}"
            make_pseudo_labels([*self._arguments(seed, variant), where])
            return self._train(seed, variant, where, stage="c2fpl")
        if variant == "one_crop":
            first = self._train(seed, "first_crop", self.crop)
            self._evaluate(first, [self.crop], "training")
            scores = first / SCORES_OF["training"]
            kind = ["frd.auxiliary.kind=scores", f"frd.auxiliary.file={scores}"]
            return self._train(seed, variant, *kind)
        if variant == "c2fpl":
            scorer = self.folder / f"{seed}" / "c2fpl_scorer" / "c2fpl" / "last.pth"
            kind = ["frd.auxiliary.kind=c2fpl", f"frd.auxiliary.file={scorer}"]
            return self._train(seed, variant, *kind)
        if variant in ("c2fpl_truth", "c2fpl_outside"):
            labels = self._labels(seed, variant)
            where = f"pre_process.pseudo_labels.file={labels}"
            return self._train(seed, variant, where, stage="c2fpl")
        if variant == "gain":
            unscaled = "model.feature_scale=none"
            return self._train(seed, variant, unscaled, tasks={"frd": GainTask})
        return self._train(seed, variant)

    def _train(
        self, seed: int, variant: str, *more: str, stage: str = "frd", tasks: Any = frd_train.TASKS
    ) -> Path:
        frd_train.main([*self._arguments(seed, variant), *more, "--stage", stage], tasks=tasks)
        folder = self.folder / f"{seed}" / variant / stage
        self._evaluate(folder, more)
        return folder

    def _evaluate(self, folder: Path, overrides: Sequence[str], split: str = "testing") -> None:
        """As ``frd_eval.py``, without a report."""
        path, output = folder / "last.pth", folder / SCORES_OF[split]
        if output.is_file() and output.stat().st_mtime > path.stat().st_mtime:
            return
        config = load_config(self.cfg_file, [*self.overrides, *overrides], system="frd")
        scorer = frd_eval.Scorer(config, split)
        values = scorer.score(path)
        if split == "training":
            save_snippet_values(output, scorer.features, values["score"])
            return
        branches = scorer.evaluate(path, values).branches
        keys = ("auc_micro", "auc_micro_low", "auc_micro_high")
        metrics = {
            name: {key: each.metrics[key] for key in keys} for name, each in branches.items()
        }
        write_json(output, {"branches": metrics})

    def _labels(self, seed: int, variant: str) -> Path:
        """True labels of the training snippets, or those by distances to the features' subspace."""
        config = load_config(self.cfg_file, self.overrides, system="frd")
        features, _ = open_split(config.data, "training")
        path = self.folder / f"{seed}" / f"{variant}.npz"
        if variant == "c2fpl_outside":
            save_snippet_values(path, features, labels_by(outside_subspace, features))
            return path
        if self.truth is None:
            raise UserError("--variants c2fpl_truth: name the training labels by --truth FILE")
        save_snippet_values(path, features, snippet_truth(self.truth, features, config.data))
        return path

    def _arguments(self, seed: int, variant: str) -> list[str]:
        run = [f"run.root={self.folder / str(seed)}", f"run.name={variant}", f"run.seed={seed}"]
        return ["--cfg_file", self.cfg_file, "--set", *run, *self.overrides]


class GainTask(FRDTask):
    """FRD-UVAD on features as they are, its last LayerNorm's gain started at their RMS."""

    def __init__(self, setup: StageSetup, features: FeatureSet) -> None:
        super().__init__(setup, features)
        with torch.no_grad():
            self.model.decoder.norm.weight.fill_(self.statistics.rms)


def rows_of(variant: str, folders: Sequence[Path]) -> list[list[str]]:
    """A row a score of a variant: each seed's micro AUC, the mean, the widest 95 % interval."""
    runs = [read_metrics(folder)["branches"] for folder in folders]
    rows = []
    for name in runs[0]:
        values = [100 * run[name]["auc_micro"] for run in runs]
        low = min(run[name]["auc_micro_low"] for run in runs)
        high = max(run[name]["auc_micro_high"] for run in runs)
        numbers = [f"{value:.1f}" for value in (*values, statistics.fmean(values))]
        rows.append([variant, name, *numbers, f"{100 * low:.0f} to {100 * high:.0f}"])
    return rows


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Run all variants and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cfg_file", required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS + EXPERIMENTS,
                        default=VARIANTS)  # fmt: skip
    parser.add_argument("--truth", type=Path, help="training labels, for variant c2fpl_truth")
    parser.add_argument("--crop", type=int, default=0, help="that variant one_crop trains first")
    parser.add_argument("--published", action="store_true", help="with the paper's behaviour")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args(argv)
    overrides = [*(PUBLISHED if arguments.published else ()), *arguments.set]
    load_config(arguments.cfg_file, overrides, system="frd")  # its faults before any run
    named = arguments.truth, arguments.crop
    runs = Runs(arguments.cfg_file, arguments.folder, overrides, *named)
    rows = []
    for variant in arguments.variants:
        rows += rows_of(variant, [runs(variant, seed) for seed in arguments.seeds])
        seeds = [f"seed {seed}" for seed in arguments.seeds]
        echo(format_table(["variant", "score", *seeds, "mean", "95 % interval"], rows))


if __name__ == "__main__":
    main()
