"""Fit densities of normal cubes: a score without any network, or one more term for a trained one.

Appearance and velocity of normal cubes are kept, and new cubes are compared with the nearest of
them (after AI-VAD, arXiv 2212.00789). Needs cubes only, and about a minute.

python density_fit.py --cfg_file cfgs/custom.yaml
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets.cubes.dataset import CubeSet
from datasets.cubes.held_out import hold_out
from datasets.cubes.settings import warn_of_other_cubes
from engine.normal_data import describe_normal_data
from engine.scoring.build import checkpoint_model
from evaluation.scores import DENSITY_STAGE
from utils.checkpoint import load_finished, save_checkpoint
from utils.config.load import add_config_arguments, load_config
from utils.console import echo, setup_logging
from utils.errors import UserError, exit_on_user_error
from utils.files import digest
from utils.run_folder import sole_writer
from utils.runtime import pick_device, provenance, seed_everything
from utils.threads.count import use_threads

STAGES = ("cvae", "finetune", DENSITY_STAGE)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--model_save_path",
        type=Path,
        help="a trained checkpoint whose networks the result shall also have",
    )
    return parser.parse_args(argv)


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Write ``runs/NAME/density/last.pth``."""
    arguments = parse_arguments(argv)
    setup_logging()
    config = load_config(arguments.cfg_file, arguments.set)
    if not config.eval.w_appearance and not config.eval.w_velocity:
        raise UserError(
            f"{arguments.cfg_file}: eval.w_appearance and eval.w_velocity are both 0, so there is "
            "no density to fit; pass for example --set eval.w_appearance=1 eval.w_velocity=1 "
            "eval.normalisation=surprise"
        )
    device = pick_device(config.run.device)
    use_threads(config.run.num_threads)
    seed_everything(config.run.seed)
    cubes = CubeSet.open(config.data.folder, "training", pre_process=config.pre_process)
    parts = hold_out(cubes, config.data.calibration_share, config.data.fps)
    trained = _trained(arguments.model_save_path, config)
    model = checkpoint_model(trained, arguments.model_save_path, device)
    held = "nothing" if parts[1] is None else f"{len(parts[1])} cubes"
    echo(f"{config.data.folder}: {len(parts[0])} normal cubes to fit on, {held} held out")
    path = config.stage_folder(DENSITY_STAGE) / "last.pth"
    with sole_writer(path.parent):
        found = describe_normal_data(trained["stage"], model, *parts, config, device)
        made_of = digest([part.fingerprint for part in parts if part is not None])
        trained["provenance"] |= {"densities": made_of}
        save_checkpoint(path, trained | found)
    echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB; score with eval.py or infer.py")


def _trained(path: Path | None, config: Any) -> dict[str, Any]:
    """The checkpoint whose networks are kept, or one without any, under the new configuration."""
    tree = config.model_dump(mode="json")
    if path is None:
        return {
            "system": "hf2vad",
            "stage": DENSITY_STAGE,
            "config": tree,
            "model": {},
            "finished": True,
            "epoch": 0,
            "step": 0,
            "threshold": None,
            "provenance": provenance(),
        }
    checkpoint = load_finished(path, stages=STAGES)
    warn_of_other_cubes(checkpoint, config.pre_process, path)
    changed = {block: tree[block] for block in ("data", "run", "density", "eval")}
    kept = {key: value for key, value in checkpoint.items() if key != "format_version"}
    kept |= {"config": checkpoint["config"] | changed, "training": {}}
    kept |= {"threshold": None, "calibration": None}  # of the score before
    kept["provenance"] = dict(checkpoint["provenance"])
    return kept


if __name__ == "__main__":
    main()
