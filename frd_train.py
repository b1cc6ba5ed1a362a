"""Train FRD-UVAD on unlabelled snippet features, or first C2FPL's scorer (--stage c2fpl).

python frd_train.py --cfg_file cfgs/frd_toy.yaml --set frd.num_epochs=5
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import record

from datasets.features.labels import open_split
from datasets.features.settings import require_configured
from engine.frd.tasks import C2FPLTask, FRDTask
from engine.setup import start_stage, train_stage
from utils.errors import exit_on_user_error

TASKS: Mapping[str, Callable[..., Any]] = {"frd": FRDTask, "c2fpl": C2FPLTask}


@exit_on_user_error
@record
def main(
    argv: Sequence[str] | None = None, tasks: Mapping[str, Callable[..., Any]] = TASKS
) -> None:
    """Train a stage and write ``runs/NAME/STAGE/last.pth``; ``tasks``: what each stage trains."""
    setup = start_stage(("frd", "c2fpl"), __doc__, argv, system="frd")
    data, extracted_with = setup.config.data, setup.config.pre_process.features
    require_configured(data.features("training"), extracted_with, data.frames_per_snippet)
    features, _ = open_split(data, "training")
    features.require_size(setup.config.model.feature_size)
    task = tasks[setup.stage](setup, features)
    task.diagnose(task.model, trained=False)
    train_stage(setup, task)


if __name__ == "__main__":
    main()
