"""Whole videos scored by FRD-UVAD: features of their snippets, scores, alarms, report.

Not here: the extraction of a data set's features (``pre_process.extract_features``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from datasets.features.dataset import FeatureSet
from datasets.manifest import VideoEntry
from datasets.rates import frame_times
from engine.frd.diagnosis import report_facts
from engine.frd.snippets import score_snippets
from evaluation.alarms import AlarmRule
from evaluation.calibration import Rate
from evaluation.evaluate import Evaluation, Threshold
from evaluation.frd import SnippetScores, describe_checkpoint, evaluate_snippets, origin_of
from inference.fitting import Recording
from inference.raised import with_alarms, write_alarms
from models.frd.scorers import read_frd_checkpoint, scorer_from_checkpoint
from pre_process.features.extraction import FeatureJob, feature_file
from utils.config.alarms import AlarmConfig
from utils.config.load import SCORING_BLOCKS, scoring_config
from utils.errors import UserError
from utils.files import part_folder
from utils.runtime import pick_device
from visualization.publish import publish

_BLOCKS = (*SCORING_BLOCKS, "pre_process")


@dataclass(frozen=True)
class SnippetPredictor:
    """A checkpoint of FRD-UVAD or of C2FPL's scorer, with the configuration to score with."""

    path: Path
    checkpoint: dict[str, Any]
    config: Any
    device: torch.device


def is_snippet_checkpoint(content: Any) -> bool:
    """Whether what ``load_tensors`` read is a checkpoint of this project's FRD-UVAD."""
    return isinstance(content, dict) and content.get("system") == "frd"


def load_snippet_predictor(
    path: Path, overrides: Sequence[str], backend: str, device: str | None, live: bool
) -> SnippetPredictor:
    """Make a predictor of a checkpoint.

    Args:
        path: ``last.pth`` of a finished stage.
        overrides: ``key.sub=value`` strings for data, run, eval and pre_process.
        backend: of the network: ``auto`` or ``torch``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ``None``: the configuration's.
        live: refused.

    Raises:
        UserError: training not finished, or faults in the overrides.
    """
    if live or backend not in ("auto", "torch"):
        what = "--live" if live else f"--backend {backend}"
        raise UserError(f"{what}: FRD-UVAD scores whole videos with torch only; leave it out")
    checkpoint = read_frd_checkpoint(path)
    overrides = list(overrides)
    if device is not None:
        overrides += [f"run.device={device}", f"pre_process.features.device={device}"]
    tree = checkpoint["config"]
    config = scoring_config(
        tree, str(path), None, overrides, "frd", _BLOCKS, opens=("pre_process",)
    )
    return SnippetPredictor(path, checkpoint, config, pick_device(config.run.device))


def score_snippet_videos(
    predictor: SnippetPredictor,
    recordings: Sequence[Recording],
    wanted: float | Rate | None,
    output: Path,
    title: str,
    with_video: bool = True,
) -> None:
    """Score videos as ``frd_eval.py`` does, without labels, and write all results.

    Args:
        predictor: from ``load_snippet_predictor``.
        recordings: the videos.
        wanted: threshold; ``None``: ``eval.threshold``.
        output: folder of the results.
        title: heading of the report.
        with_video: no annotated video is made of snippets, which have no boxes.

    Raises:
        UserError: a rate of false alarms, for which there is no normal video to count on, or a
            feature backend without weights or of another size than the network reads.
    """
    if isinstance(wanted, Rate):
        raise UserError(
            "FRD-UVAD is trained without normal video, so no rate of false alarms is known; pass "
            "--threshold VALUE, between 0 and 1"
        )
    entries = [each.entry for each in recordings]
    with part_folder(output, "features") as folder:
        features = _extract(predictor, entries, folder)
        evaluation, facts = _evaluate(predictor, entries, features)
    if wanted is not None:
        evaluation = replace(evaluation, threshold=Threshold(wanted, "given on the command line"))
    rule = AlarmRule.of(evaluation.threshold, AlarmConfig())
    rates = [each.fps for each in recordings]
    times = [frame_times(each.entry) if each.is_timed else None for each in recordings]
    evaluation, stats = with_alarms(evaluation, rule, rates, output, times)
    publish(output, title, evaluation, facts, None, lambda _: ())
    write_alarms(output, evaluation, stats)


def _extract(
    predictor: SnippetPredictor, entries: Sequence[VideoEntry], folder: Path
) -> FeatureSet:
    data = predictor.config.data
    job = FeatureJob(predictor.config.pre_process.features, data.frames_per_snippet, folder)
    extract = job()
    total = sum(entry.num_frames for entry in entries)
    with tqdm(total=total, desc="features", unit="frame", mininterval=1.0) as bar:
        # Numbered: files are read in the order of their names, and names may end as crops' do.
        numbered = [replace(each, name=f"{place:08d}") for place, each in enumerate(entries)]
        where = feature_file(folder, numbered[0]).parent
        for entry in numbered:
            extract(entry, bar.update)
            if entry is numbered[0]:  # before the long work
                _require_size(predictor, FeatureSet.open(where).feature_size)
    features = FeatureSet.open(where, crops=data.crops)
    features.names = [entry.name for entry in entries]
    return features


def _evaluate(
    predictor: SnippetPredictor, entries: Sequence[VideoEntry], features: FeatureSet
) -> tuple[Evaluation, dict[str, Any]]:
    path, checkpoint, config = predictor.path, predictor.checkpoint, predictor.config
    size = config.eval.batch_size
    values = score_snippets(checkpoint, str(path), features, size, predictor.device)
    evaluation = evaluate_snippets(
        SnippetScores(features.names, features.lengths.tolist(), values),
        None,
        describe_checkpoint(path, checkpoint),
        config,
        [entry.num_frames for entry in entries],
    )
    facts = origin_of(path, checkpoint, features)
    facts["test data"]["folder"] = str(entries[0].source.parent)
    return evaluation, facts | report_facts(checkpoint, values)


def _require_size(predictor: SnippetPredictor, made: int) -> None:
    scorer = scorer_from_checkpoint(predictor.checkpoint, str(predictor.path))
    read = scorer.get_parameter("fc1.weight").shape[1]
    if made != read:
        backend = predictor.config.pre_process.features.backend
        raise UserError(
            f"{predictor.path}: reads features of {read} values, but pre_process.features.backend "
            f"{backend} makes {made}; name the backend that the training features were made with "
            "(--set pre_process.features.backend=... pre_process.features.weights=...)"
        )
