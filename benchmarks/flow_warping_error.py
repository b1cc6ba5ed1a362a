"""Choose a flow setting without test labels: how well does it explain the TRAINING frames?

python -m benchmarks.flow_warping_error --cfg_file cfgs/ped2.yaml

Inside the boxes of frame t, with flow F from t-1 to t and B from t to t-1:
- warping error: mean of min(|I[t](x + F(x)) - I[t-1](x)|, 30) in grey levels; unexplained motion
  raises it, and occlusions cannot dominate it (hence the cut at 30);
- round trip: mean of min(|F(x) + B(x + F(x))|, 3) in pixels of the frame; fitted noise does not
  survive it, so a low warping error with a high round trip is overfitting.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import cv2
import numpy as np
from tqdm import tqdm

from datasets.manifest import DataSet, load_dataset
from datasets.videos import read_frames
from pre_process.detectors.boxes import crop_ranges
from pre_process.detectors.build import BoxSource, build_box_source
from pre_process.flow.dis import DISFlow
from utils.config.load import add_config_arguments, load_config
from utils.console import echo, format_table
from utils.errors import exit_on_user_error

# preset, patch size, patch stride, refinement iterations, finest scale (0, 0, -1, -1: the preset's)
SETTINGS = {
    "ultrafast": ("ultrafast", 0, 0, -1, -1),
    "fast": ("fast", 0, 0, -1, -1),
    "medium": ("medium", 0, 0, -1, -1),
    "patch 12/6, 20 iterations, scale 1": ("medium", 12, 6, 20, 1),
    "patch 12/6, 5 iterations, scale 0": ("medium", 12, 6, 5, 0),
    "patch 12/6, 20 iterations, scale 0": ("medium", 12, 6, 20, 0),
    "patch 8/4, 5 iterations, scale 0": ("medium", 8, 4, 5, 0),
    "patch 8/3, 10 iterations, scale 0": ("medium", 8, 3, 10, 0),
}
Sample = tuple[np.ndarray, np.ndarray, np.ndarray]  # frame t-1, frame t, boxes of t


def samples(dataset: DataSet, source: BoxSource, every: int) -> Iterator[Sample]:
    """Every ``every``-th pair of consecutive training frames, with the boxes of the second."""
    for entry in dataset.videos("training"):
        source.start(entry)
        frames = list(read_frames(entry))
        boxes = source(frames, None)
        for index in range(every, len(frames), every):
            yield frames[index - 1], frames[index], boxes[index]


def warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """``image`` looked up at x + flow(x), bilinear."""
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(
        image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def errors(sample: Sample, estimator: DISFlow, scale: int) -> tuple[float, float, float]:
    """Warping error, round trip (module docstring) and seconds for one flow field."""
    before, after, boxes = sample
    start = time.perf_counter()
    forward = estimator([before], [after])[0] / scale
    seconds = time.perf_counter() - start
    backward = estimator([after], [before])[0] / scale
    grey = [cv2.cvtColor(each, cv2.COLOR_BGR2GRAY).astype(np.float32) for each in (before, after)]
    photometric = np.minimum(np.abs(warp(grey[1], forward) - grey[0]), 30)
    round_trip = np.minimum(np.linalg.norm(forward + warp(backward, forward), axis=2), 3)
    inside = np.zeros(grey[0].shape, bool)
    for x1, y1, x2, y2 in crop_ranges(boxes, inside.shape[1], inside.shape[0]).tolist():
        inside[y1:y2, x1:x2] = True
    return float(photometric[inside].mean()), float(round_trip[inside].mean()), seconds


@exit_on_user_error
def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument("--every", type=int, default=10, help="take every n-th pair of frames")
    parser.add_argument("--scales", type=int, nargs="+", default=[1, 2], help="enlargements")
    options = parser.parse_args()
    config = load_config(options.cfg_file, options.set)
    dataset = load_dataset(config.data.folder)
    chosen = list(samples(dataset, build_box_source(config.pre_process, dataset), options.every))
    chosen = [sample for sample in chosen if len(sample[2])]
    height, width = chosen[0][0].shape[:2]
    rows = []
    for scale, (name, knobs) in tqdm(
        [(s, each) for s in options.scales for each in SETTINGS.items()]
    ):
        size = (0, 0) if scale == 1 else (scale * width, scale * height)
        estimator = DISFlow(*size, *knobs)
        means = np.mean([errors(sample, estimator, scale) for sample in chosen], axis=0)
        rows.append([f"{name}, {scale}x", f"{means[0]:.3f}", f"{means[1]:.3f}"])
        rows[-1].append(f"{1000 * means[2]:.1f}")
    backend = config.pre_process.boxes.backend
    echo(f"{dataset.root}: {len(chosen)} training frame pairs, inside the boxes of {backend}")
    echo(format_table(["DIS setting", "warping error", "round trip", "ms a frame"], rows))


if __name__ == "__main__":
    main()
