"""The whole plain model, its losses, steps of the three stages, and scores (HF2-VAD §3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.plain.autoencoder import Autoencoder
from benchmarks.plain.vunet import FramePredictor

LEARNING_RATES = {"stage1": 1e-4, "stage2": 1e-4, "stage3": 8e-5}


class PlainModel(nn.Module):
    """Flow autoencoder and frame predictor; arguments as ``build_hf2vad``'s."""

    def __init__(self, memae: Mapping[str, Any], vunet: Mapping[str, Any]) -> None:
        super().__init__()
        self.memAE = Autoencoder(**memae)
        sizes = {name: vunet[name] for name in ("nf_max", "nf_start", "dropout")}
        self.vunet = FramePredictor(**sizes)

    def forward(self, frames: Tensor, flows: Tensor) -> dict[str, Any]:
        """(B, 15, 32, 32) and (B, 8, 32, 32): the autoencoder sees one flow after another."""
        reconstructed, attention = zip(
            *(self.memAE(flow) for flow in flows.split(2, dim=1)), strict=True
        )
        flow_recon = torch.cat(reconstructed, dim=1)
        frame_pred, q_means, p_means = self.vunet(frames[:, :12], flow_recon, self.training)
        return {
            "frame_pred": frame_pred,
            "frame_target": frames[:, 12:],
            "flow_recon": flow_recon,
            "attention": [torch.cat(each) for each in zip(*attention, strict=True)],
            "q_means": q_means,
            "p_means": p_means,
        }


def stage1_loss(output: tuple[Tensor, list[Tensor]], flow: Tensor) -> Tensor:
    """Squared error and entropy of the attention."""
    recon, attention = output
    return F.mse_loss(recon, flow) + 2e-4 * sum(map(entropy, attention))


def stage2_loss(output: Mapping[str, Any]) -> Tensor:
    """KL, squared error and gradient difference, all weighted 1."""
    predicted, target = output["frame_pred"], output["frame_target"]
    kl = sum(
        0.5 * (q - p).square().sum(dim=(1, 2, 3)).mean()
        for q, p in zip(output["q_means"], output["p_means"], strict=True)
    )
    return kl + (predicted - target).abs().pow(2).mean() + gradient_loss(predicted, target)


def stage3_loss(output: Mapping[str, Any], flows: Tensor) -> Tensor:
    """Stage 2's, and stage 1's over all flows."""
    sparsity = sum(map(entropy, output["attention"]))
    return stage2_loss(output) + F.mse_loss(output["flow_recon"], flows) + 2e-4 * sparsity


def entropy(attention: Tensor) -> Tensor:
    """Mean entropy of the rows of (B, slots)."""
    return (-attention * torch.log(attention + 1e-12)).sum(dim=1).mean()


def gradient_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Absolute difference of the gradients, by convolution with [-1, 1]."""
    channels = predicted.shape[1]
    filter_x = torch.tensor([-1.0, 1.0], device=predicted.device).view(1, 1, 1, 2)
    filter_x = filter_x.repeat(1, channels, 1, 1)
    filter_y = filter_x.transpose(2, 3)

    def gradients(image: Tensor) -> tuple[Tensor, Tensor]:
        dx = F.conv2d(F.pad(image, (1, 0)), filter_x)
        return dx, F.conv2d(F.pad(image, (0, 0, 1, 0)), filter_y)

    (dx, dy), (target_dx, target_dy) = gradients(predicted), gradients(target)
    return ((target_dx - dx).abs() + (target_dy - dy).abs()).mean()


class PlainTrainer:
    """One optimizer step after another of one stage.

    Args:
        model: on the device.
        stage: ``stage1``, ``stage2`` or ``stage3``.
    """

    def __init__(self, model: PlainModel, stage: str) -> None:
        self.model, self.stage = model.train(), stage
        part = {"stage1": model.memAE, "stage2": model.vunet, "stage3": model}[stage]
        model.requires_grad_(False)
        part.requires_grad_(True)
        if stage == "stage2":
            model.memAE.eval()
        self.optimizer = torch.optim.Adam(part.parameters(), lr=LEARNING_RATES[stage], eps=1e-7)

    def step(self, frames: Tensor, flows: Tensor) -> Tensor:
        """Returns the loss."""
        loss = self.loss(frames, flows)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def loss(self, frames: Tensor, flows: Tensor) -> Tensor:
        """The stage's loss on a batch."""
        if self.stage == "stage1":
            return stage1_loss(self.model.memAE(flows[:, -2:]), flows[:, -2:])
        output = self.model(frames, flows)
        return stage2_loss(output) if self.stage == "stage2" else stage3_loss(output, flows)


@torch.no_grad()
def plain_errors(model: PlainModel, frames: Tensor, flows: Tensor) -> dict[str, Tensor]:
    """Errors of cubes, each (B,): ``flow_error`` and ``frame_error``."""
    model.eval()
    output = model(frames, flows)
    return {
        "flow_error": (output["flow_recon"] - flows).square().sum(dim=(1, 2, 3)),
        "frame_error": (output["frame_pred"] - frames[:, 12:]).square().sum(dim=(1, 2, 3)),
    }


@torch.no_grad()
def plain_flow_errors(model: PlainModel, flows: Tensor) -> Tensor:
    """Stage 1's errors of cubes (B,), on the last flow."""
    model.eval()
    last = flows[:, -2:]
    return (model.memAE(last)[0] - last).square().sum(dim=(1, 2, 3))
