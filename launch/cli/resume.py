"""`vllm-launch resume`: sends exactly what a run still misses; identity cannot change, the rest can."""

import time
from typing import Any

import click
import psutil

from launch.cli.options import collect_flags, setting_options
from launch.cli.runs import find_process, find_run
from launch.cli.sending import Sending, open_and_show, send
from launch.config.identity import identity_differences
from launch.config.layers import Resolved, overlay
from launch.config.schema import RunConfig, Scheduler
from launch.config.wording import found
from launch.errors import ConfigError, RunError, SchedulerError
from launch.rundir.attempts import list_alive_attempts
from launch.rundir.identity import code_version
from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from launch.rundir.records import list_submissions, load_run, load_submission, run_config
from launch.slurm.submission import cancel_submission, open_rows, queue_of

CANCEL_WAIT_S = 120
CANCEL_POLL_S = 3


@click.command("resume", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run_name", metavar="RUN")
@click.option("--cluster", metavar="NAME", help="Somewhere else: a cluster's name or a YAML file.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any setting outside the identity.")
@click.option("--retry-failed", is_flag=True, help="Try items again that have failed for good.")
@click.option("--replace", is_flag=True, help="Cancel what is queued or running of this run first.")
@click.option("--accept-code-change", is_flag=True, help="Go on although vllm-launch itself has changed.")
@click.option(
    "--dry-run", is_flag=True, help="Write the submission, show plan and sbatch text; start nothing."
)
@click.option("--foreground", is_flag=True, help="With Slurm: wait until the run is published.")
@setting_options
def command(**flags: Any) -> int:
    """Send a run's missing items again.

    All but the identity (model, data, prompt, sampling) may change: tasks, GPUs, cluster, engine memory.
    """
    run = find_run(flags["run_name"])
    record = load_run(run)
    submissions = list_submissions(run)
    if not submissions:
        raise RunError(f"{run.root}: was never submitted to the end. Remove it and submit anew.")
    last = submissions[-1]
    changed = change(run_config(record, load_submission(run, last)), flags)
    for warning in changed.warnings:
        click.echo(f"note: {warning}", err=True)
    refuse_changed_code(run, last, accept=flags["accept_code_change"])
    close_submission(run, last, replace=flags["replace"])
    sending = Sending(flags["dry_run"], flags["foreground"], flags["retry_failed"])
    return send(run, open_and_show(run, changed.config, sending), sending)


def change(config: RunConfig, flags: dict[str, Any]) -> Resolved:
    """The configuration with what the flags change; ConfigError shows a difference in the identity."""
    changed = overlay(config, flags["cluster"], collect_flags(flags), flags["sets"])
    for key, before, after in identity_differences(config, changed.config):
        raise ConfigError(
            f"{key}: is part of the run's identity, which cannot change: the run has {found(before)}, asked"
            f" for {found(after)}. Submit a new run."
        )
    return changed


def refuse_changed_code(run: RunPaths, submission: int, *, accept: bool) -> None:
    """RunError when vllm-launch is not the one that made a submission, unless that is accepted."""
    before, now = load_submission(run, submission).code, code_version()
    if before != now and not accept:
        raise RunError(
            f"{run.root}: vllm-launch has changed since submission {submission}: {before.version}"
            f" ({before.digest[:12]}) -> {now.version} ({now.digest[:12]}). Go back to it, or say"
            " --accept-code-change."
        )


def close_submission(run: RunPaths, submission: int, *, replace: bool) -> None:
    """Makes sure that nothing of the last submission works any more: never two open at once."""
    if load_submission(run, submission).resources.scheduler is Scheduler.SLURM:
        waiting = open_rows(queue_of(run, submission)[1])
        if waiting and not replace:
            states = ", ".join(f"{row.name} {row.state}" for row in waiting[:3])
            raise RunError(
                f"{run.root}: submission {submission} still has {len(waiting)} jobs or tasks in the queue"
                f" ({states}). Wait, cancel it with `vllm-launch cancel`, or say --replace."
            )
        if waiting:
            cancel_submission(run, submission)
            _wait_until_gone(run, submission)
        return
    if replace:
        _stop_driver(run, submission)
    alive = list_alive_attempts(run, submission)
    if alive:
        tasks = ", ".join(str(task) for task, _ in alive[:5])
        raise RunError(
            f"{run.root}: submission {submission} still works on task {tasks}. Wait for it, cancel it with"
            " `vllm-launch cancel`, or say --replace."
        )


def _stop_driver(run: RunPaths, submission: int) -> None:
    """Tells the process on this machine that drives a submission to stop, and waits until it has."""
    driver = find_process(read_json(run.submission(submission).driver))
    if driver is not None:
        driver.terminate()
        psutil.wait_procs([driver], timeout=CANCEL_WAIT_S)


def _wait_until_gone(run: RunPaths, submission: int) -> None:
    """Returns when the queue holds none of the submission's jobs any more."""
    for _ in range(CANCEL_WAIT_S // CANCEL_POLL_S):
        if not open_rows(queue_of(run, submission)[1]):
            return
        time.sleep(CANCEL_POLL_S)
    raise SchedulerError(
        f"{run.root}: submission {submission} was cancelled {CANCEL_WAIT_S} s ago and is still in the queue."
        " Look at squeue, then resume again."
    )
