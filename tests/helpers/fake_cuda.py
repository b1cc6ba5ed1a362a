"""Tensors on a GPU that is not there: shapes, types and devices are computed, values are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda", 0)
# Torch computes gradients of fake CUDA tensors in a GPU's thread, which is not there; of tensors
# without values on "meta" it computes them anywhere.
META = torch.device("meta")


def _moved(self: nn.Module, *where: Any, **_: Any) -> nn.Module:
    """``nn.Module.to`` for fake parameters, which torch refuses to exchange in place."""
    for module in self.modules():
        for name, parameter in module.named_parameters(recurse=False):
            moved = nn.Parameter(parameter.detach().to(*where), parameter.requires_grad)
            module.register_parameter(name, moved)
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = buffer.to(*where)
    return self


class _NoReading(TorchDispatchMode):
    """Refuses what makes the host wait for a GPU: any copy of a GPU's tensor to the CPU."""

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        result = operation(*arguments, **(named or {}))
        source = arguments[0] if arguments else None
        if isinstance(result, torch.Tensor) and isinstance(source, torch.Tensor):
            reads = source.device.type == "cuda" and result.device.type == "cpu"
            assert not reads, f"{operation} reads from the GPU and waits for it"
        return result


@contextmanager
def valueless(
    device: torch.device, monkeypatch: pytest.MonkeyPatch, may_read: bool = False
) -> Iterator[None]:
    """Inside, ``CUDA`` or ``META`` take tensors, which have no values.

    An operation on tensors of two devices raises, and so does what needs a value on the host:
    ``.item()``, boolean indexing and, unless ``may_read``, copies to the CPU.
    """
    if torch.__version__ < (2, 10):
        pytest.skip("PyTorch 2.9 makes no CUDA tensor without a driver, nor weight norm's gradient")
    if device == META:
        monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it is not for meta
        yield
        return
    monkeypatch.setattr(nn.Module, "to", _moved)
    # Else torch switches autocast off.
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        if may_read:
            yield
        else:
            with _NoReading():
                yield
