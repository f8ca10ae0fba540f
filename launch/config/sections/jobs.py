"""The words of Slurm, as the settings of jobs have them, and what the merge job asks for."""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from launch.config import slurm_values
from launch.config.sections.base import Section

TextOrNumber = Annotated[
    str, BeforeValidator(slurm_values.number_as_text), WithJsonSchema({"type": ["string", "integer"]})
]
SlurmWord = Annotated[TextOrNumber, AfterValidator(slurm_values.one_word)]
SlurmTime = Annotated[TextOrNumber, AfterValidator(slurm_values.time_limit)]
SlurmMemory = Annotated[TextOrNumber, AfterValidator(slurm_values.memory)]
GpuType = Annotated[str, AfterValidator(slurm_values.gpu_type)]
Line = Annotated[str, AfterValidator(slurm_values.one_line)]
CommandWords = Annotated[tuple[Line, ...], AfterValidator(slurm_values.command_words)]
Price = Annotated[str, Field(pattern=f"^{slurm_values.PRICE}$"), BeforeValidator(slurm_values.price)]
SbatchOptions = dict[str, str | int | bool]
TaskOptions = Annotated[SbatchOptions, AfterValidator(slurm_values.task_options)]
MergeOptions = Annotated[SbatchOptions, AfterValidator(slurm_values.merge_options)]


class MergeResources(Section):
    """Resources of the merge job, a CPU job; GPU partitions often refuse those, so it has its own."""

    partition: SlurmWord | None = Field(default=None, description="Of the merge job.")
    account: SlurmWord | None = Field(default=None, description="Of the merge job; the tasks' unless set.")
    qos: SlurmWord | None = Field(default=None, description="Of the merge job.")
    constraint: SlurmWord | None = Field(default=None, description="Of the merge job.")
    time: SlurmTime = Field(default="01:00:00", description="Time limit of the merge job.")
    cpus_per_task: Annotated[int, Field(ge=1)] = Field(default=2, description="Of the merge job.")
    mem: SlurmMemory | None = Field(default="4G", description="Of the merge job.")
    extra_sbatch: MergeOptions = Field(
        default_factory=dict, description="Further sbatch options of the merge job."
    )


class Scheduler(StrEnum):
    """Who starts tasks: Slurm, or submit itself on this machine."""

    SLURM = "slurm"
    NONE = "none"


class GpuRequest(StrEnum):
    """How GPUs are asked for; exactly one form is emitted."""

    GRES = "gres"
    GPUS_PER_NODE = "gpus_per_node"
