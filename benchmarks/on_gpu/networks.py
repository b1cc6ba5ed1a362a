"""What ``benchmarks.gpu`` times and checks: networks, inputs and steps, of any size, anywhere.

Nothing here imports the configuration or a detector: a machine with a GPU may have little more than
torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plain.training import PlainModel, PlainTrainer
from datasets.cubes.loader import to_network_inputs
from engine.optimizer import adam
from engine.scoring.network import random_cubes
from losses.frd import AnomalyBank
from losses.frd_step import FRDStep
from losses.hf2vad import cvae_loss, finetune_loss, memae_loss
from models.frd.frd import FRD
from models.hf2vad.hf2vad import HF2VAD, build_hf2vad
from published.state_dict_keys import to_published
from utils.runtime import autocast, in_device_layout, use_tf32
from utils.transfer import pin

PRECISIONS = ("fp32", "tf32", "bf16")
# The numbers of cfgs/ped2.yaml, whose reading needs more than torch.
SETTINGS = SimpleNamespace(
    lr=1e-4, adam_eps=1e-7, weight_decay=0.0, lam_recon=1.0, lam_sparse=2e-4, lam_kl=1.0,
    lam_frame=1.0, lam_grad=1.0, intensity_loss_norm=2, alpha=1.0,
)  # fmt: skip


def precisions_of(device: torch.device) -> tuple[str, ...]:
    """What is worth measuring: a CPU's precisions are ``benchmarks.run``'s subject."""
    return PRECISIONS if device.type == "cuda" else PRECISIONS[:1]


@dataclass(frozen=True)
class Sizes:
    """How large everything is; the defaults are the published sizes."""

    feature_root: int = 32
    num_slots: int = 2000
    nf_start: int = 64
    batches: dict[str, int] = field(
        default_factory=lambda: {"stage1": 256, "stage2": 128, "stage3": 128}
    )
    checked: int = 8  # items of a correctness check
    scored: tuple[int, ...] = (128, 1024)
    resident: int = 29_970  # cubes of Ped2
    product: int = 8192  # side of the matrices
    copied: int = 2**30  # bytes
    frame: tuple[int, int] = (768, 1024)
    pairs: int = 8  # frame pairs a batch
    # UCF-Crime: items, bank, crops, snippets of an item, values of a feature, blocks
    frd: tuple[int, int, int, int, int, int] = (320, 32, 10, 4, 2048, 8)
    seconds: float = 2.0  # of a measurement


SMALL = Sizes(
    feature_root=2, num_slots=8, nf_start=4, batches={"stage1": 4, "stage2": 4, "stage3": 4},
    checked=3, scored=(4,), resident=40, product=128, copied=2**16, frame=(64, 64), pairs=1,
    frd=(6, 2, 2, 2, 256, 2), seconds=0.0,
)  # fmt: skip


def new_model(sizes: Sizes, dropout: float = 0.1, seed: int = 0) -> HF2VAD:
    """Our model with random weights, on the CPU."""
    torch.manual_seed(seed)
    memae = {"feature_root": sizes.feature_root, "num_slots": sizes.num_slots}
    memae["shrink_threshold"] = 1 / sizes.num_slots
    vunet = {"nf_start": sizes.nf_start, "nf_max": 2 * sizes.nf_start, "dropout": dropout}
    return build_hf2vad(memae, vunet)


def plain_trainer(sizes: Sizes, stage: str, device: torch.device) -> PlainTrainer:
    """The plain implementation around the same weights."""
    memae = {
        "feature_root": sizes.feature_root, "num_slots": sizes.num_slots,
        "shrink_threshold": 1 / sizes.num_slots, "mem_usage": [False, True, True, True],
        "skip_ops": ["none", "concat", "concat"],
    }  # fmt: skip
    plain = PlainModel(
        memae, {"nf_max": 2 * sizes.nf_start, "nf_start": sizes.nf_start, "dropout": 0.1}
    )
    plain.load_state_dict(to_published(new_model(sizes).state_dict()))
    return PlainTrainer(plain.to(device), stage)


def cubes(count: int, device: torch.device, seed: int) -> tuple[Tensor, Tensor]:
    """Frames and flows of made-up cubes, as the networks read them."""
    return to_network_inputs(*map(torch.from_numpy, random_cubes(count, seed)), device)


def stage_loss(
    stage: str, model: nn.Module, frames: Tensor, flows: Tensor, sample: bool | None = None
) -> Tensor:
    """A stage's loss.

    Args:
        stage: ``stage1``, ``stage2`` or ``stage3``.
        model: ``HF2VAD``; of stage 1 its autoencoder.
        frames, flows: from ``cubes``.
        sample: draw latents; default: as the model's mode says.
    """
    if stage == "stage1":
        last = flows[:, -2:]
        return memae_loss(model(last), last, SETTINGS)["total"]
    # In stage 2 the reconstructions are kept from the first epoch on.
    output = model(frames, flows, flows if stage == "stage2" else None, sample=sample)
    if stage == "stage2":
        return cvae_loss(output, SETTINGS)["total"]
    return finetune_loss(output, flows, SETTINGS)["total"]


class StageLoss(nn.Module):
    """A stage's network and loss as one module, as ``engine.compiled`` compiles them."""

    def __init__(self, stage: str, network: nn.Module) -> None:
        super().__init__()
        self.stage, self.network = stage, network

    def forward(self, frames: Tensor, flows: Tensor) -> Tensor:
        """The total of ``stage_loss``."""
        return stage_loss(self.stage, self.network, frames, flows)


def stage_step(
    sizes: Sizes,
    stage: str,
    device: torch.device,
    precision: str,
    usual_layout: bool = False,
    compiled: Callable[[nn.Module], nn.Module] = lambda network: network,
) -> Callable[[], Any]:
    """One optimizer step of ours after the other, on a batch that is on the device.

    Args:
        precision: one of ``PRECISIONS``.
        usual_layout: weights not laid out as training lays them out on the device.
        compiled: what to do with network and loss, a module.
    """
    model = new_model(sizes).to(device).train()
    if stage == "stage2":
        model.freeze_memae()
    trained: nn.Module = model.memae if stage == "stage1" else model
    if not usual_layout:
        trained = in_device_layout(trained, device)
    optimizer = adam(trained.parameters(), SETTINGS, device)
    loss_of, batch = compiled(StageLoss(stage, trained)), cubes(sizes.batches[stage], device, 0)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with computing_in(device, precision):
            loss = loss_of(*batch)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def frd_inputs(sizes: Sizes, device: torch.device) -> tuple[FRD, FRDStep, Tensor, Tensor]:
    """FRD-UVAD in training with a full bank: network, step, rows and float16 features on the host.

    Rows are (B, K), features (B, crops, K, D), pinned where there is a GPU.
    """
    batch, held, crops, snippets, size, blocks = sizes.frd
    torch.manual_seed(0)
    model, bank = FRD(size, blocks).to(device).train(), AnomalyBank(held)
    bank.add(torch.randn(held, crops, snippets, size, device=device))
    rows = torch.arange(batch * snippets).view(batch, snippets)
    features = pin(torch.randn(batch, crops, snippets, size).half())
    return model, FRDStep(bank, "wlab", 0.5, {}, 0.5), rows, features


def computing_in(device: torch.device, precision: str) -> torch.autocast:
    """Context of a precision; ``tf32`` and ``fp32`` also say how a GPU multiplies from now on."""
    use_tf32(precision == "tf32")
    return autocast(device, "bf16" if precision == "bf16" else "fp32")
