"""The HF2-VAD configuration: every key and its type; defaults are the published Ped2 numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from utils.config.alarms import AlarmConfig
from utils.config.block import Block
from utils.config.kinds import (
    Count,
    Device,
    Fraction,
    NonNegative,
    Positive,
    Rate,
    Seed,
    Skips,
    Width,
)
from utils.config.names import NameInside, PlainName
from utils.config.scoring import DensityConfig, EvalConfig
from utils.config.zones import Zone
from utils.distributed import TIMEOUT_SECONDS


class DataConfig(Block):
    """Which data set, and where it lies."""

    name: PlainName
    root: str = ""  # empty: data/NAME
    fps: Rate = 25.0  # frames per second: false alarms per hour, delays
    # Share of the normal video that nothing is fitted on: statistics and thresholds come from it.
    calibration_share: Annotated[float, Field(ge=0, le=0.5)] = 0.0

    @property
    def folder(self) -> Path:
        """The data set's folder."""
        return Path(self.root or f"data/{self.name}")


class RunConfig(Block):
    """What all stages share: where results go, seed, device, precision."""

    root: str = "runs"
    name: NameInside = ""  # empty: the data set's name
    seed: Seed = 0
    device: Device = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    tf32: bool = True  # GPUs: float32 products in TF32 while training; scores are float32
    compile: Literal["auto", "on", "off"] = "auto"  # auto: on a GPU, where a trial is faster
    num_threads: Annotated[int, Field(ge=0, le=4096)] = 0  # 0: all cores; infer.py: half of them
    timeout_seconds: Annotated[float, Field(gt=0)] = TIMEOUT_SECONDS  # for a silent process
    log_every: Positive = 50  # steps between scalars
    image_every: Count = 1  # epochs between pictures; 0: none


class SystemConfig(Block):
    """What the configurations of both systems share."""

    data: DataConfig
    run: RunConfig = RunConfig()

    def stage_folder(self, stage: str) -> Path:
        """Where a stage writes: ``runs/NAME/STAGE``."""
        return Path(self.run.root) / (self.run.name or self.data.name) / stage


class MovingRegionConfig(Block):
    """Moving regions that the detector missed (HF2-VAD §4.1).

    They never join the boxes of backend ``motion`` nor those of the data set's own ``boxes/``,
    which hold what moves already. Boxes of a published file are final as a rule: switch them off.
    """

    enabled: bool = True
    binary_threshold: Annotated[int, Field(ge=0, le=255)] = 18
    blur_size: Annotated[int, Field(ge=1, le=1001)] = 3
    min_area: NonNegative = 100
    max_aspect: Annotated[float, Field(gt=0)] = 10.0
    # Share of its width and height by which a box explains what moves beside it; 0: as published.
    box_reach: Annotated[float, Field(ge=0, le=2)] = 0.0

    @model_validator(mode="after")
    def _odd_blur(self) -> MovingRegionConfig:
        if self.blur_size % 2 == 0:
            raise ValueError("blur_size must be odd")
        return self


class BoxConfig(Block):
    """Foreground boxes; those of backend ``file`` are taken as they are, without thresholds."""

    backend: Literal["motion", "yolox", "torchvision", "file", "mmdet"] = "motion"
    weights: str = ""  # model file (yolox: .onnx; torchvision: .pth or empty for COCO weights)
    model: str = ""  # torchvision: model name; mmdet: config path; empty: the backend's default
    training_file: str = ""  # backend file: boxes of the training videos
    testing_file: str = ""
    score_threshold: Fraction = 0.5
    min_area: NonNegative = 100  # pixels
    cover_threshold: Fraction = 0.6
    # motion: a silhouette taller than this many typical ones is taken apart; 0: none is
    tallest: NonNegative = 0.0
    tiles: Positive = 1  # yolox: tiles along the longer side (enlarged, overlapping)
    batch_size: Positive = 8
    moving_regions: MovingRegionConfig = MovingRegionConfig()


class FlowConfig(Block):
    """Optical flow. Vectors stay in pixels of the (enlarged) size the flow is computed at."""

    backend: Literal["dis", "raft", "flownet2", "file"] = "dis"
    model: Literal["raft_small", "raft_large"] = "raft_small"  # raft
    weights: str = ""  # raft, flownet2
    width: Count = 0  # 0: the frame's own size
    height: Count = 0
    preset: Literal["ultrafast", "fast", "medium"] = "medium"  # dis
    patch_size: Count = 0  # dis; 0: the preset's
    patch_stride: Count = 0
    refinement_iterations: Annotated[int, Field(ge=-1, le=10_000)] = -1  # -1: the preset's
    finest_scale: Annotated[int, Field(ge=-1, le=10_000)] = -1
    batch_size: Positive = 8
    precision: Literal["fp32", "bf16"] = "fp32"  # raft, flownet2


class PreProcessConfig(Block):
    """From videos to cubes."""

    boxes: BoxConfig = BoxConfig()
    flow: FlowConfig = FlowConfig()
    ignore_zones: list[Zone] = []  # polygons: no box whose foot point is in one
    watch_zones: list[Zone] = []  # no box whose foot point is in none; empty: the whole frame
    device: Device = "auto"


class MemAEConfig(Block):
    """ML-MemAE-SC (HF2-VAD §3.1)."""

    feature_root: Width = 32
    num_slots: Annotated[int, Field(ge=1, le=10_000_000)] = 2000
    shrink_threshold: NonNegative = 0.0005
    mem_usage: Annotated[list[bool], Field(min_length=4, max_length=4)] = [False, True, True, True]
    skip_ops: Skips = ["none", "concat", "concat"]

    @model_validator(mode="after")
    def _no_memory_at_full_size(self) -> MemAEConfig:
        if self.mem_usage[0]:
            raise ValueError("mem_usage must begin with false: full size has no memory")
        return self


class VUnetConfig(Block):
    """CVAE frame predictor (HF2-VAD §3.2)."""

    nf_max: Annotated[int, Field(ge=2)] = 128
    nf_start: Width = 64
    dropout: Fraction = 0.1
    final_act: bool = False

    @model_validator(mode="after")
    def _twice(self) -> VUnetConfig:
        if self.nf_max != 2 * self.nf_start:
            raise ValueError(f"nf_max must be 2 * nf_start = {2 * self.nf_start}")
        return self


class ModelConfig(Block):
    """The two networks of HF2-VAD."""

    memae: MemAEConfig = MemAEConfig()
    vunet: VUnetConfig = VUnetConfig()


class TrainingConfig(Block):
    """What the training loop needs, whatever is trained."""

    num_epochs: Positive = 80
    batch_size: Positive = 128
    lr: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: NonNegative = 0.0
    lr_milestones: list[Positive] = [50]
    lr_gamma: Annotated[float, Field(gt=0)] = 0.8
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0  # 0: off, as published
    save_every_steps: Count = 0  # 0: at the end of each epoch only
    keep_every: Count = 0  # epochs; kept ones serve --select best-on-test


class StageConfig(TrainingConfig):
    """What every stage of HF2-VAD has."""

    adam_eps: Annotated[float, Field(gt=0)] = 1e-7


class MemAEStageConfig(StageConfig):
    """Stage 1: flow reconstruction."""

    batch_size: Positive = 256
    lam_recon: NonNegative = 1.0
    lam_sparse: NonNegative = 2e-4


class FrameStageConfig(StageConfig):
    """What the stages that train the frame predictor have."""

    init_from: str = ""  # checkpoint of the stage before; empty: this run's
    lr_milestones: list[Positive] = [50, 100, 150]
    lam_kl: NonNegative = 1.0
    lam_frame: NonNegative = 1.0
    lam_grad: NonNegative = 1.0
    intensity_loss_norm: Literal[1, 2] = 2
    alpha: Annotated[float, Field(gt=0)] = 1.0


class CVAEStageConfig(FrameStageConfig):
    """Stage 2: frame prediction with the memory autoencoder frozen."""

    keep_flow_recon: bool = True  # 16 kB a cube on disk while it trains


class FinetuneStageConfig(FrameStageConfig):
    """Stage 3: both networks together."""

    lr: Annotated[float, Field(gt=0)] = 8e-5
    lam_recon: NonNegative = 1.0
    lam_sparse: NonNegative = 2e-4


class HF2VADConfig(SystemConfig):
    """One file: data, pre-processing, model, a block a stage, evaluation."""

    system: Literal["hf2vad"] = "hf2vad"
    pre_process: PreProcessConfig = PreProcessConfig()
    model: ModelConfig = ModelConfig()
    ml_memae_sc: MemAEStageConfig = MemAEStageConfig()
    cvae: CVAEStageConfig = CVAEStageConfig()
    finetune: FinetuneStageConfig = FinetuneStageConfig()
    density: DensityConfig = DensityConfig()
    eval: EvalConfig = EvalConfig()
    alarms: AlarmConfig = AlarmConfig()
