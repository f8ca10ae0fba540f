"""Shares the missing items of a submission over tasks: how many tasks, what each gets, in which chunks."""

from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from launch.config.gpus import find_gpu_type, gpu_memory, gpu_row, gpu_speeds
from launch.config.schema import EngineConfig, EngineKind, RunConfig
from launch.config.slurm_values import time_limit_s
from launch.model.expected_fit import expected_fit, is_quantized
from launch.model.memory import Gpu, default_max_num_seqs
from launch.model.weight_bytes import num_parameters
from launch.planning.chunks import Chunk, plan_chunks
from launch.planning.forecast import COLD, Forecast, Warmth, forecast
from launch.planning.limits import TaskLimits, split_arrays
from launch.planning.rates import TaskShape, started_as
from launch.planning.shards import Shard, plan_shards
from launch.planning.tasks import Asked, TaskPlan, Work, plan_tasks
from launch.rundir.missing_items import MissingWork
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


def share(record: RunRecord, work: MissingWork, config: RunConfig, place: Place) -> Sharing:
    """Shares what is missing over as many tasks as suit it."""
    plan = _plan_tasks(record, work, config, place)
    shards = plan_shards(work.users, plan.num_tasks)
    expected = forecast(
        shards,
        plan.rate,
        gpus_per_task=place.gpus_per_task,
        max_concurrent=place.max_concurrent,
        is_warm=place.warmth.of(plan.compilation.torch_compile),
    )
    arrays = split_arrays(len(shards), place.max_array_size)
    return Sharing(work.num_items, plan, shards, plan_chunks(shards), arrays, expected)


def _plan_tasks(record: RunRecord, missing: MissingWork, config: RunConfig, place: Place) -> TaskPlan:
    """The choices by what was measured elsewhere; the rate, for the forecast, with what starts took here."""
    engine, resources = config.engine, config.resources
    checkpoint = Path(record.checkpoint.path)
    shape = TaskShape(
        gpus_per_task=place.gpus_per_task,
        tensor_parallel_size=engine.tensor_parallel_size,
        num_engines=config.num_engines,
        gpu_type=place.gpu_type,
        parameters=num_parameters(checkpoint),
        is_transformers=config.model.engine is EngineKind.TRANSFORMERS,
        num_seqs=_num_seqs(checkpoint, config, place.gpu_type, missing.sequence_tokens),
        is_quantized=is_quantized(checkpoint, config),
        full_graphs=_full_graphs(engine, place.gpu_type),
    )
    work = Work(sum(user.cost for user in missing.users), missing.num_items)
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


def _full_graphs(engine: EngineConfig, gpu_type: str | None) -> bool:
    """Whether steps with a prompt in them would be graphs: as asked, else as a node finds it measured."""
    if not engine.allows_full_graphs:
        return False
    if engine.full_cuda_graphs is not None:
        return engine.full_cuda_graphs
    speed = None if gpu_type is None else gpu_speeds().get(gpu_type)
    row = None if speed is None else gpu_row(speed.device)
    return bool((row or {}).get("full_cuda_graphs"))


def _num_seqs(checkpoint: Path, config: RunConfig, gpu_type: str | None, tokens: float) -> int | None:
    """Sequences, of `tokens` on average, that a step of one engine should have while there is enough work.

    They are as many as its limits allow and its KV cache should hold; None where vLLM chooses the limit, for
    a GPU that is not known.
    """
    known = None if gpu_type is None else find_gpu_type(gpu_type)
    gpu = None if known is None else Gpu(known, gpu_memory()[known])
    limit = config.engine.max_num_seqs or (None if gpu is None else default_max_num_seqs(gpu))
    if limit is None:
        return None
    limits = [limit, config.engine.max_num_batched_tokens, _held(checkpoint, config, gpu, tokens)]
    return max(1, min(each for each in limits if each is not None))


def _held(checkpoint: Path, config: RunConfig, gpu: Gpu | None, tokens: float) -> int | None:
    """How many the KV cache should hold; None where that cannot be told."""
    found = None if gpu is None else expected_fit(checkpoint, config, gpu)
    return None if found is None else found.sequences(ceil(tokens))
