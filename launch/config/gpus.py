"""Engine settings measured per GPU: configs/gpus.yaml. A row sets only what was measured to be better."""

from typing import Any

from pydantic import Field

from launch.config.load import load_yaml
from launch.config.schema import EngineConfig, Section
from launch.config.shipped import shipped
from launch.config.tables import refuse_other_keys, rows


class GpuRow(Section):
    """One GPU of configs/gpus.yaml."""

    engine: EngineConfig = Field(description="Engine settings that were measured to be better.")
    evidence: str = Field(min_length=1, description="What was measured, with what.")


def gpu_row(name: str) -> dict[str, Any] | None:
    """The engine settings for a device name as NVML gives it, None if that GPU was not measured.

    A row is for every device whose name begins with the row's words: `NVIDIA H100 80GB` for `NVIDIA H100 80GB
    HBM3`. The longest such row counts. Only settings that the row writes are in the answer.
    """
    document = load_yaml(shipped("configs", "gpus.yaml"))
    refuse_other_keys(document, ("description", "gpus"))
    known = rows(document, "gpus", GpuRow)
    words = name.casefold().split()
    matching = [row for row in known if words[: len(row.split())] == row.casefold().split()]
    if not matching:
        return None
    return known[max(matching, key=len)].engine.model_dump(exclude_unset=True)
