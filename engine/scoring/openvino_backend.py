"""Networks compiled for the CPU by OpenVINO, in float32 or bfloat16."""

from __future__ import annotations

import warnings
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datasets.cubes.loader import to_network_inputs
from models.hf2vad.errors import errors_of_output, errors_of_reconstruction
from models.hf2vad.fuse import fuse_for_inference
from models.hf2vad.ml_memae_sc import FLOW_CHANNELS, MLMemAESC
from utils.errors import UserError

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
# OpenVINO prepares its kernels once for each batch size (about 30 ms), so batches are padded to
# one of these; a larger one is scored in parts of the largest.
BATCH_SIZES = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


class OpenVINOScorer:
    """Scores cubes on the CPU; a ``CubeScorer``.

    The network's outputs come from OpenVINO; their squared differences are summed by PyTorch in
    float32, whatever the precision of the network.

    Args:
        model: ``MLMemAESC`` or ``HF2VAD``.
        precision: ``fp32`` or ``bf16``.

    Raises:
        UserError: OpenVINO does not import.
    """

    def __init__(self, model: nn.Module, precision: str = "fp32") -> None:
        self._flows_only = isinstance(model, MLMemAESC)
        self._network = CompiledNetwork(model, precision)

    @torch.inference_mode()
    def __call__(self, appearance: np.ndarray, motion: np.ndarray) -> dict[str, Tensor]:
        """See ``CubeScorer``."""
        frames, flows = to_network_inputs(torch.as_tensor(appearance), torch.as_tensor(motion))
        if self._flows_only:
            last_flow = flows[:, -FLOW_CHANNELS:]
            return errors_of_reconstruction(self._network(last_flow)[0], last_flow)
        flow_recon, frame_pred = self._network(frames, flows)
        frame_target = frames[:, -frame_pred.shape[1] :]
        return errors_of_output(
            {"flow_recon": flow_recon, "frame_pred": frame_pred, "frame_target": frame_target},
            flows,
        )


class CompiledModule:
    """A module compiled for the CPU, for batches of any size.

    Args:
        module: returns a tuple of tensors; its weights are copied.
        examples: its inputs, (2, ...) each.
        precision: ``fp32`` or ``bf16``.

    Raises:
        UserError: OpenVINO does not import.
    """

    def __init__(self, module: nn.Module, examples: list[Tensor], precision: str = "fp32") -> None:
        self._compiled, self._weights = _compile(module, examples, precision)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Inputs (B, C, H, W) float32 on the CPU to the outputs, each (B, ...) float32."""
        arrays = [each.contiguous().numpy() for each in inputs]
        largest = BATCH_SIZES[-1]
        parts = [
            self._run([each[start : start + largest] for each in arrays])
            for start in range(0, max(len(arrays[0]), 1), largest)
        ]
        return [torch.from_numpy(np.concatenate(each)) for each in zip(*parts, strict=True)]

    def _run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        count = len(inputs[0])
        size = next(size for size in BATCH_SIZES if size >= count)
        missing = ((0, size - count), (0, 0), (0, 0), (0, 0))
        outputs = self._compiled([np.pad(each, missing) for each in inputs]).values()
        return [each[:count].copy() for each in outputs]  # the next call overwrites them


class CompiledNetwork(CompiledModule):
    """An ``MLMemAESC`` (flows to ``flow_recon``) or ``HF2VAD`` (frames and flows to
    ``flow_recon`` and ``frame_pred``) compiled for the CPU.

    Args:
        model: its weights are copied.
        precision: ``fp32`` or ``bf16``.
        num_flows: flows that an ``MLMemAESC`` is given at once.
    """

    def __init__(self, model: nn.Module, precision: str = "fp32", num_flows: int = 1) -> None:
        examples = [torch.zeros(2, 8, 32, 32)]
        if isinstance(model, MLMemAESC):
            examples = [torch.zeros(2, num_flows * FLOW_CHANNELS, 32, 32)]
        else:
            examples.insert(0, torch.zeros(2, 15, 32, 32))
        super().__init__(_TupleOutput(fuse_for_inference(model)), examples, precision)


class _TupleOutput(nn.Module):
    """What is traced: a network whose outputs are a tuple in a fixed order."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        output = self.model(*inputs)
        return tuple(output[name] for name in ("flow_recon", "frame_pred") if name in output)


def _compile(network: nn.Module, examples: list[Tensor], precision: str) -> tuple[Any, Any]:
    """The compiled network, and what owns its weights: they are shared, and must outlive it."""
    try:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    except ImportError as error:
        raise UserError(
            f"scoring backend openvino: {error}; install it (pip install openvino), or score "
            "with PyTorch (infer.py --backend torch; --set eval.backend=torch)"
        ) from None
    # Training in bfloat16 scores in between: its autocast must not become part of the network.
    with warnings.catch_warnings(), torch.no_grad(), torch.autocast("cpu", enabled=False):
        warnings.simplefilter("ignore")  # tracing warns of every branch that it takes for granted
        traced = torch.jit.trace(network, tuple(examples), check_trace=False)
        # Less than convert_model does, which would check the layout of every input for seconds.
        front_end = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(traced)
        model = front_end.convert(front_end.load(decoder))
    # With known sizes OpenVINO would mistake K flows times two channels for shuffled channels, and
    # fail on the batch that it does not know.
    model.reshape({port: [-1, -1, -1, -1] for port in model.inputs})
    compiled = _core(openvino).compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
        },
    )
    return compiled, (decoder, traced, network)


@cache
def _core(openvino: ModuleType) -> Any:
    """The one OpenVINO core of this process.

    Each core's CPU plugin sets the signal stack of the thread that loads it and puts the previous
    one back when it is destroyed. Where that one was another core's, destroyed before it, the next
    signal (Ctrl-C) finds its stack unmapped, and the process ends with a segmentation fault.
    """
    return openvino.Core()
