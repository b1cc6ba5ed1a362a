"""HF2-VAD: flow reconstruction, and frame prediction guided by the reconstructed flows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.ml_memae_sc import FLOW_CHANNELS, MLMemAESC
from models.vunet import HISTORY_CHANNELS, VUnet


class HF2VAD(nn.Module):
    """The whole model (arXiv 2108.06852).

    Args:
        memae: rebuilds each flow.
        vunet: predicts the last frame from the first four and the rebuilt flows.
    """

    def __init__(self, memae: MLMemAESC, vunet: VUnet):
        super().__init__()
        self.memae = memae
        self.vunet = vunet

    def forward(
        self,
        frames: Tensor,
        flows: Tensor,
        flow_recon: Tensor | None = None,
        sample: bool | None = None,
        with_prior: bool | None = None,
    ) -> dict[str, Any]:
        """Rebuild the flows and predict the frame.

        Args:
            frames: (B, 15, 32, 32), five BGR frames in [0, 1], the one to predict last.
            flows: (B, 8, 32, 32), four flows (u, v), pixels.
            flow_recon: the reconstruction of ``flows`` where it is known already; the
                autoencoder then does not run and ``attention`` is empty.
            sample, with_prior: see :meth:`models.vunet.VUnet.forward`.

        Returns:
            ``frame_pred``, ``frame_target`` (B, 3, 32, 32); ``flow_recon`` (B, 8, 32, 32);
            ``attention``, a list of (4B, num_slots), the four flows one after the other;
            ``q_means`` and ``p_means`` of the latents.
        """
        attention: list[Tensor] = []
        if flow_recon is None:
            flow_recon, attention = self.reconstruct_flows(flows)
        history, frame_target = frames[:, :HISTORY_CHANNELS], frames[:, HISTORY_CHANNELS:]
        prediction = self.vunet(history, flow_recon, sample, with_prior)
        return {
            **prediction,
            "frame_target": frame_target,
            "flow_recon": flow_recon,
            "attention": attention,
        }

    def reconstruct_flows(self, flows: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Rebuild the four flows of ``flows`` (B, 8, 32, 32), each by itself.

        Returns:
            The reconstruction (B, 8, 32, 32) and the attention over each memory, (4B, num_slots).
        """
        single_flows = flows.split(FLOW_CHANNELS, dim=1)  # four (B, 2, 32, 32)
        if self.memae.training:
            # BatchNorm takes its statistics from each flow alone, as published.
            outputs = [self.memae(flow) for flow in single_flows]
            levels = zip(*(output["attention"] for output in outputs), strict=True)
            attention = [torch.cat(level) for level in levels]
            return torch.cat([output["flow_recon"] for output in outputs], dim=1), attention
        output = self.memae(torch.cat(single_flows))  # one batch of 4B
        return torch.cat(output["flow_recon"].chunk(len(single_flows)), dim=1), output["attention"]
