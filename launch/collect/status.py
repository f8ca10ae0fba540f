"""Where a run stands, from files: names, commits, the small files of attempts. The scheduler only advises."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from launch.collect.gpu_now import GpuNow, no_gpus, read_gpus
from launch.collect.ledger.so_far import gpu_time_so_far
from launch.collect.manifest import read_published
from launch.collect.merge import output_dir_of
from launch.collect.pace import WINDOW_S, TaskWork, measure_pace
from launch.collect.queue_look import QueueLook, rows_by_task
from launch.collect.shard_progress import ShardProgress, shard_progress
from launch.collect.status_record import PublishedStatus, RunNames, RunStatus, SubmissionStatus
from launch.collect.survey import Survey
from launch.collect.task_status import Asked, TaskState, TaskStatus, read_task
from launch.config.schema import Scheduler
from launch.errors import RunError
from launch.rundir.attempts import clock_of, list_tasks
from launch.rundir.canary import read_canary
from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from launch.rundir.one_look import one_look
from launch.rundir.plan import load_counts
from launch.rundir.process_mark import ProcessMark, read_mark
from launch.rundir.records import RunRecord, SubmissionRecord, load_run, load_submissions
from launch.rundir.rounds import why_stopped
from launch.slurm.commands import QueueRow
from launch.slurm.states import JobPhase, job_phase


def status(run: RunPaths, queue: QueueLook | None = None, survey: Survey | None = None) -> RunStatus:
    """Reads the state of a run; `queue` is what Slurm says of its newest submission, where it was asked.

    Read are names, commits, the small files of each task's last attempt, and ends of journals: no logs, and
    of results only what a killed engine left uncommitted. RunError where the run's records are damaged.
    Who looks again and again keeps a `survey`: commits are read on then.
    """
    with one_look():
        return _status(run, queue, Survey(run) if survey is None else survey)


def _status(run: RunPaths, queue: QueueLook | None, survey: Survey) -> RunStatus:
    record, counts = load_run(run), load_counts(run)
    submissions = load_submissions(run, record)
    newest = submissions[-1].submission if submissions else 0
    now = clock_of(run.root)
    survey.read_on(newest, now)
    settled = survey.settled
    output_dir = output_dir_of(run, submissions[-1].publish) if submissions else None
    published, trouble = _published(output_dir, record.run_id)
    seen = tuple(
        _submission(run, each, survey, now, queue if each.submission == newest else None)
        for each in submissions
    )
    tasks = seen[-1].tasks if seen else ()
    return RunStatus(
        run_id=record.run_id,
        root=run.root,
        names=_names(record),
        engine=record.model.engine.value,
        stub=record.model.engine.value == "stub",
        subset=record.subset,
        num_users=counts.num_users,
        num_items=counts.num_items,
        num_done=settled.num_done,
        num_failed=settled.num_failed,
        num_missing=settled.num_missing,
        num_prompt_tokens=settled.num_prompt_tokens,
        num_output_tokens=settled.num_output_tokens,
        submissions=seen,
        output_dir=output_dir,
        published=published,
        trouble=trouble,
        canary=read_canary(run),
        pace=measure_pace([_work(task, survey, now) for task in tasks], settled.num_missing),
        gpus=_gpus(run, newest, tasks, now),
        gpu_time=None if published is not None and published.complete else gpu_time_so_far(run, submissions),
        queue_age_s=None if queue is None else max(0.0, round(now - queue.asked, 1)),
    )


def _names(record: RunRecord) -> RunNames:
    return RunNames(
        preset=record.preset,
        model=record.checkpoint.hub_id or Path(record.checkpoint.adapter or record.checkpoint.path).name,
        dataset=record.data.dataset or Path(record.data.scenario_path or "").name,
        ablation=record.prompt.ablation_config.value,
    )


def _work(task: TaskStatus, survey: Survey, now: float) -> TaskWork:
    """What a task settled lately, by the file system's clock."""
    ahead = task.clock_ahead_s
    recent = ((now - time + ahead, tokens) for time, tokens in survey.recent[task.task])
    return TaskWork(task.task, task.generating_s, tuple(each for each in recent if each[0] <= WINDOW_S))


def _gpus(run: RunPaths, submission: int, tasks: Sequence[TaskStatus], now: float) -> GpuNow | None:
    """What the GPUs of running tasks do; that there was none where nothing runs or waits any more."""
    running = [task for task in tasks if task.state is TaskState.RUNNING and task.attempt is not None]
    if running or any(task.state is TaskState.WAITING for task in tasks):
        attempts = ((run.attempt(submission, task.task, task.attempt or 0), task) for task in running)
        return read_gpus([(paths, now + task.clock_ahead_s) for paths, task in attempts])
    return no_gpus(tasks)


def _published(output_dir: Path | None, run_id: str) -> tuple[PublishedStatus | None, str | None]:
    if output_dir is None:
        return None, None
    try:
        manifest = read_published(output_dir)
    except RunError as error:
        return None, str(error)
    if manifest is None:
        return None, None
    if manifest.run_id != run_id:
        return None, f"{output_dir}: holds the results of run {manifest.run_id}."
    return PublishedStatus(output_dir, manifest.published, manifest.complete, manifest.num_done), None


def _submission(
    run: RunPaths, record: SubmissionRecord, survey: Survey, now: float, queue: QueueLook | None
) -> SubmissionStatus:
    number = record.submission
    if record.resources.scheduler is not Scheduler.SLURM:
        queue = None
    rows, merge_row = rows_by_task(run, number, queue.rows) if queue is not None else ({}, None)
    paths = run.submission(number)
    is_sent = paths.jobs.exists() or paths.driver.exists() or bool(list_tasks(run, number))
    asked = Asked(rows, now, queue, is_sent)
    states = survey.settled.states
    shards = shard_progress(paths, record.chunks_sha256, states) if number == survey.newest else {}
    tasks = (
        read_task(run, number, task, survey.by_task[number, task], asked) for task in range(record.num_tasks)
    )
    return SubmissionStatus(
        submission=number,
        created=record.created,
        num_items=record.num_items,
        num_settled=sum(survey.by_task[number, task] for task in range(record.num_tasks)),
        merge_job=None if merge_row is None else _job_in_words(merge_row, queue),
        tasks=tuple(_with_shard(task, shards) for task in tasks),
        round=record.round,
        stopped=why_stopped(run, number),
        merge_is_open=merge_row is not None and job_phase(merge_row.state) is not JobPhase.ENDED,
        driver_lives=_lives(read_mark(read_json(paths.driver))),
    )


def _lives(driver: ProcessMark | None) -> bool | None:
    """Whether it does; None where that cannot be told from here: another host's, or one that /proc hides."""
    if driver is None or not (driver.is_here or driver.is_gone):
        return None
    return driver.is_here


def _job_in_words(row: QueueRow, queue: QueueLook | None) -> str:
    """`PENDING (Dependency: waits for other jobs of this run to end)`; the state alone where that is all."""
    if row.reason == "None" and job_phase(row.state) is not JobPhase.WAITING:
        return row.state
    return f"{row.state} ({row.reason if queue is None else queue.why(row)})"


def _with_shard(task: TaskStatus, shards: Mapping[int, ShardProgress]) -> TaskStatus:
    shard = shards.get(task.task)
    if shard is None:
        return task
    return replace(task, shard_items=shard.num_items, shard_settled=shard.num_settled)
