"""What a submission decides before anything is shared out: how many tasks, and whether they compile."""

from dataclasses import dataclass, replace

from launch.config.gpus import GpuSpeed
from launch.planning.compilation import EAGER, INVARIANT, CompileChoice, choose_compile
from launch.planning.forecast import COLD, Warmth
from launch.planning.limits import TaskLimits, choose_num_tasks, over_limit
from launch.planning.rates import Measured, TaskRate, TaskShape, assume_rate, measured_for


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be generated: token equivalents over all items, and how many there are."""

    cost: float
    num_items: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for and is never changed; None: to be decided.

    An engine that `is_eager` does not compile either; of one that `is_invariant` nothing is decided.
    """

    num_tasks: int | None = None
    compiles: bool | None = None
    is_eager: bool = False
    is_invariant: bool = False


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """The number of tasks and the engine's start, each with its reason, and the rate that follows.

    `warning` is what is wrong with the number of tasks; None where nothing is.
    """

    num_tasks: int
    why: str
    compilation: CompileChoice
    rate: TaskRate
    warning: str | None = None


def plan_tasks(
    work: Work,
    shape: TaskShape,
    limits: TaskLimits,
    asked: Asked,
    speeds: dict[str, GpuSpeed],
    warmth: Warmth = COLD,
) -> TaskPlan:
    """The number of tasks and whether their engines compile, each by the other.

    First so many as suit engines that do not compile: they start sooner, so there may be more of them. Where
    these are long enough for it to pay, so many as suit engines that do.
    """
    known = measured_for(shape.gpu_type, speeds)

    def planned(*, compiles: bool) -> TaskPlan:
        rate = assume_rate(shape, speeds, compiles=compiles, is_eager=asked.is_eager)
        if warmth.of(compiles) and rate.warm_startup_s is not None:
            rate = replace(rate, startup_s=rate.warm_startup_s)
        num_tasks, why = choose_num_tasks(work.cost, work.num_items, rate, limits, asked.num_tasks)
        chosen = _choose(shape, asked, known, work.cost / rate.tokens_per_s / num_tasks)
        stays = chosen.torch_compile is not False
        follows = assume_rate(shape, speeds, compiles=stays, is_eager=asked.is_eager)
        return TaskPlan(num_tasks, why, chosen, follows, over_limit(num_tasks, limits))

    if not asked.compiles:
        plan = planned(compiles=False)
        if plan.compilation.torch_compile is False:
            return plan
    return planned(compiles=True)


def _choose(shape: TaskShape, asked: Asked, known: Measured, work_s: float) -> CompileChoice:
    """Whether engines compile, in tasks of `work_s` of generation each."""
    if asked.is_eager:
        return EAGER
    if asked.is_invariant and asked.compiles is None:
        return INVARIANT
    return choose_compile(asked.compiles, shape, known, work_s)
