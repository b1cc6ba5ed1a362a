"""Boxes made elsewhere, or earlier by ``extract_bboxes.py``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets.manifest import DataSet, VideoEntry
from pre_process.detectors.base import Detector
from pre_process.detectors.box_files import box_file, load_boxes, load_published_boxes
from utils.errors import UserError


class FileDetector(Detector):
    """Gives the boxes of a file, unchanged and with score 1.

    Args:
        training_file: HF2-VAD's ``NAME_bboxes_train.npy``; empty, as is ``testing_file``: the data
            set's own ``boxes/``, in which moving regions are included.
        testing_file: ``NAME_bboxes_test.npy``.
        dataset: the data set whose boxes these are.

    Raises:
        UserError: no data set, or only one of two files named.
    """

    is_filtered = True

    def __init__(self, training_file: str, testing_file: str, dataset: DataSet | None) -> None:
        if dataset is None:
            raise UserError(
                "pre_process.boxes.backend is 'file', which has no boxes for a new video; "
                "set another backend, such as motion"
            )
        if bool(training_file) != bool(testing_file):
            raise UserError(
                "pre_process.boxes.training_file and testing_file: name both, or leave both "
                "empty to use the data set's own boxes/"
            )
        self.has_regions = not training_file
        self._dataset = dataset
        self._files = {"training": training_file, "testing": testing_file}
        self._published: dict[str, dict[str, list[np.ndarray]]] = {}
        self._remaining: list[np.ndarray] = []

    def boxes_of(self, entry: VideoEntry) -> list[np.ndarray]:
        """The boxes of a whole video, one (n,4) float32 array a frame."""
        path = self._files[entry.split]
        if not path:
            size = entry.width, entry.height
            return load_boxes(box_file(self._dataset.root, entry), entry.num_frames, size)
        if entry.split not in self._published:
            videos = self._dataset.videos(entry.split)
            self._published[entry.split] = load_published_boxes(Path(path), videos)
        return self._published[entry.split][entry.name]

    def start(self, entry: VideoEntry | None) -> None:
        """Begin with the first frame of a video of the data set."""
        if entry is None:
            raise UserError("pre_process.boxes.backend 'file' has no boxes for a new video")
        self._remaining = list(reversed(self.boxes_of(entry)))

    def detect(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The boxes of the next frames; see ``Detector.detect``."""
        boxes = [self._remaining.pop() for _ in frames]
        return [np.insert(each, 4, 1.0, axis=1) for each in boxes]
