"""Computed, not measured: what ShanghaiTech and UCF-Crime take on 1, 8 and 64 GPUs.

python -m benchmarks.scale_estimate

time of extraction = frames x core-seconds a frame / cores, or operations / (GPUs x rate)
time of a step     = max(FLOOR, batch x operations an item / (GPUs x rate)) + exchange
exchange           = 2 (n - 1) / n x bytes of gradients / bandwidth + collectives x LATENCY
Costs of items come from benchmarks/step_costs.py (counted; core time measured), all else that is in
capitals below is assumed.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

from utils.config.frd import FRDStageConfig
from utils.config.hf2vad import HF2VADConfig

RATE = 20e12  # operations a second that a GPU sustains on these small networks
FLOOR = 0.012  # seconds that launching a step's kernels takes, however few the items
LATENCY = 40e-6  # seconds of one small collective
CORES = 8  # a GPU
INSIDE = 100e9  # bytes a second of an exchange inside a machine of 8 GPUs
BETWEEN = 12.5e9  # and between machines: 100 Gbit/s
CUBES_A_FRAME = 6  # ShanghaiTech
CUBE_BYTES = 31_764
NORM_EXCHANGES = 2 * 14  # collectives of the 14 BatchNorms: one forward, one backward


@dataclass(frozen=True)
class Training:
    """A stage: items an epoch, giga-operations an item, millions of trained parameters."""

    name: str
    items: int
    epochs: int
    batch: int
    operations: float
    parameters: float
    collectives: int
    item_bytes: int

    def hours(self, gpus: int, batch: int) -> tuple[float, float, float]:
        """Hours, bytes a second read by all, and share of the time spent exchanging."""
        exchange = 0.0
        if gpus > 1:
            ring = gpus if gpus <= 8 else gpus // 8  # machines exchange once their GPUs have
            bandwidth = INSIDE if gpus <= 8 else BETWEEN
            exchange = 2 * (ring - 1) / ring * 4e6 * self.parameters / bandwidth
            exchange += (1 + self.collectives) * LATENCY
        step = max(FLOOR, batch * self.operations * 1e9 / (gpus * RATE)) + exchange
        steps = self.epochs * math.ceil(self.items / batch)
        return steps * step / 3600, batch * self.item_bytes / step, exchange / step


def table(name: str, extraction: dict[int, float], disk: float, stages: list[Training]) -> None:
    """Print one data set's rows."""
    print(f"\n{name}: {disk / 1e9:.0f} GB on disk\n")
    print("| GPUs | extraction, h | training as published, h | of it exchange | read, MB/s "
          "| training with the batch x GPUs, h | of it exchange | read, MB/s |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for gpus, hours in extraction.items():
        cells = [f"{hours:.2f}"]
        for factor in (1, gpus):
            runs = [stage.hours(gpus, stage.batch * factor) for stage in stages]
            total = sum(run[0] for run in runs)
            shared = sum(run[0] * run[2] for run in runs) / total
            fastest = max(run[1] for run in runs)
            cells += [f"{total:.2f}", f"{shared:.0%}", f"{fastest / 1e6:.0f}"]
        print(f"| {gpus} | " + " | ".join(cells) + " |")


def main() -> None:
    """Print both tables."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    config = HF2VADConfig(data={"name": "shanghaitech"})
    frames, training_frames = 274_515 + 42_883, 274_515
    cubes = training_frames * CUBES_A_FRAME
    costs = {"ml_memae_sc": (1.71, 60.3, NORM_EXCHANGES), "cvae": (5.868, 9.0, 0),
             "finetune": (12.712, 69.2, NORM_EXCHANGES)}  # fmt: skip
    stages = [
        Training(key, cubes, getattr(config, key).num_epochs, getattr(config, key).batch_size,
                 *cost, CUBE_BYTES)
        for key, cost in costs.items()
    ]  # fmt: skip
    hours = {n: frames * 0.0543 / (n * CORES) / 3600 for n in (1, 8, 64)}
    table("ShanghaiTech, HF2-VAD", hours, frames * CUBES_A_FRAME * CUBE_BYTES, stages)
    frames = 128 * 3600 * 30
    snippets, crops = frames // 16, 10
    frd = FRDStageConfig()
    item_bytes = crops * 2048 * 4  # neighbouring snippets are read once
    stages = [Training("frd", 779_951, frd.num_epochs, frd.batch_size, 6.449, 3.8, 12, item_bytes)]
    hours = {n: snippets * crops * 32.829e9 / (n * RATE) / 3600 for n in (1, 8, 64)}
    table("UCF-Crime, FRD-UVAD", hours, snippets * crops * 2048 * 4, stages)


if __name__ == "__main__":
    main()
