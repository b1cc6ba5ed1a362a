"""What a training of FRD-UVAD or C2FPL's scorer shows without any label."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)
# On UCF-Crime: 5 epochs in batches of 320, 30 in batches of 128.
PUBLISHED_STEPS = {"frd": 12_000, "c2fpl": 183_000}
FEWEST_STEPS = PUBLISHED_STEPS["frd"] // 100
# A correlation at which an error says what the norm says; on the made-up features it is 0.975.
AS_THE_NORM = 0.985
SHORTER_IS_WORSE = -0.2
MOST_OF_A_VIDEO = 0.5  # of the labels, in one video
FEWEST_LABELLED, MOST_LABELLED = 0.03, 0.5  # of the snippets
SHOWN_VIDEOS = 30
ABNORMAL = 0.5  # scores from here on
SAME_SCORE = 0.01  # a crop whose scores all lie within it tells snippets from one another no more
OTHER_SCALE = 1.5  # RMS of scored features to that of the training ones, or the reverse


def diagnose(
    rms: float,
    gain: float | None,
    values: np.ndarray,
    norms: np.ndarray,
    labels: np.ndarray,
    videos: Sequence[str],
    crops: np.ndarray,
) -> dict[str, Any]:
    """Describe a network on training snippets, for the checkpoint and the report.

    Args:
        rms: root mean square of the training features.
        gain: mean gain of the LayerNorm that ends the reconstruction; ``None``: there is none.
        values: (n,) reconstruction errors, or the scores of a network that does not reconstruct.
        norms: (n,) squared feature norms of the same snippets.
        labels: (n,) pseudo labels, 0 or 1.
        videos: (n,) name of each snippet's video.
        crops: (n, crops) score of each crop by itself.

    Returns:
        ``rms``, ``gain``, ``correlation`` (of values with norms; ``None`` where either is
        constant), ``labelled`` (share of snippets), ``videos`` (name -> numbers of labelled
        snippets and of all), ``crops`` (their number) and ``constant`` (crop -> its score, of
        those that have the same one for every snippet). Plain numbers and containers.
    """
    constant = np.flatnonzero(np.ptp(crops, axis=0) < SAME_SCORE).tolist()
    moving = min(float(values.std()), float(norms.std())) > 0
    counts = {str(name): [0, 0] for name in videos}
    for name, label in zip(videos, labels.tolist(), strict=True):
        counts[str(name)][0] += int(label)
        counts[str(name)][1] += 1
    return {
        "rms": rms,
        "gain": gain,
        "correlation": float(np.corrcoef(values, norms)[0, 1]) if moving else None,
        "labelled": float(labels.mean()),
        "videos": counts,
        "crops": crops.shape[1],
        "constant": {str(crop): float(crops[:, crop].mean()) for crop in constant},
    }


def describe(diagnosis: Mapping[str, Any], steps: int, stage: str) -> dict[str, str]:
    """The diagnosis of a stage in words, a line each, for the console and the report."""
    gain, correlation = diagnosis["gain"], diagnosis["correlation"]
    what = "score" if gain is None else "reconstruction error"
    shares = {name: some / count for name, (some, count) in diagnosis["videos"].items() if some}
    highest = sorted(shares, key=lambda name: -shares[name])[:SHOWN_VIDEOS]
    listed = f": {', '.join(f'{name} {shares[name]:.0%}' for name in highest)}" if shares else ""
    against = "" if gain is None else f"; reconstructions have a gain of {gain:.3f}"
    where = f"in {len(shares)} of {len(diagnosis['videos'])} videos{listed}"
    return {
        "feature scale": f"RMS of the training features {diagnosis['rms']:.3f}{against}",
        f"{what} and feature norm": "constant"
        if correlation is None
        else f"correlation {correlation:+.2f}",
        "pseudo labels": f"{diagnosis['labelled']:.1%} of the training snippets, {where}",
        "steps": f"{steps} (published run on UCF-Crime: {PUBLISHED_STEPS[stage]})",
    }


def remedies(
    diagnosis: Mapping[str, Any], steps: int, lr: float, trained: bool, stage: str
) -> list[str]:
    """What is off and what to do, in sentences; none where all is well.

    Args:
        diagnosis: from ``diagnose``.
        steps: of the whole training.
        lr: learning rate; AdamW moves a gain by about as much a step.
        trained: whether the diagnosis is of the trained network.
        stage: ``frd`` or ``c2fpl``.
    """
    found = []
    gain, rms, correlation = diagnosis["gain"], diagnosis["rms"], diagnosis["correlation"]
    if not trained and gain is not None and abs(gain - rms) > steps * lr:
        found.append(
            f"reconstructions start at a scale of {gain:.2f} and the features' RMS is {rms:.2f}; "
            f"{steps} steps of {lr:g} cannot close that, and until then larger features have "
            "smaller errors: set model.feature_scale=rms, or train longer"
        )
    if trained and gain is not None and correlation is not None:
        found += _correlated(correlation)
    if steps < FEWEST_STEPS:
        found.append(
            f"{steps} steps are few (published: {PUBLISHED_STEPS[stage]}); raise "
            f"{stage}.num_epochs or lower {stage}.batch_size"
        )
    if trained:
        found += _constant(diagnosis, lr, stage)
    if trained or gain is None:  # an untrained network's errors say nothing of its labels
        found += _labelled(diagnosis)
    return found


def _correlated(correlation: float) -> list[str]:
    if correlation < SHORTER_IS_WORSE:
        return [
            f"larger features have smaller reconstruction errors (correlation {correlation:+.2f}), "
            "so the pseudo labels are on the shortest: set model.feature_scale=rms and train "
            "again, or raise frd.num_epochs"
        ]
    if correlation > AS_THE_NORM:
        return [
            f"the reconstruction error is little more than the feature norm (correlation "
            f"{correlation:+.2f}): raise frd.num_epochs"
        ]
    return []


def _constant(diagnosis: Mapping[str, Any], lr: float, stage: str) -> list[str]:
    constant = diagnosis.get("constant", {})  # older checkpoints do not know
    # A crop that is normal in every snippet may be a place where nothing happens.
    abnormal = [crop for crop, score in constant.items() if score >= ABNORMAL]
    smaller_steps = f"lower {stage}.lr to {lr / 3:.1g} and train again"
    if abnormal:
        return [
            f"the scorer calls every snippet abnormal in {len(abnormal)} of {diagnosis['crops']} "
            f"crops ({', '.join(abnormal)}, counted from 0): too large steps took it where its "
            f"sigmoid is flat and it learns no more; {smaller_steps}"
        ]
    if len(constant) == diagnosis.get("crops"):
        return [
            "the scorer gives every snippet the same score: look at the number of pseudo labels, "
            f"and if there are enough, {smaller_steps}"
        ]
    return []


def _labelled(diagnosis: Mapping[str, Any]) -> list[str]:
    counts = {name: some for name, (some, _) in diagnosis["videos"].items()}
    total = sum(counts.values())
    if total == 0:
        return [
            "no training snippet has a pseudo label, so the scorer can only learn that all are "
            "normal: use more or longer videos, another pre_process.pseudo_labels.rule, or a lower "
            "frd.auxiliary.threshold"
        ]
    found = []
    if diagnosis["labelled"] < FEWEST_LABELLED:
        found.append(
            f"{diagnosis['labelled']:.1%} of the snippets have a pseudo label, few to learn from: "
            "train without the auxiliary scorer (frd.auxiliary.kind=none), or with a lower "
            "frd.auxiliary.threshold"
        )
    name = max(counts, key=lambda video: counts[video])
    if len(counts) > 2 and counts[name] > MOST_OF_A_VIDEO * total:
        found.append(
            f"{counts[name] / total:.0%} of the pseudo labels are in video {name}: look at it, "
            "and leave it out if it is another place or camera"
        )
    if diagnosis["labelled"] > MOST_LABELLED:
        found.append(
            f"{diagnosis['labelled']:.0%} of the snippets have a pseudo label, but anomalies must "
            "be the rarer: add normal videos"
        )
    return found


def report_facts(
    checkpoint: Mapping[str, Any], values: Mapping[str, np.ndarray]
) -> dict[str, dict[str, str]]:
    """The diagnosis of a checkpoint and of the videos it has scored, for a report.

    Args:
        checkpoint: ours or a published one, which has no diagnosis of its training.
        values: of the scored snippets, each (n,), as ``models.frd.scorers.score_batch`` names them.

    Returns:
        Heading -> name -> text; a heading where there is something to say.
    """
    facts: dict[str, dict[str, str]] = {}
    diagnosis, stage = checkpoint.get("diagnosis"), checkpoint["stage"]
    if diagnosis:
        steps, lr = checkpoint["step"], checkpoint["config"][stage]["lr"]
        facts["diagnosis of the training"] = describe(diagnosis, steps, stage)
        found = remedies(diagnosis, steps, lr, True, stage)
        if found:
            numbered = {str(number): text for number, text in enumerate(found, 1)}
            facts["diagnosis: warnings"] = numbered
    these = _of_these_videos(checkpoint, values)
    return facts | ({"diagnosis of these videos": these} if these else {})


def _of_these_videos(
    checkpoint: Mapping[str, Any], values: Mapping[str, np.ndarray]
) -> dict[str, str]:
    """How the scored features and their errors compare; warns of another scale than in training."""
    found = {}
    error, norms = values.get("reconstruction"), values["feature_norm"]
    if error is not None and min(float(error.std()), float(norms.std())) > 0:
        text = f"correlation {np.corrcoef(error, norms)[0, 1]:+.2f}"
        found["reconstruction error and feature norm"] = text
    known = (checkpoint.get("diagnosis") or {}).get("rms")
    if known:
        prefix = "scorer." if checkpoint["stage"] == "frd" else ""
        size = checkpoint["model"][f"{prefix}fc1.weight"].shape[1]
        rms = float(np.sqrt(norms.mean() / size))
        found["feature scale"] = f"RMS {rms:.3f}, of the training features {known:.3f}"
        if not 1 / OTHER_SCALE < rms / known < OTHER_SCALE:
            logger.warning(
                "these features have an RMS of %.3f and those trained on %.3f: if they were made "
                "in another way (another network, normalised, multiplied), scores mean nothing; "
                "extract both alike", rms, known,
            )  # fmt: skip
    return found
