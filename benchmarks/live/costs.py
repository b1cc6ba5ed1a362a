"""Where the time of a frame goes when ``infer.py`` watches: processor milliseconds of each part.

Everything in one thread, one part after the other, as the programs do it side by side.

python -m benchmarks.live.costs --folder runs/live
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.live.scene import FPS, train_model, write_street
from datasets.manifest import VideoEntry
from datasets.videos import describe_video, read_frames
from engine.scoring.density_scorer import DensityScorer
from inference.predictor import Predictor, load_predictor
from inference.video_cubes import join_cubes
from utils.checkpoint import find_checkpoint
from utils.console import echo, format_table
from utils.errors import exit_on_user_error
from utils.threads.count import share_cores
from visualization.video_writer import VideoWriter

_FRAMES, _WARM = 600, 40


class Stopwatch:
    """Adds up the processor time of parts, those of a part inside another taken off it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside = [0.0]

    def timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time added to ``part``."""

        def run(*arguments: Any, **named: Any) -> Any:
            began = time.process_time()
            self._inside.append(0.0)
            try:
                return work(*arguments, **named)
            finally:
                spent = time.process_time() - began
                self.seconds[part] += spent - self._inside.pop()
                self._inside[-1] += spent

        return run

    def wrap(self, owner: Any, **parts: str) -> None:
        """Time methods of an object: their names, and the parts that they are."""
        for name, part in parts.items():
            object.__setattr__(owner, name, self.timed(part, getattr(owner, name)))


def instrument(watch: Stopwatch, predictor: Predictor, extractor: Any) -> None:
    """Have the parts of extraction and scoring add up their times."""
    extractor._box_source = _Timed(extractor._box_source, watch, "boxes")
    extractor._flow = _Timed(extractor._flow, watch, "flow")
    watch.wrap(extractor, _cut="cubes")
    scorer: Any = predictor.scorer
    if not isinstance(scorer, DensityScorer):
        object.__setattr__(predictor, "scorer", watch.timed("network", scorer))
        return
    scorer._threads = None  # one part after the other
    scorer._errors = watch.timed("network", scorer._errors)
    scorer._features = watch.timed("features", scorer._features)
    for name, bank in scorer._densities.banks.items():
        watch.wrap(bank, distances=f"bank, {name}")


class _Timed:
    """An object whose calls are timed."""

    def __init__(self, inner: Any, watch: Stopwatch, part: str) -> None:
        self._inner, self._call = inner, watch.timed(part, inner.__call__)

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def frame_costs(predictor: Predictor, entry: VideoEntry, output: Path) -> dict[str, Any]:
    """Watch a video in one thread.

    Returns:
        Milliseconds of a frame by part, ``boxes`` of a frame.
    """
    watch, extractor, num_boxes = Stopwatch(), predictor.extractor(), 0
    instrument(watch, predictor, extractor)
    threshold = predictor.threshold(None, FPS)
    draw = watch.timed("drawing", predictor.annotator(threshold).draw)
    out = VideoWriter(output, FPS)
    encode = watch.timed("encoding", out.write)
    score = watch.timed("normalisation", predictor.rule)
    frames: Iterator[np.ndarray] = read_frames(entry)
    decode, extractor_push = watch.timed("decoding", lambda: next(frames)), extractor.push
    extractor.start()
    for index in range(entry.num_frames):
        if index == _WARM:
            watch.seconds.clear()
        for cubes in extractor_push(decode()):
            scores = np.zeros(0)
            if len(cubes.boxes):
                errors = predictor.scorer(*join_cubes([cubes]))
                scores = score({name: np.asarray(each) for name, each in errors.items()})
            encode(draw(extractor._window[-1].frame, cubes.boxes, scores, 0.0, "frame"))
            num_boxes += len(cubes.boxes)
    out.close()
    count = entry.num_frames - _WARM
    costs = {part: 1000 * seconds / count for part, seconds in watch.seconds.items()}
    return {"ms": costs, "boxes": num_boxes / entry.num_frames}


@exit_on_user_error
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="for model and video")
    parser.add_argument("--model", type=Path, help="a run's folder; default: one in --folder")
    parser.add_argument("--cfg_file", default="cfgs/custom.yaml", help="default: %(default)s")
    options = parser.parse_args()
    folder = options.folder.absolute()
    model = find_checkpoint(options.model or train_model(folder, options.cfg_file))
    video = write_street(folder / "videos" / "costs.mp4", _FRAMES, with_visitor=True)
    predictor = load_predictor(model, ["run.num_threads=1"], "auto", "cpu")
    share_cores(1)
    found = frame_costs(predictor, describe_video(video, "testing"), folder / "drawn.mp4")
    ordered = sorted(found["ms"].items(), key=lambda pair: -pair[1])
    total = sum(found["ms"].values())
    rows = [[part, f"{ms:.2f}"] for part, ms in [*ordered, ("together", total)]]
    echo(format_table(("part", "processor ms a frame"), rows))
    echo(f"{found['boxes']:.1f} boxes a frame at 640x480, one frame a batch, as live")


if __name__ == "__main__":
    main()
