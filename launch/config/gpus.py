"""configs/gpus.yaml: engine settings and speed that were measured per GPU, and memory as vendors state it."""

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from launch.config.load import Document, load_yaml
from launch.config.schema import EngineConfig, Section
from launch.config.sections.base import Number
from launch.config.shipped import shipped
from launch.config.tables import refuse_other_keys, rows


class GpuRow(Section):
    """One GPU of the table `gpus`."""

    engine: EngineConfig = Field(description="Engine settings that were measured to be better.")
    evidence: str = Field(min_length=1, description="What was measured, with what.")

    @field_validator("engine")
    @classmethod
    def _only_where_unset_can_be_told(cls, engine: EngineConfig) -> EngineConfig:
        """A node takes a row's setting only where nobody set it, which shows by its being None."""
        for name in sorted(engine.model_fields_set):
            if EngineConfig.model_fields[name].default is not None:
                raise ValueError(
                    f"{name}: has a default, so a node cannot tell whether it was set; leave it out"
                )
        return engine


class GpuSpeed(Section):
    """One GPU type of the table `speeds`: what one engine on one GPU was measured to do; None: not there."""

    device: str = Field(min_length=1, description="Words with which the GPU's name begins, as NVML gives it.")
    output_tokens_per_s: Number = Field(gt=0, description="Of generation alone.")
    prompt_tokens: int = Field(gt=0, description="Of an item of that work.")
    output_tokens: int = Field(gt=0, description="Of an item, over all its samples.")
    parameters: int = Field(gt=0, description="Of the model.")
    max_num_seqs: int = Field(gt=0, description="Sequences in a step.")
    start_cold_s: Number | None = Field(default=None, gt=0, description="Seconds of LLM(...), caches empty.")
    start_warm_s: Number | None = Field(default=None, gt=0, description="Seconds, caches filled.")
    start_uncompiled_s: Number | None = Field(
        default=None, gt=0, description="Seconds, caches filled, without torch.compile."
    )
    start_uncompiled_cold_s: Number | None = Field(
        default=None, gt=0, description="Seconds, caches empty, without torch.compile."
    )
    beside_s: Number | None = Field(
        default=None, gt=0, description="Seconds of a task beside that and generation: imports, its end."
    )
    half_speed_seqs: Number | None = Field(
        default=None, gt=0, description="Sequences in a step with which it is half as fast as with very many."
    )
    uncompiled_shares: dict[int, Number] = Field(
        default={},
        description="Speed without torch.compile over that with it, by sequences in a step; larger steps are"
        " no CUDA graphs.",
    )
    full_graph_shares: dict[int, Number] = Field(
        default={},
        description="The same with engine.full_cuda_graphs: steps with a prompt in them are graphs, too.",
    )
    eager_share: Number | None = Field(
        default=None,
        gt=0,
        le=1,
        description="The same where hardly a step is a CUDA graph; there if uncompiled_shares are.",
    )
    parallel_shares: dict[int, Number] = Field(
        default={}, description="Speed of tensor parallelism over as many engines of one GPU, by its size."
    )
    engines_over_parallel: dict[int, Number] = Field(
        default={},
        description="Speed of engines of one GPU each over one with tensor parallelism, by their number.",
    )
    transformers_tokens_per_s: Number | None = Field(default=None, gt=0, description="Of that engine.")
    evidence: str = Field(min_length=1, description="What was measured, with what.")

    @model_validator(mode="after")
    def _both_shares(self) -> Self:
        """Steps of more sequences than any of the first are taken for the second."""
        if bool(self.uncompiled_shares) != (self.eager_share is not None):
            raise ValueError("uncompiled_shares and eager_share go together")
        if self.full_graph_shares and not self.uncompiled_shares:
            raise ValueError("full_graph_shares are there only beside uncompiled_shares")
        return self

    @field_validator(
        "uncompiled_shares", "full_graph_shares", "parallel_shares", "engines_over_parallel", mode="before"
    )
    @classmethod
    def _sizes_as_numbers(cls, shares: Any) -> Any:
        """Keys of a YAML file are texts here."""
        if not isinstance(shares, dict):
            return shares
        return {int(size) if str(size).isdecimal() else size: share for size, share in shares.items()}


class GpuMemoryRow(Section):
    """One GPU type of the table `memory`."""

    memory_gib: int = Field(gt=0, description="Memory of one GPU, in units of 2^30 bytes.")
    source: str = Field(min_length=1, description="What the number rests on.")


def gpu_row(name: str) -> dict[str, Any] | None:
    """The engine settings for a device name as NVML gives it, None if that GPU was not measured.

    A row is for every device whose name begins with the row's words: `NVIDIA H100 80GB` for `NVIDIA H100 80GB
    HBM3`. The longest such row counts. Only settings that the row writes are in the answer.
    """
    known = rows(_document(), "gpus", GpuRow)
    row = _longest(known, name)
    return None if row is None else known[row].engine.model_dump(exclude_unset=True)


def measured_type(name: str) -> str | None:
    """The type in the table `speeds` of a device, by its name as NVML gives it; None: not measured."""
    types = {speed.device: kind for kind, speed in gpu_speeds().items()}
    device = _longest(types, name)
    return None if device is None else types[device]


def may_be_of_type(device: str, gpu_type: str) -> bool:
    """Whether a device, by its name as NVML gives it, may be of a type by a name that clusters have for it.

    Where the table `speeds` has the device, it is of that type alone; else its name has the type's words.
    """
    measured = measured_type(device)
    if measured is not None:
        return find_gpu_type(gpu_type) == measured
    words = _words(device)
    known = {*words, *(first + second for first, second in pairwise(words))}
    return known.issuperset(_words(gpu_type))


def at_measured_size(shares: Mapping[int, float], size: int) -> tuple[float, int]:
    """What was measured at the largest size up to `size`, and that size; 1 and 1 where there is none."""
    measured = max((each for each in shares if each <= size), default=1)
    return shares.get(measured, 1.0), measured


def gpu_speeds() -> dict[str, GpuSpeed]:
    """What was measured by GPU type (a name of the table `memory`), in file order."""
    return rows(_document(), "speeds", GpuSpeed)


def gpu_memory() -> dict[str, int]:
    """Memory in GiB by GPU type, in file order."""
    known = rows(_document(), "memory", GpuMemoryRow)
    return {name: row.memory_gib for name, row in known.items()}


def find_gpu_type(name: str) -> str | None:
    """The row of `memory` that a GPU type means; hyphens, underscores, case and `nvidia` do not count.

    None when there is none, and for the name of cards of several sizes, such as a100.
    """
    wanted = _plain(name)
    return next((known for known in gpu_memory() if _plain(known) == wanted), None)


def _longest(beginnings: Iterable[str], name: str) -> str | None:
    """The longest of the beginnings of a device's name, whole words alone; None when none is one."""
    words = name.casefold().split()
    matching = [each for each in beginnings if words[: len(each.split())] == each.casefold().split()]
    return max(matching, key=len, default=None)


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[-_\s]+", name.casefold()) if word != "nvidia"]


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]|nvidia", "", name.casefold())


def _document() -> Document:
    document = load_yaml(shipped("configs", "gpus.yaml"))
    refuse_other_keys(document, ("description", "gpus", "speeds", "memory"))
    return document
