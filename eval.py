"""Evaluate an HF2-VAD checkpoint on the test videos: scores, metrics and a report.

python eval.py --model_save_path runs/ped2/finetune/last.pth --ablate
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from datasets.cubes.loader import CubeLoader
from engine.scoring.build import checkpoint_model, configured_scorer
from engine.scoring.distributed import score_distributed
from engine.scoring.explain import explain_cubes
from engine.scoring.network import CubeScorer
from evaluation.checkpoint import evaluate_checkpoint, origin
from evaluation.evaluate import Evaluation, with_protocol
from evaluation.selection import best_on_test
from inference.evaluation_data import TestData, open_test_data
from utils import distributed
from utils.checkpoint import kept_checkpoints
from utils.console import echo, setup_logging
from utils.errors import exit_on_user_error
from utils.run_folder import sole_writer
from utils.runtime import pick_device
from visualization.publish import publish


class Scorer:
    """The test cubes, and what checkpoints make of them."""

    def __init__(self, config: Any, test: TestData) -> None:
        self.config, self.test, self.device = config, test, pick_device(config.run.device)
        self._opened = lru_cache(maxsize=1)(self._open)  # what was scored last is published, mostly

    def _open(self, path: Path) -> tuple[dict[str, Any], nn.Module | None, CubeScorer]:
        """A checkpoint, its network and what scores with it."""
        checkpoint = self.test.load(path)
        model = checkpoint_model(checkpoint, path, self.device)
        scorer = configured_scorer(checkpoint, path, self.device, self.config, model=model)
        return checkpoint, model, scorer

    def evaluate(self, path: Path) -> Evaluation:
        """Score every cube with a checkpoint and measure what comes out."""
        test, settings = self.test, self.config.eval
        checkpoint, _, scorer = self._opened(path)
        loader = CubeLoader(test.cubes, settings.batch_size)
        errors = score_distributed(
            loader,
            lambda batch: scorer(batch.appearance.numpy(), batch.motion.numpy()),
            path.name,
        )
        evaluation = evaluate_checkpoint(
            errors, test.cubes, path, checkpoint, self.config, test.labels, test.regions
        )
        facts = {"labels": test.label_source} if test.label_source else {}
        facts |= {} if settings.precision == "fp32" else {"network": "bfloat16"}
        return with_protocol(evaluation, **facts)

    def publish(self, path: Path, evaluation: Evaluation, with_ablation: bool) -> None:
        """Write the results of a checkpoint, with pictures of what it expected."""
        test = self.test
        checkpoint, model, scorer = self._opened(path)

        def explain(indices: np.ndarray) -> dict[str, Any]:
            return explain_cubes(model, scorer, *test.cubes.gather(indices), self.device)

        facts = origin(path, checkpoint, test.folder, test.cubes.fingerprint)
        publish(test.output, test.name, evaluation, facts, explain, test.stills, with_ablation)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model_save_path", required=True, type=Path,
        help="a stage's last.pth, or published weights")  # fmt: skip
    add("--cfg_file", help="take the blocks data, run and eval from here, not the checkpoint; "
        "with published weights: the published configuration")  # fmt: skip
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="override a key of these blocks, for example --set eval.w_flow=0.5")  # fmt: skip
    add("--output", type=Path, help="folder of the results; default: eval beside the checkpoint")
    add("--select", choices=("last", "best-on-test"), default="last",
        help="best-on-test tries all kept epochs, as papers do, and says so")  # fmt: skip
    add("--ablate", action="store_true", help="also print what smoothing and min-max contribute")
    return parser.parse_args(argv)


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate and write the results."""
    arguments = parse_arguments(argv)
    distributed.initialise()
    setup_logging()
    path: Path = arguments.model_save_path
    config, test = open_test_data(path, arguments.cfg_file, arguments.set, arguments.output)
    with sole_writer(test.output):
        scorer = Scorer(config, test)
        echo(f"{path}: scoring {len(test.cubes)} cubes of {len(test.cubes.videos)} videos")
        if arguments.select == "best-on-test":
            paths = kept_checkpoints(path)
            evaluations = [scorer.evaluate(each) for each in paths]
            place, evaluation = best_on_test(evaluations)
            path = paths[place]
        else:
            evaluation = scorer.evaluate(path)
        if distributed.is_first():
            scorer.publish(path, evaluation, arguments.ablate)


if __name__ == "__main__":
    main()
