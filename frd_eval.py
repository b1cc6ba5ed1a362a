"""Evaluate FRD-UVAD or C2FPL's scorer, ours or published: scores, metrics and a report.

python frd_eval.py --ckpt_path runs/frd_toy/frd/last.pth
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.features.labels import describe_truth, open_split
from datasets.features.settings import require_same_features
from datasets.features.snippet_scores import save_snippet_values
from engine.frd.diagnosis import report_facts
from engine.frd.snippets import score_snippets
from evaluation.evaluate import Evaluation, with_protocol
from evaluation.frd import SnippetScores, evaluate_snippets, origin_of
from evaluation.selection import best_on_test
from models.frd.scorers import read_frd_checkpoint
from utils import distributed
from utils.checkpoint import kept_checkpoints
from utils.config.load import scoring_config
from utils.console import echo, setup_logging
from utils.errors import exit_on_user_error
from utils.run_folder import sole_writer
from utils.runtime import pick_device
from visualization.publish import publish
from visualization.snippet_results import rates_table, write_curves

_FOLDERS = {"testing": "eval", "training": "eval_training"}
PUBLISHED = {"system": "frd", "data": {"name": "published"}}  # a published file has no config


class Scorer:
    """The snippets of a split and their labels, and what checkpoints make of them."""

    def __init__(self, config: Any, split: str) -> None:
        self.config, self.device = config, pick_device(config.run.device)
        self.features, self.labels = open_split(config.data, split)

    def score(self, path: Path) -> dict[str, np.ndarray]:
        """Named values of all snippets, each (N,)."""
        batch_size, checkpoint = self.config.eval.batch_size, read_frd_checkpoint(path)
        return score_snippets(checkpoint, str(path), self.features, batch_size, self.device)

    def evaluate(self, path: Path, values: Mapping[str, np.ndarray]) -> Evaluation:
        """Measure what a checkpoint makes of the snippets."""
        checkpoint = read_frd_checkpoint(path)
        scores = SnippetScores(self.features.names, self.features.lengths.tolist(), values)
        evaluation = evaluate_snippets(scores, self.labels, path, checkpoint, self.config)
        return with_protocol(evaluation, **describe_truth(self.config.data, self.features))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--ckpt_path", required=True, type=Path, help="a stage's last.pth, or a published file")
    add("--cfg_file", help="take the blocks data, run and eval from here, not the checkpoint")
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="override a key of them, such as eval.threshold=0.3")  # fmt: skip
    add("--test_features", help="folder of VIDEO.npy, or one array; then labels by --test_labels")
    add("--test_labels", help=".npz, UCF-Crime's annotation text, or any known label format")
    add("--test_list", help="list of the test videos: the order of an array, or of labels in a row")
    add("--split", choices=("testing", "training"), default="testing",
        help="training: only write snippet scores, auxiliary scores of a later run")  # fmt: skip
    add("--output", type=Path, help="folder of the results; default: eval beside the checkpoint")
    add("--select", choices=("last", "best-on-test"), default="last", help="see eval.py --help")
    add("--plot", type=int, nargs="?", const=1, default=0, help="1: draw each video's scores")
    arguments = parser.parse_args(argv)
    named = {key: text for key in ("labels", "list") if (text := vars(arguments)[f"test_{key}"])}
    if arguments.test_features:  # other features have other ranges, order and labels
        named = {"ranges": "", "list": "", "labels": "none", **named}
        named["features"] = arguments.test_features
    of_data = [f"data.testing_{key}={value}" for key, value in named.items()]
    unread = ["data.root="] if arguments.test_features and arguments.split == "testing" else []
    arguments.set[:0] = unread + of_data  # features elsewhere: nothing of data.root is read
    return arguments


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate and write the results."""
    arguments = parse_arguments(argv)
    distributed.initialise()
    setup_logging()
    path = arguments.ckpt_path
    output = arguments.output or path.parent / _FOLDERS[arguments.split]
    tree = read_frd_checkpoint(path)["config"] or PUBLISHED
    config = scoring_config(tree, str(path), arguments.cfg_file, arguments.set, "frd")
    require_same_features(config, arguments.split, arguments.cfg_file, tree is not PUBLISHED)
    with sole_writer(output):
        scorer = Scorer(config, arguments.split)
        echo(f"{path}: {len(scorer.features)} snippets of {len(scorer.features.names)} videos")
        paths = kept_checkpoints(path) if arguments.select == "best-on-test" else [path]
        values = list(map(scorer.score, paths))
        if not distributed.is_first():
            return
        if arguments.split == "testing":
            evaluations = [scorer.evaluate(*pair) for pair in zip(paths, values, strict=True)]
            place, evaluation = best_on_test(evaluations) if len(paths) > 1 else (0, evaluations[0])
            best = read_frd_checkpoint(path := paths[place])
            facts = origin_of(path, best, scorer.features) | report_facts(best, values[place])
            publish(output, config.data.name, evaluation, facts, None, lambda _: ())
            echo(rates_table(evaluation))
            if arguments.plot:
                write_curves(output / "plots", evaluation)
            values = values[place:]
        save_snippet_values(output / "snippet_scores.npz", scorer.features, values[0]["score"])
        echo(f"snippet scores: {output}/snippet_scores.npz")


if __name__ == "__main__":
    main()
