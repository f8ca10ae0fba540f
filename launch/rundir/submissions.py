"""Opens a submission: the missing items of a run, shared over tasks, cut into chunks, with new claims."""

import errno
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from launch.config.gpus import gpu_speeds
from launch.config.schema import EngineKind, RunConfig
from launch.config.slurm_values import time_limit_s
from launch.errors import RunError
from launch.model.length_bounds import crossed, length_bounds
from launch.model.weight_bytes import num_parameters
from launch.planning.chunks import plan_chunks
from launch.planning.cost import UserCost, cost_user, expected_output_tokens
from launch.planning.forecast import COLD, Forecast, Warmth, forecast
from launch.planning.limits import TaskLimits, split_arrays
from launch.planning.rates import TaskShape, started_as
from launch.planning.shards import plan_shards
from launch.planning.tasks import Asked, TaskPlan, Work, plan_tasks
from launch.rundir.attempts import list_tried
from launch.rundir.chunks import write_chunks
from launch.rundir.identity import code_version
from launch.rundir.journal import make_directory, put_in_place, read_json, storage_errors, write_json
from launch.rundir.layout import RunPaths, SubmissionPaths
from launch.rundir.plan import IndexEntry, read_index
from launch.rundir.process_mark import ProcessMark
from launch.rundir.progress import Settled, survey_settled
from launch.rundir.records import (
    ArrayRecord,
    PlannedEngine,
    RunRecord,
    SubmissionRecord,
    list_submissions,
    load_run,
    load_submission,
    now,
    save_record,
)

ITEMS_TO_LEARN_FROM = 100
"""Done items; fewer say little of how long samples are."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A submission that is written and not sent: its number, how it is shared, what it should take."""

    submission: int
    forecast: Forecast
    plan: TaskPlan
    num_chunks: int


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
class Opening:
    """Who opens a submission.

    `after` is the one before it, which was closed: only the next one is opened then. `sender` will send it,
    None where nobody will.
    """

    after: int | None = None
    sender: ProcessMark | None = None


NOT_SENT = Opening()


def never_submitted(run: RunPaths) -> RunError:
    """The error for a run without a submission: of no use, unless tasks of one that is gone have run."""
    if list_tried(run):
        return RunError(
            f"{run.submissions}: holds no submission, though tasks of one have run. Restore it from a copy:"
            " what they generated is in tasks/, and a merge needs both."
        )
    return RunError(f"{run.root}: was never submitted to the end. Remove it and submit anew.")


def open_submission(
    run: RunPaths,
    config: RunConfig,
    place: Place,
    *,
    retry_failed: bool = False,
    number_of_round: int = 0,
    opening: Opening = NOT_SENT,
) -> Opened:
    """Writes submissions/<S>/ whole or not at all.

    RunError when nothing is missing, when another submission was opened since `opening.after` was closed, and
    when the model would compute otherwise than in the first submission.
    """
    after = max(list_submissions(run), default=0) if opening.after is None else opening.after
    settled = survey_settled(run)
    missing = _missing(run, settled, retry_failed=retry_failed)
    index = list(read_index(run))
    users = _costs(index, missing, config, _mean_sample(settled, config))
    record = load_run(run)
    _check_length(run, record, config.engine.max_model_len)
    plan = _plan_tasks(record, users, len(missing), config, place)
    shards = plan_shards(users, plan.num_tasks)
    chunks = plan_chunks(shards)
    arrays = split_arrays(len(shards), place.max_array_size)
    submission = SubmissionRecord(
        run_id=record.run_id,
        submission=after + 1,
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
        planned=_planned(config, plan),
    )

    def fill(paths: SubmissionPaths) -> None:
        paths.claims.mkdir()
        if opening.sender is not None:
            write_json(paths.sender, opening.sender.as_json())
        sha256 = write_chunks(paths, chunks, index)
        save_record(paths.submission_yaml, submission.model_copy(update={"chunks_sha256": sha256}))

    write_whole(run, submission.submission, fill)
    expected = forecast(
        shards,
        plan.rate,
        gpus_per_task=place.gpus_per_task,
        max_concurrent=place.max_concurrent,
        is_warm=place.warmth.of(plan.compilation.torch_compile),
    )
    return Opened(submission.submission, expected, plan, len(chunks))


def _check_length(run: RunPaths, record: RunRecord, after: int) -> None:
    """RunError where vLLM would compute otherwise with it than the first submission that ran did."""
    tried = [number for number in list_submissions(run) if number in list_tried(run)]
    if not tried or record.model.engine is not EngineKind.VLLM:
        return
    before = load_submission(run, tried[0]).engine.max_model_len
    bounds = length_bounds(read_json(Path(record.checkpoint.path, "config.json")) or {})
    bound = crossed(bounds, before, after)
    if bound is not None:
        side = "above" if bound < before else "at most"
        raise RunError(
            f"engine.max_model_len: the run began with {before}, got {after}, and vLLM computes this model"
            f" otherwise above {bound}. Write a number {side} {bound}, or submit a new run."
        )


def _plan_tasks(
    record: RunRecord, users: list[UserCost], num_items: int, config: RunConfig, place: Place
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
        max_num_seqs=engine.max_num_seqs,
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


def _planned(config: RunConfig, plan: TaskPlan) -> PlannedEngine:
    """What is kept of the planner's choice; nothing where it had none, or only vLLM would read it."""
    if config.engine.compiles is not None or config.model.engine is not EngineKind.VLLM:
        return PlannedEngine()
    return PlannedEngine(torch_compile=plan.compilation.torch_compile, why=plan.compilation.why)


def _missing(run: RunPaths, settled: Settled, *, retry_failed: bool) -> set[int]:
    missing = set(settled.missing(retry_failed=retry_failed))
    if missing:
        return missing
    failed = f", {settled.num_failed} failed (--retry-failed tries again)" if settled.num_failed else ""
    raise RunError(
        f"{run.root}: every item is settled{failed}; nothing is left to generate. Run `vllm-launch merge`,"
        " which takes settings of publish as well."
    )


def _mean_sample(settled: Settled, config: RunConfig) -> float | None:
    """Tokens of a sample by what earlier submissions generated; None while that is little."""
    if settled.num_done < ITEMS_TO_LEARN_FROM:
        return None
    return settled.num_output_tokens / (settled.num_done * config.sampling.samples_per_item)


def _costs(
    index: list[IndexEntry], missing: set[int], config: RunConfig, mean_sample: float | None
) -> list[UserCost]:
    sampling = config.sampling
    output = expected_output_tokens(
        sampling.samples_per_item,
        sampling.max_tokens,
        mean_sample,
        only_length_ends=sampling.ignore_eos and not (sampling.stop or sampling.stop_token_ids),
    )
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
    # No pid: one that was killed may have had the same, and left its directory.
    partial = SubmissionPaths(final.root.with_name(f".{number}.{secrets.token_hex(4)}"))
    with storage_errors(final.root):
        make_directory(partial.root, below=run.root)
        try:
            fill(partial)
            put_in_place(partial.root, final.root)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            raise RunError(
                f"{final.root}: another resume has just opened it. Look at `vllm-launch status`."
            ) from None
        finally:
            shutil.rmtree(partial.root, ignore_errors=True)
