"""What advice is about: a failure, the run it stopped, and how one goes on with that or begins anew."""

from collections.abc import Mapping
from dataclasses import dataclass

from launch.config.schema import RunConfig, Scheduler
from launch.model.shape import ModelShape
from launch.worker.failures import Diagnosis

MAX_TP = 8


@dataclass(frozen=True, slots=True)
class Case:
    """A failure and what is known around it; `shape` is None where config.json cannot be read.

    `is_beside` is a run of the single-node commands, which one types again instead of `resume`. For
    `length_bounds` see launch/model/length_bounds.py.
    """

    diagnosis: Diagnosis
    config: RunConfig
    shape: ModelShape | None
    log: str
    on_cpu: bool = False
    is_beside: bool = False
    length_bounds: tuple[int, ...] = ()

    @property
    def again(self) -> str:
        """How one goes on with this run."""
        return "type the same command again" if self.is_beside else "resume"

    @property
    def resume(self) -> str:
        """The same, before flags."""
        return f"{self.again} with"

    @property
    def other_run(self) -> str:
        """How one begins another run, for what belongs to the identity of this one."""
        return "choose another --output_dir" if self.is_beside else "submit a new run"

    @property
    def anew(self) -> str:
        """The same, before flags."""
        return f"{self.other_run} {'and add' if self.is_beside else 'with'}"

    @property
    def on_slurm(self) -> bool:
        """Whether other nodes and Slurm's limits are to be had."""
        return self.config.resources.scheduler is Scheduler.SLURM

    @property
    def numbers(self) -> Mapping[str, float]:
        """The numbers that the log told."""
        return self.diagnosis.numbers

    def tensor_parallel_sizes(self, limit: int = MAX_TP) -> tuple[int, ...]:
        """Sizes up to `limit` over which the model can be split; none where nothing is known of it."""
        return () if self.shape is None else self.shape.tensor_parallel_sizes(limit)

    def larger_tp(self) -> int | None:
        """The next tensor parallel size over which the model can be split."""
        if self.on_cpu:
            return None
        asked = self.config.engine.tensor_parallel_size
        return next((size for size in self.tensor_parallel_sizes() if size > asked), None)
