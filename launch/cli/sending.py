"""What submit and resume share: open a submission, show its plan, send it to Slurm or drive it here."""

import time
from dataclasses import dataclass
from pathlib import Path

import click

from launch.cli.plan_table import show_plan
from launch.cli.progress import TaskProgress, task_message
from launch.cli.publishing import merge_and_tell
from launch.cli.runs import logs_dir
from launch.collect.merge import output_dir_of
from launch.collect.publish import check_output_dir, refuse_within, try_writing
from launch.collect.reference_file import check_references
from launch.config.gpus import find_gpu_type, measured_type
from launch.config.schema import EngineKind, PublishConfig, ResourcesConfig, RunConfig, Scheduler
from launch.errors import ConfigError, ExitCode
from launch.planning.forecast import COLD, Warmth
from launch.rundir.journal import storage_errors, write_json
from launch.rundir.layout import RunPaths
from launch.rundir.process_mark import mark_process
from launch.rundir.records import (
    RunRecord,
    list_submissions,
    load_run,
    load_submission,
    run_config,
    save_record,
)
from launch.rundir.sharing import Place
from launch.rundir.submissions import Opened, Opening, open_submission
from launch.slurm.commands import commands_missing, max_array_size
from launch.slurm.executors import NotSentError
from launch.slurm.shared_queue import has_squeue, share_answer
from launch.slurm.states import JobPhase, job_phase
from launch.slurm.submission import (
    SentJob,
    command_arguments,
    forget_refused,
    num_queued_rounds,
    send_submission,
    write_jobs,
)
from launch.slurm.submit_limits import submit_limit
from launch.worker.driver import LocalTasks, drive, visible_gpus
from launch.worker.gpu_settings import device_name
from launch.worker.outcome import ended_how
from launch.worker.startup.expected_caches import expect_here, expect_on_nodes
from launch.worker.startup.node_caches import shared_cache_dir

UNLIMITED_ARRAY = 1_000_000
FOLLOW_PERIOD_S = 10


@dataclass(frozen=True, slots=True)
class Sending:
    """How to send: `dry_run` starts nothing, `foreground` waits for Slurm; merge jobs send rounds from 1.

    `after` is the submission before, which was closed, and `assumed_dead` what of it was only assumed to be
    dead.
    """

    dry_run: bool = False
    foreground: bool = False
    retry_failed: bool = False
    round: int = 0
    assumed_dead: tuple[str, ...] = ()
    after: int | None = None

    @property
    def opening(self) -> Opening:
        """Who opens the submission: this process, which sends it next."""
        return Opening(self.after, None if self.dry_run else mark_process())


def open_and_show(run: RunPaths, config: RunConfig, sending: Sending) -> Opened:
    """Opens a submission of what is missing and prints its plan."""
    record = load_run(run)
    publish = check_publishing(run, config.publish)
    resources = config.resources
    on_slurm = resources.scheduler is Scheduler.SLURM
    gpus = [] if on_slurm else visible_gpus()
    concurrent = resources.max_concurrent if on_slurm else _places(config, len(gpus))
    place = Place(
        max_array_size=(resources.max_array_size or max_array_size()) if on_slurm else UNLIMITED_ARRAY,
        max_concurrent=concurrent,
        gpus_per_task=config.gpus_per_task if on_slurm or gpus else 0,
        gpu_type=_asked_type(resources) if on_slurm else _type_here(gpus),
        max_submit=_max_submit(resources) if on_slurm else (None, ""),
        warmth=_warmth(run, record, config),
    )
    opened = open_submission(
        run,
        config.model_copy(update={"publish": publish}),
        place,
        retry_failed=sending.retry_failed,
        number_of_round=sending.round,
        opening=sending.opening,
    )
    if sending.assumed_dead:
        sent = load_submission(run, opened.submission)
        kept = sent.model_copy(update={"assumed_dead": sending.assumed_dead})
        save_record(run.submission(opened.submission).submission_yaml, kept)
    show_plan(run, opened)
    return opened


def check_environment(config: RunConfig) -> None:
    """ConfigError where this machine is to start engines from a packed environment that is not there."""
    environment = config.resources.environment
    if config.resources.scheduler is Scheduler.NONE and environment and not environment.is_file():
        raise ConfigError(
            f"resources.environment: {environment}: no such file. Give the packed environment, or leave it"
            " out."
        )


def check_publishing(run: RunPaths, publish: PublishConfig) -> PublishConfig:
    """How a run will be published, with whole paths; errors say why it cannot be."""
    references = check_references(publish.references)
    return publish.model_copy(update={"output_dir": check_place(run, publish), "references": references})


def check_place(run: RunPaths, publish: PublishConfig) -> Path:
    """The whole path of where a run will be published; RunError, StorageError say why it cannot be."""
    published = output_dir_of(run, publish)
    refuse_within(run.root, published)
    check_output_dir(published, load_run(run).run_id)
    try_writing(published)
    return published


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


def send(run: RunPaths, opened: Opened, sending: Sending) -> int:
    """Sends an opened submission; with Slurm it returns at once unless in the foreground."""
    sent = load_submission(run, opened.submission)
    if sent.resources.scheduler is Scheduler.SLURM:
        return _send_to_slurm(run, opened.submission, sending)
    if sending.dry_run:
        click.echo("dry run: nothing was started")
        return ExitCode.OK
    run_tasks_here(_tasks_here(run, opened.submission))
    return merge_and_tell(run)


def _send_to_slurm(run: RunPaths, submission: int, sending: Sending) -> int:
    logs = logs_dir(run)
    if sending.dry_run:
        for job in write_jobs(run, submission):
            after = [f"<{name}>" for name in job.after]  # they have no ids yet
            words = " ".join(["sbatch", *command_arguments(job, logs, run, after)])
            click.echo(f"\n--- {job.name}.sbatch, sent by: {words}\n{job.text}")
        click.echo("dry run: nothing was sent")
        return ExitCode.OK
    for sent in send_marked(run, submission):
        what = (
            f"tasks {sent.offset} to {sent.offset + sent.size - 1}" if sent.size else "merge, after them all"
        )
        what += f", follow-up {sent.round}" if sent.round else ""
        click.echo(f"{'job':<12}{sent.job_id}: {what}")
    click.echo(f"{'logs':<12}{logs}")
    click.echo(f"next: vllm-launch status {run.root}")
    return _follow(run, submission) if sending.foreground else ExitCode.OK


def begin_sending(run: RunPaths, submission: int) -> None:
    """Says that this process sends a submission that another had opened."""
    write_json(run.submission(submission).sender, mark_process().as_json())


def send_marked(run: RunPaths, submission: int) -> list[SentJob]:
    """Sends the jobs of a submission whose sender this process is, which it is no longer afterwards."""
    try:
        return send_submission(run, submission, logs_dir(run))
    except NotSentError:
        forget_refused(run.submission(submission))
        raise
    finally:
        _end_sending(run, submission)


def _end_sending(run: RunPaths, submission: int) -> None:
    """From here on the queue, or the mark of the driver, says whether a submission is at work."""
    sender = run.submission(submission).sender
    with storage_errors(sender):
        sender.unlink(missing_ok=True)


def _follow(run: RunPaths, submission: int) -> int:
    """Waits until no job of the submission is left, nor of those that merge jobs sent after it.

    The exit code says whether the run was published.
    """
    while True:
        while _is_open(run, submission):
            time.sleep(FOLLOW_PERIOD_S)
        newest = list_submissions(run)[-1]
        if newest == submission:
            return merge_and_tell(run)
        click.echo(f"{'round':<12}submission {newest} generates what was missing")
        submission = newest


def _is_open(run: RunPaths, submission: int) -> bool:
    """Whether Slurm still has a job of a submission, by the answer that its tasks share.

    An error says nothing; SchedulerError where there is no squeue to ask.
    """
    answer = share_answer(run.submission(submission))
    if not has_squeue():
        raise commands_missing("squeue")
    if answer is None or answer.error is not None:
        return True
    return any(job_phase(row.state) is not JobPhase.ENDED for row in answer.rows)


def _tasks_here(run: RunPaths, submission: int) -> LocalTasks:
    """Every task of a submission, on all GPUs of this machine."""
    sent = load_submission(run, submission)
    config = run_config(load_run(run), sent)
    gpus = tuple(visible_gpus())
    return LocalTasks(
        run=run,
        submission=submission,
        tasks=range(sent.num_tasks),
        log_dir=logs_dir(run),
        gpus=gpus,
        gpus_per_task=config.gpus_per_task if gpus else 0,
        max_concurrent=sent.resources.max_concurrent,
    )


def note_idle_gpus(run: RunPaths, submission: int) -> None:
    """Says when this machine has GPUs that no engine of a submission will use."""
    tasks = _tasks_here(run, submission)
    used = len(tasks.tasks) * tasks.gpus_per_task
    more = len(tasks.gpus) // max(1, tasks.gpus_per_task)
    if tasks.uses_gpus and used + tasks.gpus_per_task <= len(tasks.gpus):
        click.echo(
            f"note: {used} of {len(tasks.gpus)} visible GPUs will be used; --num_tasks {more} uses all",
            err=True,
        )


def run_tasks_here(tasks: LocalTasks, driver: int | None = None) -> list[int]:
    """Runs tasks on this machine, shows how far they are, says why one failed; their exit codes.

    `driver` is the process to stop in order to stop them all, this one unless given.
    """
    run, submission = tasks.run, tasks.submission
    write_json(run.submission(submission).driver, mark_process(driver).as_json())
    _end_sending(run, submission)
    with TaskProgress(run, submission, load_submission(run, submission).num_items) as progress:
        codes = drive(tasks, progress.update)
    for task, code in zip(tasks.tasks, codes, strict=True):
        tell_failure(tasks, task, code)
    return codes


def tell_failure(tasks: LocalTasks, task: int, code: int) -> None:
    """Says why a task ended with a code that is not 0."""
    if code != ExitCode.OK:
        said = task_message(tasks.run, tasks.submission, task, tasks.log_dir)
        how = f"ended with {code}" if code > 0 else ended_how(code)
        click.echo(f"task {task} {how}: {said}", err=True)
