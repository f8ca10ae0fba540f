"""`vllm-launch resume`: sends exactly what a run still misses; identity cannot change, the rest can."""

from collections.abc import Mapping
from typing import Any

import click

from launch.cli.closing import Closing, close_newest
from launch.cli.options import collect_flags, setting_options
from launch.cli.place import check_environment
from launch.cli.publish_settings import check_publishing
from launch.cli.runs import find_run
from launch.cli.sending import Sending, open_and_show, send
from launch.collect.unseen import wait_until_seen
from launch.config.identity import identity_differences
from launch.config.layers import Resolved, overlay
from launch.config.schema import RunConfig
from launch.config.wording import found
from launch.errors import ConfigError, RunError
from launch.rundir.identity import code_version
from launch.rundir.layout import RunPaths
from launch.rundir.plan import read_index
from launch.rundir.records import list_submissions, load_run, load_submission, run_config
from launch.rundir.submissions import never_submitted


@click.command("resume", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run_name", metavar="RUN")
@click.option("--cluster", metavar="NAME", help="Somewhere else: a cluster's name or a YAML file.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any setting outside the identity.")
@click.option("--retry-failed", is_flag=True, help="Try items again that have failed for good.")
@click.option("--replace", is_flag=True, help="Cancel what is queued or running of this run first.")
@click.option(
    "--assume-dead", is_flag=True, help="Take for dead what nobody here can tell (another cluster's jobs)."
)
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
        raise never_submitted(run)
    last = submissions[-1]
    changed = change(run_config(record, load_submission(run, last)), flags)
    for warning in changed.warnings:
        click.echo(f"note: {warning}", err=True)
    refuse_changed_code(run, last, accept=flags["accept_code_change"])
    check_environment(changed.config)
    check_publishing(run, changed.config.publish)
    next(read_index(run), None)  # what would be refused is, before anything is stopped
    last, dead = close_newest(run, closing_of(flags))
    wait_until_seen(run, lambda text: click.echo(f"note: {text}", err=True))
    sending = Sending(
        flags["dry_run"], flags["foreground"], flags["retry_failed"], assumed_dead=dead, after=last
    )
    return send(run, open_and_show(run, changed.config, sending), sending)


def closing_of(flags: Mapping[str, Any]) -> Closing:
    """A dry run stops nothing, and refuses as without --replace."""
    if flags["dry_run"] and flags["replace"]:
        return Closing(assume_dead=flags["assume_dead"], to_replace="say --replace without --dry-run")
    return Closing(flags["replace"], flags["assume_dead"])


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
            f" ({before.digest[:12]}) -> {now.version} ({now.digest[:12]}). Go back to it, or go"
            f" on with `vllm-launch resume {run.root} --accept-code-change`."
        )
