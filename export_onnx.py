"""Write the scoring network of a checkpoint as ONNX, for infer.py --backend onnx or elsewhere.

python export_onnx.py --model runs/ped2/finetune/last.pth
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.scoring.onnx_backend import onnx_path
from engine.scoring.onnx_export import export_network
from evaluation.scores import STAGES
from models.hf2vad.from_checkpoint import model_from_checkpoint
from utils.checkpoint import load_finished
from utils.console import echo
from utils.errors import UserError, exit_on_user_error


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, type=Path, help="a stage's last.pth")
    parser.add_argument("--output", type=Path, help="file to write; default: beside the model")
    return parser.parse_args(argv)


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Export, check against PyTorch, tell where it is."""
    arguments = parse_arguments(argv)
    checkpoint = load_finished(arguments.model, stages=STAGES)
    target = arguments.output or onnx_path(arguments.model)
    if target.resolve() == arguments.model.resolve():
        raise UserError(f"--output {target}: is the checkpoint itself; name another file")
    echo(f"{arguments.model}: exporting stage {checkpoint['stage']} (half a minute or so)")
    model = model_from_checkpoint(checkpoint, str(arguments.model))
    if model is None:
        raise UserError(f"{arguments.model}: densities alone, there is no network to export")
    difference = export_network(model, checkpoint, arguments.model, target)
    echo(f"{target}: {target.stat().st_size / 2**20:.1f} MiB; differs by at most {difference:.1g}")


if __name__ == "__main__":
    main()
