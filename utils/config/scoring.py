"""How cubes are scored: densities of normal cubes, weights, normalisation, smoothing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from utils.config.block import Block
from utils.config.kinds import Count, NonNegative, Positive


class AppearanceConfig(Block):
    """Distance of a cube's last picture to the nearest normal ones, in a backbone's features."""

    backbone: str = "efficientnet_lite0"  # or one of torchvision (resnet18), or open_clip:ViT-B-32
    weights: str = ""  # file; empty: the package's own
    size: Annotated[int, Field(ge=0, le=1024)] = 0  # pixels it is enlarged to; 0: the backbone's
    # Where features are taken: stage2 to stage8 of efficientnet_lite0 (numbered as in Table 1 of
    # arXiv 1905.11946), a layer of torchvision's (layer3); empty: behind the last one.
    layer: str = ""
    neighbours: Positive = 1


class VelocityConfig(Block):
    """Distance of a cube's histogram of flow to the nearest normal ones."""

    neighbours: Positive = 10  # one alone may be a failed flow: docs/results.md


class DensityConfig(Block):
    """Banks of normal features, fitted when a stage ends if a weight of ``eval`` asks for them."""

    bank_size: Annotated[int, Field(ge=1, le=32767)] = 2000  # features kept
    appearance: AppearanceConfig = AppearanceConfig()
    velocity: VelocityConfig = VelocityConfig()


class EvalConfig(Block):
    """How errors become scores (HF2-VAD §3.3)."""

    w_flow: NonNegative = 1.0  # published name: w_r
    w_frame: NonNegative = 0.1  # published name: w_p
    w_energy: NonNegative = 0.0  # ours: squared flow itself; 0 is the paper
    w_steady_energy: NonNegative = 0.0  # ours: the same, from the middle two of four flows
    w_fast_energy: NonNegative = 0.0  # ours: the same, of the fastest quarter of the pixels
    w_appearance: NonNegative = 0.0  # ours: unlike any normal picture (block density)
    w_velocity: NonNegative = 0.0  # ours: unlike any normal velocity
    # z: weighted sum of (error - mean) / deviation, the paper's. surprise: how rare an error is
    # among normal cubes, combined as a harmonic mean of the terms' probabilities.
    normalisation: Literal["z", "surprise"] = "z"
    trim: Count = 4
    median: Annotated[int, Field(ge=1, le=100_001)] = 17
    false_frames_per_thousand: Annotated[float, Field(gt=0, lt=1000)] = 1.0  # of normal video
    batch_size: Positive = 128
    precision: Literal["fp32", "bf16"] = "fp32"  # of the network's products in eval.py
    backend: Literal["auto", "openvino", "torch"] = "auto"  # auto: openvino on a CPU

    @model_validator(mode="after")
    def _odd_median(self) -> EvalConfig:
        if self.median % 2 == 0:
            raise ValueError("median must be odd (1: no smoothing)")
        return self
