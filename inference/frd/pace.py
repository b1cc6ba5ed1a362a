"""How long the way from unlabelled videos to alarms takes on this machine, measured on a sample."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.manifest import VideoEntry
from datasets.videos import read_frames
from losses.frd import WEIGHTS
from losses.frd_step import FRDStep
from models.frd.frd import FRD
from pre_process.features.build import Backbone
from pre_process.work_arguments import pick_workers
from utils.runtime import autocast, pick_device, second_run_seconds
from visualization.annotate import Annotator, ScoreScale
from visualization.video_writer import VideoWriter

_READ, _DRAWN = 8, 32  # frames whose reading and whose drawing are measured


class SnippetPace:
    """Expected seconds of each step.

    Args:
        config: of FRD-UVAD.
        backbone: of the features; the second snippet that it makes is measured.
        entries: the videos; the frames are the first ones of the longest.
    """

    def __init__(self, config: Any, backbone: Backbone, entries: Sequence[VideoEntry]) -> None:
        self._config, self._lengths = config, [entry.num_frames for entry in entries]
        self._size = backbone.feature_size
        longest = max(entries, key=lambda entry: entry.num_frames)
        frames, began = config.data.frames_per_snippet, time.perf_counter()
        sample = list(islice(read_frames(longest), _READ))
        self._decoding = (time.perf_counter() - began) / len(sample)
        self._drawing = _seconds_of_drawing(islice(cycle(sample), _DRAWN)) / _DRAWN

        def describe() -> None:
            backbone([[backbone.prepare(frame) for frame in islice(cycle(sample), frames)]])

        device = pick_device(config.run.device)
        self._describing = second_run_seconds(describe, device) / frames

    def features(self) -> float:
        """Of ``extract_features.py``; a video is one process's."""
        workers = pick_workers(0, self._config.pre_process.features.backend != "hof")
        frames = max(sum(self._lengths) / workers, max(self._lengths))
        return (self._decoding + self._describing) * frames

    def training(self, snippets: int, epochs: int) -> float:
        """Of ``frd_train.py``: the second of two steps on random features, times all steps."""
        settings, crops = self._config.frd, self._config.pre_process.features.crops
        device = pick_device(self._config.run.device)
        sizes = self._config.model.model_dump(exclude={"feature_scale", "feature_size"})
        model = FRD(**sizes, feature_size=self._size).to(device).train()
        weights = {term: getattr(settings, key) for term, key in WEIGHTS.items()}
        step = FRDStep(None, settings.bank.kind, settings.bank.delta, weights, 0.5)
        shape = (settings.batch_size, crops, settings.cross_clip, self._size)
        items = torch.from_numpy(np.random.default_rng(0).random(shape, np.float32)).to(device)
        rows = torch.zeros(shape[0], shape[2], dtype=torch.int64)

        def train() -> None:
            with autocast(device, self._config.run.precision):
                step(model, rows, items)["total"].backward()

        return second_run_seconds(train, device) * epochs * -(-snippets // settings.batch_size)

    def scoring(self, with_video: bool) -> float:
        """Of scores and alarms from the features, with the annotated videos."""
        # Side by side in threads, of which the slower one counts.
        return max(self._decoding, self._drawing * with_video) * sum(self._lengths)


def _seconds_of_drawing(pictures: Iterable[np.ndarray]) -> float:
    """Of an annotated video."""
    annotator, no_boxes = Annotator(ScoreScale(0.0, 1.0), 0.5), np.zeros((0, 4), np.float32)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, VideoWriter(Path(folder, "x.mp4"), 10) as out:
        for picture in pictures:
            out.write(annotator.draw(picture, no_boxes, (), 0.0, ""))
    return time.perf_counter() - began
