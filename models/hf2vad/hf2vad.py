"""HF2-VAD: flow reconstruction, and frame prediction guided by the reconstructed flows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from models.hf2vad.ml_memae_sc import MLMemAESC
from models.hf2vad.vunet import HISTORY_CHANNELS, VUnet


class HF2VAD(nn.Module):
    """The whole model (arXiv 2108.06852).

    Args:
        memae: reconstructs each flow.
        vunet: predicts the last frame from the first four and the reconstructed flows.
    """

    def __init__(self, memae: MLMemAESC, vunet: VUnet):
        super().__init__()
        self.memae = memae
        self.vunet = vunet
        self._memae_is_frozen = False

    def freeze_memae(self) -> None:
        """Fix the flow autoencoder, in evaluation mode, while the predictor trains (stage 2)."""
        self._memae_is_frozen = True
        self.memae.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> HF2VAD:
        """As usual, but a frozen autoencoder stays in evaluation mode."""
        super().train(mode)
        if self._memae_is_frozen:
            self.memae.eval()
        return self

    def forward(
        self,
        frames: Tensor,
        flows: Tensor,
        flow_recon: Tensor | None = None,
        sample: bool | None = None,
        with_prior: bool | None = None,
    ) -> dict[str, Any]:
        """Reconstruct the flows and predict the frame.

        Args:
            frames: (B, 15, 32, 32), five BGR frames in [0, 1], the one to predict last.
            flows: (B, 8, 32, 32), four flows (u, v), pixels.
            flow_recon: the reconstruction of ``flows`` where it is known already; the
                autoencoder then does not run and ``attention`` is empty.
            sample, with_prior: see :meth:`models.hf2vad.vunet.VUnet.forward`.

        Returns:
            ``frame_pred``, ``frame_target`` (B, 3, 32, 32); ``flow_recon`` (B, 8, 32, 32);
            ``attention``, a list of (4B, num_slots), one a memory in use; ``q_means``
            and ``p_means`` of the latents.
        """
        attention: list[Tensor] = []
        if flow_recon is None:
            reconstructed = self.memae(flows)
            flow_recon, attention = reconstructed["flow_recon"], reconstructed["attention"]
        history, frame_target = frames[:, :HISTORY_CHANNELS], frames[:, HISTORY_CHANNELS:]
        prediction = self.vunet(history, flow_recon, sample, with_prior)
        return {
            **prediction,
            "frame_target": frame_target,
            "flow_recon": flow_recon,
            "attention": attention,
        }


def build_hf2vad(memae: Mapping[str, Any], vunet: Mapping[str, Any]) -> HF2VAD:
    """The whole model from the arguments of its two networks."""
    return HF2VAD(MLMemAESC(**memae), VUnet(**vunet))
