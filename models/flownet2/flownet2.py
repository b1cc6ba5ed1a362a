"""FlowNet2 (Ilg et al., arXiv 1612.01925), the optical flow of the published HF2-VAD inputs.

162,518,834 parameters in 220 tensors. Keys as published: a published state dict loads as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.flownet2.blocks import (
    SLOPE,
    Pyramid,
    channel_norm,
    conv,
    correlation,
    deconv,
    inter_conv,
    predict_flow,
    upsample_flow,
    warp,
)

SIZE_MULTIPLE = 64  # of width and height
FLOW_SCALE = 20.0  # the sub-networks speak in flow / 20


class FlowNetC(Pyramid):
    """Two frames, compared by correlation."""

    def __init__(self) -> None:
        super().__init__(inter_convs=False, upsample_bias=True)
        self.conv1 = conv(3, 64, kernel=7, stride=2)
        self.conv2 = conv(64, 128, kernel=5, stride=2)
        self.conv3 = conv(128, 256, kernel=5, stride=2)
        self.conv_redir = conv(256, 32, kernel=1)
        self.conv3_1 = conv(473, 256)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(B, 3, H, W) twice -> flow (B, 2, H/4, W/4) in units of 20 pixels."""
        conv2 = self.conv2(self.conv1(first))
        conv3 = self.conv3(conv2)
        other = self.conv3(self.conv2(self.conv1(second)))
        matches = F.leaky_relu_(correlation(conv3, other), SLOPE)
        joined = torch.cat([self.conv_redir(conv3), matches.to(conv3.dtype)], dim=1)
        return self.refine(conv2, self.conv3_1(joined))


class FlowNetS(Pyramid):
    """Frames, warped frame, flow so far and brightness error, stacked into 12 channels."""

    def __init__(self) -> None:
        super().__init__(inter_convs=False, upsample_bias=False)
        self.conv1 = conv(12, 64, kernel=7, stride=2)
        self.conv2 = conv(64, 128, kernel=5, stride=2)
        self.conv3 = conv(128, 256, kernel=5, stride=2)
        self.conv3_1 = conv(256, 256)

    def forward(self, stacked: Tensor) -> Tensor:
        """(B, 12, H, W) -> flow (B, 2, H/4, W/4) in units of 20 pixels."""
        conv2 = self.conv2(self.conv1(stacked))
        return self.refine(conv2, self.conv3_1(self.conv3(conv2)))


class FlowNetSD(Pyramid):
    """Small displacements: small kernels and a full-size first layer."""

    def __init__(self) -> None:
        super().__init__(inter_convs=True, upsample_bias=True)
        self.conv0 = conv(6, 64)
        self.conv1, self.conv1_1 = conv(64, 64, stride=2), conv(64, 128)
        self.conv2, self.conv2_1 = conv(128, 128, stride=2), conv(128, 128)
        self.conv3, self.conv3_1 = conv(128, 256, stride=2), conv(256, 256)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, 6, H, W) -> flow (B, 2, H/4, W/4) in units of 1/20 pixel."""
        conv1 = self.conv1_1(self.conv1(self.conv0(frames)))
        conv2 = self.conv2_1(self.conv2(conv1))
        return self.refine(conv2, self.conv3_1(self.conv3(conv2)))


class FlowNetFusion(nn.Module):
    """Joins the large- and the small-displacement flow at full size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = conv(11, 64)
        self.conv1, self.conv1_1 = conv(64, 64, stride=2), conv(64, 128)
        self.conv2, self.conv2_1 = conv(128, 128, stride=2), conv(128, 128)
        self.predict_flow2 = predict_flow(128)
        self.deconv1, self.upsampled_flow2_to_1 = deconv(128, 32), upsample_flow()
        self.inter_conv1, self.predict_flow1 = inter_conv(162, 32), predict_flow(32)
        self.deconv0, self.upsampled_flow1_to_0 = deconv(162, 16), upsample_flow()
        self.inter_conv0, self.predict_flow0 = inter_conv(82, 16), predict_flow(16)

    def forward(self, stacked: Tensor) -> Tensor:
        """(B, 11, H, W) -> flow (B, 2, H, W) in pixels."""
        conv0 = self.conv0(stacked)
        conv1 = self.conv1_1(self.conv1(conv0))
        conv2 = self.conv2_1(self.conv2(conv1))
        larger_flow = self.upsampled_flow2_to_1(self.predict_flow2(conv2))
        joined1 = torch.cat([conv1, self.deconv1(conv2), larger_flow], dim=1)
        larger_flow = self.upsampled_flow1_to_0(self.predict_flow1(self.inter_conv1(joined1)))
        joined0 = torch.cat([conv0, self.deconv0(joined1), larger_flow], dim=1)
        del conv0, joined1  # the full-size tensors set the peak of memory
        return self.predict_flow0(self.inter_conv0(joined0))


class FlowNet2(nn.Module):
    """The stack: C, twice S on warped frames, SD beside them, fusion."""

    def __init__(self) -> None:
        super().__init__()
        self.flownetc = FlowNetC()
        self.flownets_1 = FlowNetS()
        self.flownets_2 = FlowNetS()
        self.flownets_d = FlowNetSD()
        self.flownetfusion = FlowNetFusion()

    def forward(self, frames: Tensor) -> Tensor:
        """Flow from the first to the second frame of each pair.

        Warping, norms and correlation stay in float32 under autocast.

        Args:
            frames: (B, 3, 2, H, W) float32 or uint8, BGR, 0..255; H, W multiples of 64.

        Returns:
            (B, 2, H, W) float32, (u, v) in pixels.

        Raises:
            ValueError: H or W is not a multiple of 64.
        """
        if frames.shape[-2] % SIZE_MULTIPLE or frames.shape[-1] % SIZE_MULTIPLE:
            raise ValueError(f"frame size {tuple(frames.shape[-2:])} is not a multiple of 64")
        first, second = normalise_pair(frames)
        flow = self.flownetc(first, second).float() * FLOW_SCALE
        flow = F.interpolate(flow, scale_factor=4, mode="bilinear", align_corners=False)
        flow = self.flownets_1(stack_inputs(first, second, flow)).float() * FLOW_SCALE
        flow = F.interpolate(flow, scale_factor=4, mode="bilinear", align_corners=False)
        flow = self.flownets_2(stack_inputs(first, second, flow)).float() * FLOW_SCALE
        large = F.interpolate(flow, scale_factor=4, mode="nearest")
        flow = self.flownets_d(torch.cat([first, second], dim=1)).float() / FLOW_SCALE
        small = F.interpolate(flow, scale_factor=4, mode="nearest")
        return self.flownetfusion(stack_flows(first, second, small, large)).float()


def normalise_pair(frames: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, 2, H, W) 0..255 -> two (B, 3, H, W): mean of the pair's channel off, then / 255."""
    values = frames.float()
    values = (values - values.mean(dim=(2, 3, 4), keepdim=True)) / 255.0
    return values[:, :, 0], values[:, :, 1]


def stack_inputs(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """(B, 12, H, W) for FlowNetS: frames, warped frame, scaled flow, brightness error."""
    warped = warp(second, flow)
    error = channel_norm(first - warped)
    return torch.cat([first, second, warped, flow / FLOW_SCALE, error], dim=1)


def stack_flows(first: Tensor, second: Tensor, small: Tensor, large: Tensor) -> Tensor:
    """(B, 11, H, W) for the fusion: frame, both flows, their norms and brightness errors."""
    norms = [channel_norm(small), channel_norm(large)]
    errors = [channel_norm(first - warp(second, flow)) for flow in (small, large)]
    return torch.cat([first, small, large, *norms, *errors], dim=1)


def build_flownet2(state: Mapping[str, Tensor]) -> FlowNet2:
    """Build the network around a state dict, without initialising or copying any weight.

    Args:
        state: the 220 published tensors; they become the parameters.

    Raises:
        RuntimeError: keys or shapes differ (``load_state_dict``'s message names them).
    """
    with torch.device("meta"):
        model = FlowNet2()
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)
