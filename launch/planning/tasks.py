"""What a submission decides before anything is shared out: how many tasks, and whether they compile."""

from dataclasses import dataclass

from launch.config.gpus import GpuSpeed
from launch.planning.compilation import EAGER, INVARIANT, CompileChoice, choose_compile
from launch.planning.limits import TaskLimits, choose_num_tasks, over_limit
from launch.planning.rates import TaskRate, TaskShape, assume_rate, measured_for


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be generated: token equivalents over all items, how many there are, samples of each."""

    cost: float
    num_items: int
    samples_per_item: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for and is never changed; None: to be decided. `max_num_seqs` of one engine.

    An engine that `is_eager` does not compile either; of one that `is_invariant` nothing is decided.
    """

    num_tasks: int | None = None
    compiles: bool | None = None
    max_num_seqs: int | None = None
    is_eager: bool = False
    is_invariant: bool = False


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """The number of tasks and the engine's start, each with its reason, and the rate that follows.

    `warning` is what is wrong with the number of tasks that was asked for; None where nothing is.
    """

    num_tasks: int
    why: str
    compilation: CompileChoice
    rate: TaskRate
    warning: str | None = None


def plan_tasks(
    work: Work, shape: TaskShape, limits: TaskLimits, asked: Asked, speeds: dict[str, GpuSpeed]
) -> TaskPlan:
    """The number of tasks by the compiled engine's rate, then whether it pays for the work of each task."""
    rate = assume_rate(shape, speeds, compiles=asked.compiles is not False)
    num_tasks, why = choose_num_tasks(work.cost, work.num_items, rate, limits, asked.num_tasks)
    known = measured_for(shape.gpu_type, speeds)
    work_s = work.cost / rate.tokens_per_s / num_tasks
    waiting = work.num_items * work.samples_per_item / (num_tasks * shape.num_engines)
    sequences = min(waiting, asked.max_num_seqs or known.speed.max_num_seqs)
    if asked.is_eager:
        chosen = EAGER
    elif asked.is_invariant and asked.compiles is None:
        chosen = INVARIANT
    else:
        chosen = choose_compile(asked.compiles, shape, known, work_s, sequences)
    compiles = chosen.torch_compile is not False
    rate = assume_rate(shape, speeds, compiles=compiles)
    return TaskPlan(num_tasks, why, chosen, rate, over_limit(num_tasks, limits))
