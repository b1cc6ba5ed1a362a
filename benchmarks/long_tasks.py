"""The long runs themselves, on made-up data, through the scripts and the live code."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml

import finetune
import frd_train
import ml_memAE_sc_train
import train
from benchmarks.process_watch import describe, watched
from datasets.manifest import DataSet, VideoEntry, save_dataset
from datasets.toy.features import ToySettings, write_toy_features
from inference.live.frame_buffer import FrameBuffer, LiveFrame
from inference.live.loop import watch_live
from inference.live.writer import LiveSettings
from inference.predictor import load_predictor
from pre_process import extract_samples
from utils.run_folder import claimed_folder

WIDTH, HEIGHT = 96, 64
LOOP = 240  # frames after which the scene repeats
STAGES = {"ml_memae_sc": ml_memAE_sc_train, "cvae": train, "finetune": finetune}
_AHEAD = 32  # frames that the camera may be ahead of the scores
_BREAKS = 20  # times that the camera's connection is lost in a run


def make_scene() -> np.ndarray:
    """(LOOP,H,W,3) uint8: a textured square crosses a textured ground, then leaves it alone."""
    chance = np.random.default_rng(0)
    ground = chance.integers(60, 100, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    texture = chance.integers(150, 255, (16, 16, 3)).astype(np.uint8)
    frames = np.repeat(ground[None], LOOP, axis=0)
    for time in range(LOOP):
        left = 2 * time % (2 * WIDTH)
        if left <= WIDTH - 16:
            frames[time, 20:36, left : left + 16] = texture
    return frames


def prepare(folder: Path, epochs: int) -> None:
    """Write videos, features and configurations, and extract the cubes."""
    data = folder / "scene"
    data.mkdir(parents=True)
    scene, entries = make_scene(), []
    for name in ("a",):
        path = data / f"{name}.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (WIDTH, HEIGHT))
        for frame in scene:
            writer.write(frame)
        writer.release()
        entries.append(VideoEntry(name, "training", path, "video", 0, LOOP, WIDTH, HEIGHT))
    save_dataset(DataSet(data.absolute(), "scene", tuple(entries)))
    write_toy_features(folder / "features", settings=ToySettings(num_videos=12))
    for system, tree in _configurations(folder, epochs).items():
        (folder / f"{system}.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    extract_samples.main(["--cfg_file", str(folder / "hf2vad.yaml"), "--workers", "1"])


def _configurations(folder: Path, epochs: int) -> dict[str, dict[str, Any]]:
    run = {"root": str(folder / "runs"), "device": "cpu", "num_threads": 1, "log_every": 1}
    stage = {"num_epochs": epochs, "lr": 1e-3, "ema_decay": 0.9, "keep_every": 5}
    stage["save_every_steps"] = 5
    return {
        "hf2vad": {
            "data": {"name": "scene", "root": str(folder / "scene")},
            "run": run,
            "pre_process": {"boxes": {"min_area": 30}, "flow": {"preset": "ultrafast"}},
            "model": {
                "memae": {"feature_root": 2, "num_slots": 8},
                "vunet": {"nf_max": 8, "nf_start": 4},
            },
            **{name: dict(stage, batch_size=64) for name in STAGES},
            "eval": {"median": 5, "w_frame": 1.0},
        },
        "frd": {
            "system": "frd",
            "data": {"name": "features", "root": str(folder / "features")},
            "run": run,
            "model": {"feature_size": 256, "num_blocks": 1},
            "frd": {"num_epochs": epochs, "batch_size": 64, "keep_every": 5},
        },
    }


def training(folder: Path, stage: str) -> dict[str, Any]:
    """Train a stage of ``prepare``'s configuration, to its last epoch; ``describe``'s numbers.

    Checkpoints are written every five steps, epochs kept every fifth, pictures made in each.
    """
    system = "hf2vad" if stage in STAGES else "frd"
    script = STAGES.get(stage, frd_train)
    name = "scene" if stage in STAGES else "features"
    log = folder / "runs" / name / stage / "log.jsonl"

    def epochs_over() -> int:
        return log.read_bytes().count(b"\n") if log.exists() else 0

    with watched(epochs_over, every=0.01) as samples:
        script.main(["--cfg_file", str(folder / f"{system}.yaml")])
    return describe(f"training, {stage}", "epochs", 1, samples)


class PatientFrames(FrameBuffer):
    """Live frames of a camera that waits until its frames are taken: none is dropped."""

    def __init__(self, open_camera: Callable[[], Any], places: threading.Semaphore) -> None:
        self._places = places
        super().__init__(open_camera, "made up", max_delay=math.inf)

    def take(self, most: int, timeout: float) -> list[LiveFrame] | None:
        """See ``FrameBuffer``."""
        taken = super().take(most, timeout)
        for _ in taken or ():
            self._places.release()
        return taken


class MadeUpCamera:
    """Shows the scene over and over, loses its connection now and then, ends after ``total``."""

    def __init__(self, total: int, places: threading.Semaphore) -> None:
        self.given = 0
        self._total, self._places, self._scene = total, places, make_scene()
        self._lost_at = 0

    @property
    def has_end(self) -> bool:
        """Whether a read that fails means the end, not a lost connection."""
        return self.given >= self._total

    def read(self) -> tuple[bool, np.ndarray | None]:
        """See ``Camera``."""
        is_break = self.given and self.given % max(1, self._total // _BREAKS) == 0
        if self.has_end or (is_break and self._lost_at != self.given):
            self._lost_at = self.given
            return False, None
        self._places.acquire()
        self.given += 1
        return True, self._scene[self.given % LOOP].copy()

    def release(self) -> None:
        """Nothing is held open."""


def live(folder: Path, frames: int) -> dict[str, Any]:
    """Watch a made-up camera with the last stage's checkpoint, video, alarms and report written.

    The output goes into twenty parts, of which three are kept.
    """
    predictor = load_predictor(
        folder / "runs" / "scene" / "finetune" / "last.pth", [], "torch", "cpu"
    )
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    predictor.warm_up()
    places = threading.Semaphore(_AHEAD)
    camera = MadeUpCamera(frames, places)
    settings = LiveSettings(part_seconds=max(0.5, frames / 2000), keep_parts=3)
    every = max(0.02, frames / 100_000)
    output = folder / "live"
    with claimed_folder(output, overwrite=True), watched(lambda: camera.given, every) as samples:
        source = PatientFrames(lambda: camera, places)
        watch_live(predictor, source, _usual_score(predictor), output, "made up", settings)
    return describe("live inference", "frames", 1000, samples)


def _usual_score(predictor: Any) -> float:
    """A threshold that some frames reach and some do not, so that there are many alarms."""
    statistics = predictor.checkpoint["statistics"]
    middle = {term.error: statistics[term.error]["quantiles"][6] for term in predictor.rule.terms}
    return float(predictor.rule(middle))
