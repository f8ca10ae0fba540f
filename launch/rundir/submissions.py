"""Opens a submission: the missing items of a run, shared over tasks, cut into chunks, with new claims."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from launch.config.schema import RunConfig
from launch.config.slurm_values import time_limit_s
from launch.errors import RunError
from launch.planning.chunks import plan_chunks
from launch.planning.cost import UserCost, cost_user, expected_output_tokens
from launch.planning.forecast import Forecast, forecast
from launch.planning.limits import TaskLimits, choose_num_tasks, split_arrays
from launch.planning.rates import assume_rate
from launch.planning.shards import plan_shards
from launch.rundir.chunks import write_chunks
from launch.rundir.identity import code_version
from launch.rundir.journal import fsync_directory, storage_errors
from launch.rundir.layout import RunPaths, SubmissionPaths
from launch.rundir.plan import IndexEntry, read_index
from launch.rundir.progress import survey_settled
from launch.rundir.records import (
    ArrayRecord,
    SubmissionRecord,
    list_submissions,
    load_run,
    now,
    save_record,
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A submission that is written and not sent: its number, how it is shared, what it should take."""

    submission: int
    forecast: Forecast
    why: str
    num_chunks: int


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of where tasks will run.

    `max_concurrent` is how many may run at once, None where that is not known; `gpus_per_task` is 0 on a CPU.
    """

    max_array_size: int
    max_concurrent: int | None
    gpus_per_task: int


def open_submission(
    run: RunPaths, config: RunConfig, place: Place, *, retry_failed: bool = False, number_of_round: int = 0
) -> Opened:
    """Writes submissions/<S>/ whole or not at all; RunError when nothing is missing."""
    missing = _missing(run, retry_failed=retry_failed)
    index = list(read_index(run))
    users = _costs(index, missing, config)
    rate = assume_rate(
        gpus_per_task=place.gpus_per_task,
        tensor_parallel_size=config.engine.tensor_parallel_size,
        engines_per_node=config.engine.engines_per_node,
    )
    resources = config.resources
    limits = TaskLimits(time_limit_s(resources.time), resources.max_submit, place.max_concurrent)
    total = sum(user.cost for user in users)
    num_tasks, why = choose_num_tasks(total, len(missing), rate, limits, resources.num_tasks)
    shards = plan_shards(users, num_tasks)
    chunks = plan_chunks(shards)
    arrays = split_arrays(len(shards), place.max_array_size)
    submission = SubmissionRecord(
        run_id=load_run(run).run_id,
        submission=max(list_submissions(run), default=0) + 1,
        created=now(),
        engine=config.engine,
        resources=config.resources,
        canary=config.canary,
        publish=config.publish,
        code=code_version(),
        num_tasks=len(shards),
        num_chunks=len(chunks),
        num_items=len(missing),
        arrays=tuple(ArrayRecord(offset=offset, size=size) for offset, size in arrays),
        round=number_of_round,
    )

    def fill(paths: SubmissionPaths) -> None:
        paths.claims.mkdir()
        write_chunks(paths, chunks, index)
        save_record(paths.submission_yaml, submission)

    write_whole(run, submission.submission, fill)
    expected = forecast(shards, rate, gpus_per_task=place.gpus_per_task, max_concurrent=place.max_concurrent)
    return Opened(submission.submission, expected, why, len(chunks))


def _missing(run: RunPaths, *, retry_failed: bool) -> set[int]:
    settled = survey_settled(run)
    missing = set(settled.missing(retry_failed=retry_failed))
    if missing:
        return missing
    failed = f", {settled.num_failed} failed (--retry-failed tries again)" if settled.num_failed else ""
    raise RunError(
        f"{run.root}: every item is settled{failed}; nothing is left to generate. Run `vllm-launch merge`."
    )


def _costs(index: list[IndexEntry], missing: set[int], config: RunConfig) -> list[UserCost]:
    output = expected_output_tokens(config.sampling.samples_per_item, config.sampling.max_tokens)
    users = []
    for entry in index:
        places = [place for place in range(entry.num_items) if entry.first_item + place in missing]
        numbers = [entry.first_item + place for place in places]
        tokens = [entry.prompt_tokens[place] for place in places]
        users.append(cost_user(entry.position, entry.user_hash, numbers, tokens, output))
    return users


def write_whole(run: RunPaths, number: int, fill: Callable[[SubmissionPaths], None]) -> None:
    """Fills a directory beside its place and renames it; a submission of that number that is there wins."""
    final = run.submission(number)
    partial = SubmissionPaths(final.root.with_name(f".{number}.{os.getpid()}"))
    with storage_errors(final.root):
        final.root.parent.mkdir(exist_ok=True)
        partial.root.mkdir()
        try:
            fill(partial)
            partial.root.rename(final.root)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            raise RunError(
                f"{final.root}: another resume has just opened it. Look at `vllm-launch status`."
            ) from None
        finally:
            shutil.rmtree(partial.root, ignore_errors=True)
        fsync_directory(final.root.parent)
