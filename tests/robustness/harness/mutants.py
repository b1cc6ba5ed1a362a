"""Break the product, one line at a time, and see that a named check notices.

python -m tests.robustness.harness.mutants

Each mutant is a patched copy of this checkout. A check counts when it passes on the unpatched copy
and fails on the patched one.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
_TIMEOUT = 1500.0  # seconds, on cores that others use, too


class Mutant(NamedTuple):
    """``old``, which is once in ``file``, becomes ``new``; ``check`` are arguments of Python."""

    what: str
    file: str
    old: str
    new: str
    check: tuple[str, ...]


def _stops(stage: str) -> tuple[str, ...]:
    return ("-m", "tests.robustness.harness.stops", "--stops", "2",
            "--stages", stage, "--precisions", "bf16")  # fmt: skip


def _kills(scene: str) -> tuple[str, ...]:
    return ("-m", "tests.robustness.harness.kill", "--kills", "8", "--scenes", scene)


def _fuzz(*only: str) -> tuple[str, ...]:
    return ("-m", "tests.robustness.harness.fuzz", "--cases", "24", "--only", *only)


def _test(name: str) -> tuple[str, ...]:
    return ("-m", "pytest", "-q", "-x", f"tests/{name}")


MUTANTS = (
    Mutant("resume: random state not restored", "engine/state.py",
           'self._restore_random(training["random"], source)', "pass", _stops("frd")),
    Mutant("resume: memory bank not restored", "engine/state.py",
           'self.memory.load_state_dict(training.get("memory", {}))', "pass", _stops("frd")),
    Mutant("resume begins one step late", "engine/trainer.py",
           "epoch(state.epoch, state.step_in_epoch)",
           "epoch(state.epoch, state.step_in_epoch + (state.step_in_epoch > 0))", _stops("frd")),
    Mutant("resume: loss sums not restored", "engine/state.py",
           'self.loss_sums = dict(training["loss_sums"])', "pass", _stops("frd")),
    Mutant("run.num_threads ignored", "engine/setup.py",
           "torch.set_num_threads(config.run.num_threads)", "pass", _stops("frd")),
    Mutant("resume: count of the average not restored", "engine/state.py",
           'self.average.count = training["n_averaged"]', "pass", _stops("ml_memae_sc")),
    Mutant("resume: lines of later epochs stay in the log", "engine/logger.py",
           '_epoch_of(line) <= epochs', "True", _kills("ml_memae_sc")),
    Mutant("half-written files of killed runs stay", "utils/files.py",
           "shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)", "pass",
           _kills("ml_memae_sc")),
    Mutant("files written in place, no rename", "utils/files.py",
           'temporary = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")',
           "temporary = target",
           _test("utils/test_checkpoint.py::test_failed_write_keeps_the_old_file")),
    Mutant("checkpoint opened without weights_only", "utils/checkpoint.py",
           'map_location="cpu", weights_only=True', 'map_location="cpu", weights_only=False',
           _test("utils/test_checkpoint.py::test_code_in_a_checkpoint_does_not_run")),
    Mutant("optimizer state not checked", "engine/resumed.py",
           '    _require_optimizer(training["optimizer"], optimizer, source)', "    pass",
           _test("engine/test_hostile_checkpoints.py::test_optimizer_tables_that_do_not_fit")),
    Mutant("archive members may leave the folder", "pre_process/preparation/archives.py",
           "if not target.resolve().is_relative_to(folder.resolve()):", "if False:",
           _fuzz("evil_parent", "evil_deeper", "evil_absolute")),
    Mutant("links in archives are left out in silence", "pre_process/preparation/archives.py",
           "        elif not entry.isdir():", "        elif False:", _fuzz("evil_link")),
    Mutant("half-unpacked archives of killed runs stay", "pre_process/preparation/archives.py",
           'with sole_writer(parent, "wait for it"), atomic_folder(folder) as temporary:',
           "with atomic_folder(folder) as temporary:", _kills("preparation")),
    Mutant("training state of a checkpoint not checked at all", "engine/state.py",
           "        require_training_state(checkpoint, self.model, self.optimizer, source)",
           "        pass", _fuzz("resume frd")),
    Mutant("checkpoint's tables not checked", "utils/checkpoint.py",
           "    require_whole(checkpoint, path)", "    pass", _fuzz("infer.py")),
    Mutant("annotated videos written in place", "visualization/video_writer.py",
           'self._temporary = path.with_name(f".{path.stem}.part{path.suffix}")',
           "self._temporary = path",
           _test("visualization/test_annotate.py::test_a_video_is_whole_or_not_there")),
    Mutant("results of an earlier run stay beside the new ones", "utils/run_folder.py",
           "        for path in () if resuming else old:\n            path.unlink()",
           "        pass",
           _test("inference/test_infer.py::"
                 "test_overwriting_replaces_results_and_keeps_other_files")),
    Mutant("other addresses than cameras' are opened", "inference/sources.py",
           "if scheme.lower() not in STREAMS:", "if False:",
           _test("inference/test_addresses.py::test_other_protocols_are_not_opened")),
    Mutant("an address may lead to local files", "inference/live/capture.py",
           '_PROTOCOLS = "rtsp,', '_PROTOCOLS = "file,rtsp,',
           _test("inference/test_addresses.py::test_an_address_leads_to_no_local_file")),
    Mutant("formulas in tables are not escaped", "utils/untrusted/text.py",
           'if safe[:1] in tuple(_FORMULA) else safe', "if False else safe",
           _test("utils/test_text.py")),
    Mutant("escapes reach the terminal", "utils/untrusted/text.py",
           "if text.isprintable():", "if True:", _test("utils/test_text.py")),
    Mutant("files that a checkpoint names are opened", "utils/config/named_files.py",
           "    if foreign:", "    if False:",
           _test("inference/test_named_files.py::test_weights_that_a_checkpoint_names")),
)  # fmt: skip


def passes(tree: Path, check: Sequence[str]) -> bool:
    """Whether a check passes in ``tree``; one that crashes does not.

    Raises:
        SystemExit: it takes too long to tell.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-B", *check], cwd=tree, capture_output=True, timeout=_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{' '.join(check)}: not over after {_TIMEOUT:.0f} s") from None
    return done.returncode == 0


def copy_tree(target: Path) -> None:
    """Copy what git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def caught(mutant: Mutant, tree: Path) -> bool:
    """Whether the check of ``mutant`` fails with it; ``tree`` is afterwards as before.

    Raises:
        SystemExit: the line is not there, or more than once.
    """
    path = tree / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.what}: {mutant.file} has {text.count(mutant.old)} such lines")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        return not passes(tree, mutant.check)
    finally:
        path.write_text(text, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Try all mutants and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="mutants whose description holds this")
    wanted = parser.parse_args(argv).only
    chosen = [mutant for mutant in MUTANTS if wanted in mutant.what]
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        copy_tree(Path(folder))
        for check in dict.fromkeys(mutant.check for mutant in chosen):
            if not passes(Path(folder), check):
                raise SystemExit(f"{' '.join(check)}: fails without any mutant")
            for mutant in [each for each in chosen if each.check == check]:
                found = caught(mutant, Path(folder))
                missed += [] if found else [mutant.what]
                print(f"{mutant.what}: {'caught' if found else 'MISSED'} by {' '.join(check[1:])}",
                      flush=True)  # fmt: skip
    if missed:
        raise SystemExit(f"{len(missed)} of {len(chosen)} mutants missed")


if __name__ == "__main__":
    main()
