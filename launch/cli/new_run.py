"""A new run: preset + cluster + flags -> configuration -> run -> plan -> jobs, or tasks on this machine."""

import os
import shutil
from pathlib import Path
from typing import Any

import click

from launch.cli.options import collect_flags
from launch.cli.place import check_environment
from launch.cli.sending import Sending, open_and_show, send
from launch.collect.merge import output_dir_of
from launch.collect.publish import check_output_dir, refuse_within, try_writing
from launch.config.datasets import with_dataset
from launch.config.layers import Layers, Resolved, resolve
from launch.config.present import present
from launch.config.schema import RunConfig
from launch.errors import ExitCode, SchedulerError
from launch.rundir.create import RunRequest, create_run
from launch.rundir.layout import RunPaths
from launch.slurm.commands import knows_cluster

CLUSTER_VARIABLE = "VLLM_LAUNCH_CLUSTER"
SLURM_CONFIGURATIONS = ("/etc/slurm/slurm.conf", "/run/slurm/conf/slurm.conf")


def submit(flags: dict[str, Any]) -> int:
    """Makes a run of the flags of `vllm-launch submit` and sends it; the exit code."""
    resolved = _resolve(flags)
    if flags["print_config"]:
        click.echo(present(resolved), nl=False)
        return ExitCode.OK
    config = with_dataset(resolved.config, flags["data_root"])
    check_environment(config)
    request = RunRequest(
        config=config,
        preset=resolved.preset,
        runs_dir=flags["runs_dir"].absolute(),
        name=flags["name"],
        notes=resolved.warnings,
        places=resolved.places,
    )
    run = create_run(request, lambda planned: _refuse_output(planned, config))
    sending = Sending(dry_run=flags["dry_run"], foreground=flags["foreground"])
    try:
        opened = open_and_show(run, config, sending)
    except BaseException:
        shutil.rmtree(run.root, ignore_errors=True)  # a run without a submission is of no use
        raise
    return send(run, opened, sending)


def _refuse_output(run: RunPaths, config: RunConfig) -> None:
    """Before the run is made: a new run owns nothing yet, not even what an old one of its name published."""
    output_dir = output_dir_of(run, config.publish)
    if config.publish.output_dir is not None or output_dir.exists():
        refuse_within(run.root, output_dir)
        check_output_dir(output_dir, run_id="")
        try_writing(output_dir)


def _resolve(flags: dict[str, Any]) -> Resolved:
    cluster, where = flags["cluster"], "--cluster"
    if not cluster:
        cluster, where = os.environ.get(CLUSTER_VARIABLE) or _find_cluster(), CLUSTER_VARIABLE
    return resolve(Layers(flags["preset"], cluster, collect_flags(flags), flags["sets"], where))


def _find_cluster() -> str:
    """slurm where sbatch and a configuration are, else none.

    SchedulerError where that cannot be told: a run that is meant for a cluster must not start here instead.
    """
    if shutil.which("sbatch") is None:
        return "none"
    if os.environ.get("SLURM_CONF") or any(Path(path).exists() for path in SLURM_CONFIGURATIONS):
        return "slurm"
    try:
        return "slurm" if knows_cluster() else "none"
    except SchedulerError as error:
        raise SchedulerError(f"{error} There is an sbatch: choose --cluster slurm or none.") from None
