"""Builds the optical flow backend that a configuration names."""

from __future__ import annotations

from collections.abc import Callable

from datasets.manifest import DataSet
from pre_process.flow.base import FlowEstimator
from utils.config.hf2vad import FlowConfig, PreProcessConfig
from utils.errors import UserError


def build_flow(config: PreProcessConfig, dataset: DataSet | None = None) -> FlowEstimator:
    """Build the estimator that ``pre_process.flow`` names; backends are imported when chosen.

    Args:
        config: the block ``pre_process``.
        dataset: whose flow backend ``file`` reads.

    Raises:
        UserError: what the backend needs is missing.
    """
    return _BUILDERS[config.flow.backend](config.flow, config.device, dataset)


def _build_dis(config: FlowConfig, device: str, dataset: DataSet | None) -> FlowEstimator:
    from pre_process.flow.dis import DISFlow

    names = ["width", "height", "preset", "patch_size", "patch_stride"]
    names += ["refinement_iterations", "finest_scale"]
    return DISFlow(**{name: getattr(config, name) for name in names})


def _build_raft(config: FlowConfig, device: str, dataset: DataSet | None) -> FlowEstimator:
    from pre_process.flow.raft import RAFTFlow
    from utils.runtime import pick_device

    size = config.width, config.height
    return RAFTFlow(config.model, config.weights, size, pick_device(device), config.precision)


def _build_flownet2(config: FlowConfig, device: str, dataset: DataSet | None) -> FlowEstimator:
    from pre_process.flow.flownet2 import FlowNet2Flow
    from utils.runtime import pick_device

    size, chosen = (config.width, config.height), pick_device(device)
    return FlowNet2Flow(config.weights, size, chosen, config.precision, config.batch_size)


def _build_file(config: FlowConfig, device: str, dataset: DataSet | None) -> FlowEstimator:
    from pre_process.flow.file import FlowFile

    if dataset is None:
        raise UserError(
            "pre_process.flow.backend is 'file', which has no flow for a new video; "
            "set another backend, such as dis"
        )
    return FlowFile(dataset.root)


# Large networks, which use all cores or a GPU by themselves: extraction has one process then.
FLOW_NETWORKS = ("raft", "flownet2")
_BUILDERS: dict[str, Callable[[FlowConfig, str, DataSet | None], FlowEstimator]] = {
    "dis": _build_dis,
    "raft": _build_raft,
    "flownet2": _build_flownet2,
    "file": _build_file,
}
