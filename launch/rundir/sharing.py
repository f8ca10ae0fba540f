"""Shares the missing items of a submission over tasks: how many tasks, what each gets, in which chunks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launch.config.gpus import find_gpu_type, gpu_memory, gpu_speeds
from launch.config.schema import EngineConfig, EngineKind, RunConfig
from launch.config.slurm_values import time_limit_s
from launch.model.memory import Gpu, default_max_num_seqs
from launch.model.weight_bytes import num_parameters
from launch.planning.chunks import Chunk, plan_chunks
from launch.planning.cost import UserCost
from launch.planning.forecast import COLD, Forecast, Warmth, forecast
from launch.planning.limits import TaskLimits, split_arrays
from launch.planning.rates import TaskShape, started_as
from launch.planning.shards import Shard, plan_shards
from launch.planning.tasks import Asked, TaskPlan, Work, plan_tasks
from launch.rundir.records import RunRecord


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of where tasks will run.

    `max_concurrent` is how many may run at once, None where that is not known; `gpus_per_task` is 0 on a CPU;
    `gpu_type` a name of configs/gpus.yaml; `max_submit` how many tasks may be sent now (None:
    nobody says), and whose limit that is. `warmth`: what earlier work left compiled for these tasks, and what
    starts took then.
    """

    max_array_size: int
    max_concurrent: int | None
    gpus_per_task: int
    gpu_type: str | None = None
    max_submit: tuple[int | None, str] = (None, "")
    warmth: Warmth = COLD


@dataclass(frozen=True, slots=True)
class Sharing:
    """How a submission's items are shared, and what it should take.

    A shard for each task, the chunks that tasks claim, offset and size of each array.
    """

    num_items: int
    plan: TaskPlan
    shards: tuple[Shard, ...]
    chunks: tuple[Chunk, ...]
    arrays: tuple[tuple[int, int], ...]
    forecast: Forecast


def share(
    record: RunRecord, users: Sequence[UserCost], num_items: int, config: RunConfig, place: Place
) -> Sharing:
    """Shares the `num_items` missing items of `users` over as many tasks as suit them."""
    plan = _plan_tasks(record, users, num_items, config, place)
    shards = plan_shards(users, plan.num_tasks)
    expected = forecast(
        shards,
        plan.rate,
        gpus_per_task=place.gpus_per_task,
        max_concurrent=place.max_concurrent,
        is_warm=place.warmth.of(plan.compilation.torch_compile),
    )
    arrays = split_arrays(len(shards), place.max_array_size)
    return Sharing(num_items, plan, shards, plan_chunks(shards), arrays, expected)


def _plan_tasks(
    record: RunRecord, users: Sequence[UserCost], num_items: int, config: RunConfig, place: Place
) -> TaskPlan:
    """The choices by what was measured elsewhere; the rate, for the forecast, with what starts took here."""
    engine, resources = config.engine, config.resources
    shape = TaskShape(
        gpus_per_task=place.gpus_per_task,
        tensor_parallel_size=engine.tensor_parallel_size,
        num_engines=config.num_engines,
        gpu_type=place.gpu_type,
        parameters=num_parameters(Path(record.checkpoint.path)),
        is_transformers=config.model.engine is EngineKind.TRANSFORMERS,
        max_num_seqs=_max_num_seqs(engine, place.gpu_type),
    )
    work = Work(sum(user.cost for user in users), num_items)
    queued = place.max_submit
    limits = TaskLimits(time_limit_s(resources.time), queued[0], place.max_concurrent, queued[1])
    asked = Asked(
        resources.num_tasks,
        engine.compiles,
        is_eager=bool(engine.enforce_eager),
        is_invariant=engine.batch_invariant,
    )
    plan = plan_tasks(work, shape, limits, asked, gpu_speeds(), place.warmth)
    starts = place.warmth.starts_of(plan.compilation.torch_compile)
    return replace(plan, rate=started_as(plan.rate, starts))


def _max_num_seqs(engine: EngineConfig, gpu_type: str | None) -> int | None:
    """Sequences that a step of one engine may have; None where vLLM chooses, for a GPU that is not known."""
    known = None if gpu_type is None else find_gpu_type(gpu_type)
    its_own = None if known is None else default_max_num_seqs(Gpu(known, gpu_memory()[known]))
    asked = engine.max_num_seqs or its_own
    if asked is None or engine.max_num_batched_tokens is None:
        return asked
    return min(asked, engine.max_num_batched_tokens)
