"""Self-describing checkpoints: one file from which its model is built and can be resumed.

Keys: ``format_version``, ``system``, ``stage``, ``config`` (resolved), ``model`` (the weights to
evaluate with), ``finished``, ``epoch`` (completed), ``step`` (global), ``statistics`` (of scores on
normal data, once finished), ``threshold``, ``video`` (size and rate of the training videos; not in
older ones), ``provenance`` and ``training`` (what resuming needs).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from utils.errors import UserError
from utils.file_kind import describe_file, zip_names
from utils.files import atomic_path, require_file
from utils.format_version import require_format
from utils.untrusted.tensors import require_stored

FORMAT_VERSION = 1
REQUIRED = ("system", "stage", "config", "model", "finished", "epoch", "step", "provenance")


def save_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint atomically; ``path`` holds the old or the new one, never a part.

    Raises:
        UserError: it could not be written; the old one is named where there is one.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save({"format_version": FORMAT_VERSION, **checkpoint}, temporary)
        except RuntimeError as error:  # torch tells no reason of the system
            kept = "the checkpoint before is kept, training goes on from it; " * path.exists()
            raise UserError(
                f"{path}: cannot be written ({str(error).splitlines()[0]}); {kept}most often the "
                "disk is full: free some space and run the same command again"
            ) from None


def load_checkpoint(
    path: str | Path,
    system: str = "hf2vad",
    stages: Sequence[str] | None = None,
    content: Any = None,
) -> dict[str, Any]:
    """Read a checkpoint of this project; only tensors and plain containers are admitted.

    Args:
        path: checkpoint file.
        system: ``hf2vad`` or ``frd``.
        stages: the stages the caller can use; ``None`` admits all.
        content: what ``load_tensors`` read from ``path``; ``None``: it is read here.

    Raises:
        UserError: missing, truncated or foreign file, other system, other stage, newer format.
    """
    path = Path(path)
    checkpoint = load_tensors(path) if content is None else content
    if not isinstance(checkpoint, dict) or "format_version" not in checkpoint:
        raise UserError(
            f"{path}: not a checkpoint of this project (no 'format_version' in it); published "
            "weights are evaluated with their own --cfg_file (eval.py) or imported first "
            "(pre_process/import_published.py)"
        )
    remedy = "use the code it was written with (see its 'provenance')"
    require_format(checkpoint["format_version"], FORMAT_VERSION, f"{path}: checkpoint", remedy)
    missing = [key for key in REQUIRED if key not in checkpoint]
    if missing:
        raise UserError(f"{path}: checkpoint lacks {', '.join(missing)}; train that stage again")
    if checkpoint["system"] != system:
        raise UserError(
            f"{path}: a checkpoint of system {checkpoint['system']!r}, but {system!r} is needed"
        )
    from utils.untrusted.checkpoint_checks import require_whole  # not for programs without pydantic

    require_whole(checkpoint, path)
    if stages is not None and checkpoint["stage"] not in stages:
        raise UserError(
            f"{path}: a checkpoint of stage '{checkpoint['stage']}', but "
            f"{' or '.join(repr(stage) for stage in stages)} is needed"
        )
    return checkpoint


def load_finished(
    path: str | Path,
    system: str = "hf2vad",
    stages: Sequence[str] | None = None,
    content: Any = None,
) -> dict[str, Any]:
    """``load_checkpoint`` for scoring: it must hold the statistics that end a training.

    Raises:
        UserError: as ``load_checkpoint``, and for a training that was not finished.
    """
    checkpoint = load_checkpoint(path, system, stages, content)
    if not checkpoint["finished"] or not checkpoint.get("statistics"):
        raise UserError(
            f"{path}: training was not finished (epoch {checkpoint['epoch']}), so there are no "
            "score statistics in it; run the stage's script again, it resumes where it stopped"
        )
    return checkpoint


def find_checkpoint(path: Path) -> Path:
    """The checkpoint that a path means: a file itself, of a run's folder the last stage's.

    Raises:
        UserError: a folder without a checkpoint.
    """
    if not path.is_dir():
        return path
    stages = ("", "finetune", "density", "cvae", "ml_memae_sc", "frd", "c2fpl")
    found = [path / stage / "last.pth" for stage in stages]
    for each in found:
        if each.is_file():
            return each
    raise UserError(
        f"{path}: no checkpoint in it; expected last.pth there or in {', '.join(stages[1:])}"
    )


def kept_checkpoints(path: Path) -> list[Path]:
    """The kept epochs in the folder of ``path``: all ``epoch_*.pth``, then ``last.pth``."""
    last = path.with_name("last.pth")
    kept = {*path.parent.glob("epoch_*.pth"), path} - {last}
    return [*sorted(kept), *([last] if last.exists() else [])]


def load_tensors(path: str | Path) -> Any:
    """``torch.load`` on the CPU with ``weights_only=True`` and errors a user can act on."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such checkpoint; train that stage first or check the path")
    require_file(path)
    if _is_torch_zip(path):
        require_stored(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader lets errors of its many parts through
        raise UserError(f"{path}: {_fault(path, error)}") from None


def _fault(path: Path, error: Exception) -> str:
    """Why ``torch.load`` refused a file, without its advice to load it unsafely.

    A foreign file says what it is; a pickle that asks for more than tensors names what it asks for.
    """
    kind = describe_file(path)
    if kind and not _is_torch_zip(path):
        what, _, remedy = kind.partition("; ")
        return f"not a checkpoint ({what}); {remedy or 'name the .pth file itself'}"
    asked = re.search(r"GLOBAL ([\w.]+)|[Cc]lass ([\w.]+)", str(error))
    if isinstance(error, pickle.UnpicklingError) and asked:
        return (
            f"refused, it holds more than tensors and plain containers ({asked[1] or asked[2]}); "
            "nothing in it was run. Have its makers save the weights alone (a state_dict)"
        )
    reason = (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0]
    detail = f" ({reason})" if "weights" not in reason.lower() else ""
    return (
        f"truncated or not a checkpoint{detail}; take an earlier one, fetch it again or train again"
    )


def _is_torch_zip(path: Path) -> bool:
    """Whether it is a zip archive as ``torch.save`` writes it, not one of TorchScript."""
    names = {name.rpartition("/")[2] for name in zip_names(path)}
    return "data.pkl" in names and "constants.pkl" not in names


def load_weights(model: torch.nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """``load_state_dict`` with every difference named.

    Raises:
        UserError: tensors that are missing, unexpected or of another shape, from ``source``.
    """
    require_same_tensors(model.state_dict(), state, source)
    model.load_state_dict(state)


def require_same_tensors(
    own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], source: str
) -> None:
    """Compare names and shapes of a model's own tensors with those of ``state``.

    Raises:
        UserError: tensors that are missing, unexpected or of another shape, from ``source``.
    """
    faults = [f"missing {key}" for key in own if key not in state]
    faults += [f"unexpected {key}" for key in state if key not in own]
    faults += [
        f"{key}: {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if faults:
        shown = "; ".join(faults[:8]) + (f"; and {len(faults) - 8} more" if len(faults) > 8 else "")
        raise UserError(f"{source}: weights of another architecture: {shown}")
