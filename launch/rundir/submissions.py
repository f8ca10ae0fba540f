"""Opens a submission: the missing items of a run, shared over tasks, cut into chunks, with new claims."""

import errno
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.config.schema import EngineKind, RunConfig
from launch.errors import RunError
from launch.model.length_bounds import crossed, length_bounds
from launch.planning.chunks import Chunk
from launch.planning.forecast import Forecast
from launch.planning.tasks import TaskPlan
from launch.rundir.attempts import list_tried
from launch.rundir.chunks import write_chunks
from launch.rundir.durable import make_directory, put_in_place
from launch.rundir.identity import code_version
from launch.rundir.journal import read_json, write_json
from launch.rundir.layout import RunPaths, SubmissionPaths
from launch.rundir.missing_items import cost_missing, mean_sample, missing_items
from launch.rundir.plan import IndexEntry, read_index
from launch.rundir.process_mark import ProcessMark, mark_process
from launch.rundir.progress import survey_settled
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
from launch.rundir.sharing import Place, Sharing, share
from launch.rundir.storage_errors import storage_errors


@dataclass(frozen=True, slots=True)
class Opened:
    """A submission that is written and not sent: its number, how it is shared, what it should take."""

    submission: int
    forecast: Forecast
    plan: TaskPlan
    num_chunks: int


@dataclass(frozen=True, slots=True)
class Opening:
    """Who opens a submission.

    `after` is the one before it, which was closed: only the next one is opened then. `sender` will send it,
    None where nobody will.
    """

    after: int | None = None
    sender: ProcessMark | None = None


NOT_SENT = Opening()


def begin_sending(paths: SubmissionPaths) -> None:
    """Says that this process sends a submission that another had opened."""
    write_json(paths.sender, mark_process().as_json())


def end_sending(paths: SubmissionPaths) -> None:
    """From here on the queue, or the mark of the driver, says whether a submission is at work."""
    with storage_errors(paths.sender):
        paths.sender.unlink(missing_ok=True)


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
    missing = missing_items(run, settled, retry_failed=retry_failed)
    index = list(read_index(run))
    work = cost_missing(index, missing, config, mean_sample(settled, config))
    record = load_run(run)
    _check_length(run, record, config.engine.max_model_len)
    sharing = share(record, work, config, place)
    submission = _planned_record(record.run_id, after + 1, config, sharing, number_of_round)
    _write(run, submission, sharing.chunks, index, opening.sender)
    return Opened(submission.submission, sharing.forecast, sharing.plan, len(sharing.chunks))


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


def _planned_record(
    run_id: str, number: int, config: RunConfig, sharing: Sharing, number_of_round: int
) -> SubmissionRecord:
    return SubmissionRecord(
        run_id=run_id,
        submission=number,
        created=now(),
        engine=config.engine,
        resources=config.resources,
        canary=config.canary,
        publish=config.publish,
        code=code_version(),
        num_tasks=len(sharing.shards),
        num_chunks=len(sharing.chunks),
        num_items=sharing.num_items,
        arrays=tuple(ArrayRecord(offset=offset, size=size) for offset, size in sharing.arrays),
        round=number_of_round,
        planned=_planned_engine(config, sharing.plan),
    )


def _planned_engine(config: RunConfig, plan: TaskPlan) -> PlannedEngine:
    """What is kept of the planner's choice; nothing where it had none, or only vLLM would read it."""
    if config.engine.compiles is not None or config.model.engine is not EngineKind.VLLM:
        return PlannedEngine()
    return PlannedEngine(torch_compile=plan.compilation.torch_compile, why=plan.compilation.why)


def _write(
    run: RunPaths,
    submission: SubmissionRecord,
    chunks: Sequence[Chunk],
    index: Sequence[IndexEntry],
    sender: ProcessMark | None,
) -> None:
    def fill(paths: SubmissionPaths) -> None:
        paths.claims.mkdir()
        if sender is not None:
            write_json(paths.sender, sender.as_json())
        sha256 = write_chunks(paths, chunks, index)
        save_record(paths.submission_yaml, submission.model_copy(update={"chunks_sha256": sha256}))

    write_whole(run, submission.submission, fill)


def write_whole(run: RunPaths, number: int, fill: Callable[[SubmissionPaths], None]) -> None:
    """Fills a directory beside its place and renames it; a submission of that number that is there wins."""
    final = run.submission(number)
    # No pid: one that was killed may have had the same, and left its directory.
    partial = run.partial_submission(number, secrets.token_hex(4))
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
