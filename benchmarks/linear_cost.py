"""Does cost grow as the data does? An epoch on 1, 2, 4 times the cubes, extraction of 1, 2, 4 times
the frames; processor seconds, so that other programs matter little.

python -m benchmarks.linear_cost --output docs/pictures/linear_cost.png
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import torch

from benchmarks.our_tasks import boxes_given, write_cube_set
from benchmarks.scene import write_video_set
from datasets.cubes.loader import CubeLoader, to_network_inputs
from engine.optimizer import adam
from losses.hf2vad import finetune_loss
from models.hf2vad.hf2vad import build_hf2vad
from pre_process.cubes.extraction import write_video_cubes
from pre_process.cubes.extractor import build_extractor
from utils.config.hf2vad import FinetuneStageConfig
from utils.config.load import load_config
from utils.console import echo
from utils.runtime import pick_device

ROOT = Path(__file__).resolve().parent.parent
FACTORS = (1, 2, 4)
CUBES, FRAMES = 256, 40


def train_epoch(folder: Path, factor: int) -> Callable[[], None]:
    """An epoch of stage 3 with the small model, from cubes on disk."""
    config = load_config(ROOT / "cfgs" / "ped2_cpu.yaml", [], "hf2vad")
    torch.manual_seed(0)
    model = build_hf2vad(config.model.memae.model_dump(), config.model.vunet.model_dump()).train()
    optimizer = adam(model.parameters(), config.finetune, torch.device("cpu"))
    cubes = write_cube_set(folder / f"cubes{factor}", factor * CUBES)

    def epoch() -> None:
        for batch in CubeLoader(cubes, 128, shuffle=True):
            frames, flows = to_network_inputs(batch.appearance, batch.motion)
            optimizer.zero_grad(set_to_none=True)
            finetune_loss(model(frames, flows), flows, FinetuneStageConfig())["total"].backward()
            optimizer.step()

    return epoch


def extract(folder: Path, factor: int) -> Callable[[], None]:
    """Cubes of one video, boxes given, DIS flow."""
    dataset = write_video_set(folder / f"video{factor}", factor * FRAMES, 360, 240)
    extractor = build_extractor(boxes_given("medium"), dataset, 8)
    return lambda: write_video_cubes(extractor, dataset.root, dataset.entries[0], {})


def processor_seconds(work: Callable[[], None]) -> float:
    """The lesser of two runs, after one to warm up."""
    work()
    times = []
    for _ in range(2):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Measure, print and plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("linear_cost.png"))
    output = parser.parse_args().output
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pick_device("cpu")  # which keeps freed memory, as the scripts do
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    tasks = {"training epoch": (train_epoch, CUBES, "cubes"), "extraction": (extract, FRAMES, "frames")}  # fmt: skip # noqa: E501
    with tempfile.TemporaryDirectory() as folder:
        for name, (prepare, size, unit) in tasks.items():
            seconds = [processor_seconds(prepare(Path(folder), each)) for each in FACTORS]
            axes.plot(FACTORS, seconds, "o-", label=f"{name}, from {size} {unit} on")
            axes.plot(FACTORS, [each * seconds[0] for each in FACTORS], "k:", linewidth=1)
            echo(f"{name}: {', '.join(f'{each:.2f} s' for each in seconds)}")
    axes.set(xlabel="times the data", ylabel="processor seconds", xticks=FACTORS)
    axes.set(xlim=(0, 4.2), ylim=(0, None), title="dotted: exactly proportional")
    axes.legend(frameon=False)
    figure.savefig(output, dpi=100)
    echo(f"written: {output}")


if __name__ == "__main__":
    main()
