"""Turn published HF2-VAD files into ours, and a checkpoint of ours into a published one.

python pre_process/import_published.py --model_save_path pretrained_ckpts/ped2_HF2VAD_99.31.pth \\
    --cfg_file pretrained_ckpts/ped2_HF2VAD_99.31_cfg.yaml --output runs/released/finetune/last.pth
python pre_process/import_published.py --source published/ped2 --output data/ped2
python pre_process/import_published.py --export runs/ped2/finetune/last.pth --output ours.pth
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    import _path  # noqa: F401

from pre_process.cubes.from_published import import_data
from published.checkpoints import export_checkpoint, import_checkpoint
from published.config import FRAME_SIZES
from utils.console import echo, setup_logging
from utils.errors import UserError, exit_on_user_error


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model_save_path", type=Path, help="published checkpoint to import")
    what.add_argument(
        "--source", type=Path, help="published data folder: chunks, boxes, labels to import"
    )
    what.add_argument("--export", type=Path, help="checkpoint of ours to write as a published one")
    parser.add_argument("--output", type=Path, required=True, help="file or folder to write")
    parser.add_argument("--cfg_file", type=Path, help="the published checkpoint's configuration")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="with --model_save_path: keys of the new checkpoint's configuration, for example "
        "pre_process.flow.weights=FlowNet2_checkpoint.pth.tar, which infer.py needs",
    )
    parser.add_argument("--name", help="with --source: the data set's name; default: the folder's")
    parser.add_argument(
        "--frame_size",
        type=int,
        nargs=2,
        metavar=("WIDTH", "HEIGHT"),
        help="with --source: size of the videos' frames, if the data set is not prepared yet",
    )
    return parser.parse_args(argv)


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Import or export what the command line names."""
    options = parse_arguments(argv)
    setup_logging()
    if options.model_save_path:
        if not options.cfg_file:
            raise UserError("--model_save_path needs --cfg_file, the published .yaml beside it")
        checkpoint = import_checkpoint(
            options.model_save_path, options.cfg_file, options.output, options.set
        )
        echo(f"{options.output}: stage {checkpoint['stage']}, {len(checkpoint['model'])} tensors")
        root = checkpoint["config"]["data"]["root"]
        admitted = f" --set data.root={root}" if root else ""
        echo(f"python eval.py --model_save_path {options.output}{admitted}")
    elif options.source:
        name = options.name or options.source.resolve().name
        for line in import_data(options.source, options.output, name, frame_size(options, name)):
            echo(line)
    else:
        for path in export_checkpoint(options.export, options.output):
            echo(f"wrote {path}")


def frame_size(options: argparse.Namespace, name: str) -> tuple[int, int]:
    """The frame size that is given, or the published data set's."""
    if options.frame_size:
        return tuple(options.frame_size)
    if name not in FRAME_SIZES:
        raise UserError(
            f"--name {name}: not one of {', '.join(FRAME_SIZES)}, whose frame sizes are known; "
            "give --frame_size WIDTH HEIGHT"
        )
    return FRAME_SIZES[name]


if __name__ == "__main__":
    main()
