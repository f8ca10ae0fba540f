"""The tasks of a submission on this machine (cluster none): run, shown, and told of when they fail."""

import click

from launch.cli.progress import TaskProgress, task_message
from launch.cli.runs import logs_dir
from launch.errors import ExitCode
from launch.rundir.journal import write_json
from launch.rundir.layout import RunPaths
from launch.rundir.process_mark import mark_process
from launch.rundir.records import load_run, load_submission, run_config
from launch.rundir.submissions import end_sending
from launch.worker.driver import LocalTasks, drive, visible_gpus
from launch.worker.outcome import ended_how


def tasks_here(run: RunPaths, submission: int) -> LocalTasks:
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
    tasks = tasks_here(run, submission)
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
    end_sending(run.submission(submission))
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
