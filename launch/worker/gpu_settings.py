"""Engine settings that configs/gpus.yaml has for the GPU of this node, where nobody set them."""

from collections.abc import Sequence
from typing import Any

from launch.config.gpus import gpu_row
from launch.config.schema import EngineConfig
from launch.worker.gpu_target import describe_compiler_target


def device_name(visible: Sequence[str]) -> str | None:
    """The first visible GPU's name as NVML has it; None without a GPU, "unknown" where NVML does not tell.

    The GPUs of a node are taken to be of one type.
    """
    return describe_compiler_target(visible[0])["device"] if visible else None


def measured_settings(engine: EngineConfig, device: str | None) -> dict[str, Any]:
    """What the row of a GPU sets of the settings that are None; empty for a GPU that was not measured."""
    row = None if device is None else gpu_row(device)
    return {name: value for name, value in (row or {}).items() if getattr(engine, name) is None}
