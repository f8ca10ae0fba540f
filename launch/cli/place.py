"""Where a submission will run: what Slurm allows, or which GPUs are here, and what is compiled there."""

from launch.config.gpus import find_gpu_type, measured_type
from launch.config.schema import EngineKind, ResourcesConfig, RunConfig, Scheduler
from launch.errors import ConfigError
from launch.planning.forecast import COLD, Warmth
from launch.rundir.layout import RunPaths
from launch.rundir.records import RunRecord
from launch.rundir.sharing import Place
from launch.slurm.commands import max_array_size
from launch.slurm.submission import num_queued_rounds
from launch.slurm.submit_limits import submit_limit
from launch.worker.driver import visible_gpus
from launch.worker.gpu_settings import device_name
from launch.worker.startup.expected_caches import expect_here, expect_on_nodes
from launch.worker.startup.node_caches import shared_cache_dir

UNLIMITED_ARRAY = 1_000_000


def find_place(run: RunPaths, record: RunRecord, config: RunConfig) -> Place:
    """What is known of where the tasks of a run's next submission will run; Slurm is asked where it will."""
    resources = config.resources
    on_slurm = resources.scheduler is Scheduler.SLURM
    gpus = [] if on_slurm else visible_gpus()
    return Place(
        max_array_size=(resources.max_array_size or max_array_size()) if on_slurm else UNLIMITED_ARRAY,
        max_concurrent=resources.max_concurrent if on_slurm else _places(config, len(gpus)),
        gpus_per_task=config.gpus_per_task if on_slurm or gpus else 0,
        gpu_type=_asked_type(resources) if on_slurm else _type_here(gpus),
        max_submit=_max_submit(resources) if on_slurm else (None, ""),
        warmth=_warmth(run, record, config),
    )


def check_environment(config: RunConfig) -> None:
    """ConfigError where this machine is to start engines from a packed environment that is not there."""
    environment = config.resources.environment
    if config.resources.scheduler is Scheduler.NONE and environment and not environment.is_file():
        raise ConfigError(
            f"resources.environment: {environment}: no such file. Give the packed environment, or leave it"
            " out."
        )


def _warmth(run: RunPaths, record: RunRecord, config: RunConfig) -> Warmth:
    """What is compiled already for the engines to come; nothing where it would save nothing."""
    if config.model.engine is not EngineKind.VLLM:
        return COLD
    on_slurm = config.resources.scheduler is Scheduler.SLURM
    shared = shared_cache_dir(config.resources.cache_dir, run.root, on_slurm=on_slurm)
    if on_slurm:
        return expect_on_nodes(record, config, shared)
    return expect_here(record, config, shared)


def _asked_type(resources: ResourcesConfig) -> str | None:
    return None if resources.gpu_type is None else find_gpu_type(resources.gpu_type)


def _type_here(gpus: list[str]) -> str | None:
    """Of this machine's GPUs, where it was measured; they are taken to be of one type."""
    device = device_name(gpus)
    return None if device is None else measured_type(device)


def _max_submit(resources: ResourcesConfig) -> tuple[int | None, str]:
    """Tasks that may be sent, and whose limit that is: asked of Slurm unless it is set.

    Where a number of tasks is asked for, it is sent whatever Slurm says: Slurm is not asked.
    """
    if resources.max_submit is None and resources.num_tasks is not None:
        return None, ""
    limit = submit_limit(resources)
    if limit is None:
        return None, ""
    tasks = limit.tasks(num_queued_rounds(resources))
    return tasks, f"{limit.source} {limit.num_jobs:,}, {limit.num_queued:,} of them queued,"


def _places(config: RunConfig, num_gpus: int) -> int:
    """Tasks at a time on this machine: as many as have GPUs of their own, one on a CPU."""
    if config.resources.max_concurrent is not None:
        return config.resources.max_concurrent
    return max(1, num_gpus // max(1, config.gpus_per_task)) if num_gpus else 1
