"""The conditional VAE of HF2-VAD (§3.2): a VUNet that predicts a frame from frames and flows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.hf2vad.vunet_parts import Bottleneck, Decoder, Encoder, Posterior
from models.layers.blocks import NormConv2d, plain_conv
from models.layers.folding import folded_together

HISTORY_CHANNELS = 4 * 3  # four BGR frames
FLOWS_CHANNELS = 4 * 2  # four flows (u, v)


class VUnet(nn.Module):
    """Predicts the next frame patch; latents carry what frames and flows agree on.

    Args:
        nf_max: channels at 16x16 and below; twice ``nf_start``.
        nf_start: channels at 32x32.
        dropout: probability in every residual block.
        final_act: True uses plain convolutions in place of weight-normalised ones (the name is
            the published configurations').

    Raises:
        ValueError: ``nf_max`` is not twice ``nf_start``.
    """

    def __init__(
        self,
        nf_max: int = 128,
        nf_start: int = 64,
        dropout: float = 0.1,
        final_act: bool = False,
    ):
        super().__init__()
        if nf_max != 2 * nf_start:
            raise ValueError(f"nf_max is {nf_max}: it must be 2 * nf_start = {2 * nf_start}")
        conv = plain_conv if final_act else NormConv2d
        both_channels = HISTORY_CHANNELS + FLOWS_CHANNELS
        self.both_encoder = Encoder(both_channels, nf_start, nf_max, conv, dropout)
        self.flow_encoder = Encoder(FLOWS_CHANNELS, nf_start, nf_max, conv, dropout)
        self.posterior = Posterior(nf_max, conv, dropout)
        self.bottleneck = Bottleneck(nf_max, conv, dropout)
        self.decoder = Decoder(nf_start, nf_max, 3, conv, dropout)

    def forward(
        self,
        history: Tensor,
        flows: Tensor,
        sample: bool | None = None,
        with_prior: bool | None = None,
    ) -> dict[str, Tensor | list[Tensor]]:
        """Predict the frame that follows.

        Args:
            history: (B, 12, 32, 32), four BGR frames in [0, 1].
            flows: (B, 8, 32, 32), four reconstructed flows, pixels.
            sample: draw latents (the default in training) or take their means (in evaluation).
            with_prior: also compute the prior means, which only the KL term needs (the default
                in training).

        Returns:
            ``frame_pred`` (B, 3, 32, 32) float32 in [0, 1]; ``q_means`` and ``p_means``, lists of
            (B, nf_max, 4, 4) and (B, nf_max, 8, 8) (``p_means`` is empty without the prior).
        """
        sample = self.training if sample is None else sample
        with_prior = self.training if with_prior is None else with_prior
        with folded_together(self):
            both = self.both_encoder(torch.cat([history, flows], dim=1))
            flow = self.flow_encoder(flows)
            q_means, latents = self.posterior(both[2], both[3], sample)
            h, p_means = self.bottleneck(flow[2], flow[3], latents, with_prior)
            frame_pred = self.decoder(h, both[0], both[1])
        return {"frame_pred": frame_pred, "q_means": q_means, "p_means": p_means}
