"""Any video network as a snippet feature extractor: resized frames, crops, one pass a crop."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import nn

from pre_process.features.crops import crop_windows
from utils.errors import UserError


class NetworkBackbone:
    """A video network without its classifier, applied to crops of resized frames.

    Args:
        network: maps (n, 3, T, h, w) normalised RGB to (n, D).
        resize: (h, w) of the resized frame, or one number: its shorter side.
        crop: side of the square crops.
        mean, deviation: of RGB values in [0, 1].
        crops: 1, 9 or 10.
        frames: of a snippet.
        most_frames: T, evenly spaced ones of them; ``None``: all.

    Raises:
        UserError: the network cannot take snippets of that many frames.
    """

    def __init__(
        self,
        network: nn.Module,
        resize: Sequence[int],
        crop: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        crops: int,
        frames: int,
        device: torch.device,
        most_frames: int | None = None,
    ) -> None:
        count = min(frames, most_frames or frames)
        self._places = [round(place) for place in np.linspace(0, frames - 1, count)]
        self.network = network.eval().to(device)
        self.resize, self.crop, self.crops, self.device = tuple(resize), crop, crops, device
        self.mean = torch.tensor(mean, device=device).view(3, 1, 1, 1)
        self.deviation = torch.tensor(deviation, device=device).view(3, 1, 1, 1)
        try:
            self.feature_size = self._features(
                torch.zeros(1, count, crop, crop, 3, dtype=torch.uint8, device=device)
            ).shape[1]
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"data.frames_per_snippet: this backbone cannot take snippets of {frames} frames "
                f"({str(error).splitlines()[0]}); set 16"
            ) from None

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Resize a BGR frame and turn it to RGB."""
        height, width = self.resize if len(self.resize) == 2 else self._keep_aspect(frame)
        shrinks = height * width < frame.shape[0] * frame.shape[1]
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(frame, (width, height), interpolation=interpolation)
        return cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)

    def __call__(self, snippets: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        """See ``pre_process.features.build.Backbone``."""
        stacked = np.stack([[frames[place] for place in self._places] for frames in snippets])
        clips = torch.from_numpy(stacked).to(self.device)  # (n, T, h, w, 3)
        height, width = clips.shape[2:4]
        features = []
        for window in crop_windows(height, width, self.crop, self.crop, self.crops):
            top, left = window.top, window.left
            crop = clips[:, :, top : top + self.crop, left : left + self.crop]
            features.append(self._features(crop.flip(3) if window.mirrored else crop))
        return torch.stack(features, dim=1).cpu().numpy()

    @torch.inference_mode()
    def _features(self, clips: torch.Tensor) -> torch.Tensor:
        """(n, T, h, w, 3) uint8 RGB -> (n, D) float32."""
        images = clips.permute(0, 4, 1, 2, 3).float() / 255
        return self.network((images - self.mean) / self.deviation).flatten(1).float()

    def _keep_aspect(self, frame: np.ndarray) -> tuple[int, int]:
        height, width = frame.shape[:2]
        scale = self.resize[0] / min(height, width)
        return max(self.crop, round(height * scale)), max(self.crop, round(width * scale))
