"""The FRD-UVAD configuration: every key, its type, its published default (UCF-Crime)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from utils.config.alarms import AlarmConfig
from utils.config.hf2vad import Block, DataConfig, SystemConfig, TrainingConfig
from utils.config.kinds import Device, Fraction, NonNegative, Positive

Rate = Annotated[float, Field(gt=0)]
Probability = Annotated[float, Field(ge=0, lt=1)]


class FeatureDataConfig(DataConfig):
    """Which features: folders of ``VIDEO.npy``, or one array with its ranges, for each split."""

    training_features: str = ""  # empty: FOLDER/features/training
    training_ranges: str = ""  # one array: snippet ranges of its videos
    training_list: str = ""  # a circulating list: names the videos in their order
    testing_features: str = ""  # empty: FOLDER/features/testing
    testing_ranges: str = ""  # empty: from the lengths of the labels
    testing_list: str = ""  # also the order of labels in a row
    testing_labels: str = ""  # empty: FOLDER/labels.npz where it is; none: no labels
    crops: list[Annotated[int, Field(ge=0)]] = Field(
        default=[]
    )  # which stored crops to use; none named: all
    axes: Literal["auto", "snippets_first", "crops_first"] = "auto"  # of arrays with three
    equal_lengths: bool = False  # all videos really are of one length, features no segments
    frames_per_snippet: Positive = 16
    pool_mb: Positive = 256  # memory of a shuffling pool; two are held
    block: Positive = 16  # neighbouring snippets read together

    def features(self, split: str) -> Path:
        """Where the features of ``training`` or ``testing`` lie."""
        return Path(getattr(self, f"{split}_features") or self.folder / "features" / split)

    @property
    def label_file(self) -> Path | None:
        """The test videos' labels; ``None`` where there are none."""
        if self.testing_labels:
            return None if self.testing_labels == "none" else Path(self.testing_labels)
        default = self.folder / "labels.npz"
        return default if default.exists() else None


class FeatureConfig(Block):
    """From videos to snippet features."""

    backend: Literal[
        "hof", "efficientnet_lite0", "i3d_r50", "r3d_18", "mc3_18", "r2plus1d_18", "s3d",
        "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b",
    ] = "hof"  # fmt: skip
    # File, or a name of torchvision's such as KINETICS400_V1; hof, efficientnet_lite0 need none
    weights: str = ""
    # 1: centre; 10: and the corners, all five mirrored; 9 (efficientnet_lite0 only): 3x3 patches
    crops: Literal[1, 9, 10] = 10
    batch_size: Positive = 8  # snippets of one crop a pass
    device: Device = "auto"

    @model_validator(mode="after")
    def _patches_of_pictures(self) -> FeatureConfig:
        if self.crops == 9 and self.backend != "efficientnet_lite0":
            raise ValueError("crops 9 (patches) need backend efficientnet_lite0; set 1 or 10")
        return self


class PseudoLabelConfig(Block):
    """C2FPL's coarse and fine pseudo labels (arXiv 2310.17650)."""

    file: str = ""  # empty: FOLDER/pseudo_labels.npz
    bag_ratio: Rate = 1.0  # abnormal videos to normal ones, at which the coarse stage stops
    moved_share: Annotated[float, Field(gt=0, lt=1)] = 0.03  # of the normal bag, a round
    window_share: Annotated[float, Field(gt=0, lt=1)] = 0.2  # of a video's snippets
    centred: bool = True  # distances to the mean feature; false: norms, as published
    tail: Literal["upper", "both"] = "upper"  # of the videos; both: as published
    rule: Literal[
        "lowest_log_survival", "log_p_differences", "p_differences", "lowest_log_p"
    ] = "lowest_log_survival"  # fmt: skip


class FRDPreProcessConfig(Block):
    """What happens before training."""

    features: FeatureConfig = FeatureConfig()
    pseudo_labels: PseudoLabelConfig = PseudoLabelConfig()


class FRDModelConfig(Block):
    """The network; argument names of ``models.frd.frd.FRD``."""

    feature_size: Annotated[int, Field(ge=256, le=65_536, multiple_of=256)] = 2048
    num_blocks: Literal[0, 1, 2, 4, 6, 8] = 8  # 0: plain autoencoder
    disruption: Probability = 0.5
    dropout: Probability = 0.7  # of the scorer
    # What features are divided by. rms: the training features' root mean square; none: as published
    feature_scale: Literal["rms", "none"] = "rms"


class BankConfig(Block):
    """Latent anomaly memory bank (published flags lab, lab_type, beta, delta)."""

    enabled: bool = False
    kind: Literal["wlab", "slab"] = "wlab"
    beta: Fraction = 0.1  # most items held, as a share of batch_size
    delta: float = 0.5  # deviations above the mean score


class AuxiliaryConfig(Block):
    """What confirms pseudo labels: nothing, scores from a file, or C2FPL's scorer."""

    kind: Literal["none", "scores", "c2fpl"] = "none"
    file: str = ""  # scores: .npz or .npy; c2fpl: a checkpoint, empty: this run's
    # From which a score confirms. None: of C2FPL's scorer, whose loss is balanced, 0.5; of scores
    # in a file a deviation above their mean, as for the errors. 0.5 as published.
    threshold: Fraction | None = None

    @model_validator(mode="after")
    def _file_of_scores(self) -> AuxiliaryConfig:
        if self.kind == "scores" and not self.file:
            raise ValueError("kind 'scores' needs file: the scores or labels of an earlier run")
        return self


class C2FPLStageConfig(TrainingConfig):
    """C2FPL's scorer, trained on the pseudo labels with SGD."""

    num_epochs: Positive = 30
    batch_size: Positive = 128  # snippets
    lr: Rate = 0.01
    momentum: Probability = 0.9
    weight_decay: NonNegative = 5e-4
    lr_milestones: list[Positive] = Field(default=[15, 25])
    lr_gamma: Rate = 0.1
    dropout: Probability = 0.6
    centred: bool = True  # features less their training mean; false: as published
    balanced: bool = True  # loss: both labels weigh a half; false: as published


class FRDStageConfig(TrainingConfig):
    """FRD-UVAD's training step (AdamW)."""

    num_epochs: Positive = 5
    batch_size: Positive = 320  # items of cross_clip snippets
    lr: Rate = 1e-3
    betas: tuple[Probability, Probability] = (0.9, 0.95)
    weight_decay: NonNegative = 0.01
    lr_milestones: list[Positive] = Field(default=[])
    cross_clip: Literal[1, 2, 4] = 4
    lam_recon: NonNegative = 1.0
    lam_bank: NonNegative = 1.0
    lam_score: NonNegative = 1.0
    bank: BankConfig = BankConfig()
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()


class FRDEvalConfig(Block):
    """Scores and what is made of them."""

    # Of an alarm. None: a deviation above the mean score of the unlabelled training snippets.
    threshold: Fraction | None = None
    live_stride: Positive | None = None  # frames from score to score of a camera; None: a snippet's
    batch_size: Positive = 512  # snippets


class FRDConfig(SystemConfig):
    """One file: data, pre-processing, model, a block a stage, evaluation."""

    system: Literal["frd"] = "frd"
    data: FeatureDataConfig
    pre_process: FRDPreProcessConfig = FRDPreProcessConfig()
    model: FRDModelConfig = FRDModelConfig()
    c2fpl: C2FPLStageConfig = C2FPLStageConfig()
    frd: FRDStageConfig = FRDStageConfig()
    eval: FRDEvalConfig = FRDEvalConfig()
    alarms: AlarmConfig = AlarmConfig()

    @property
    def pseudo_label_file(self) -> Path:
        """Where C2FPL's pseudo labels lie."""
        return Path(self.pre_process.pseudo_labels.file or self.data.folder / "pseudo_labels.npz")
