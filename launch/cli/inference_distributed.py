"""`torchrun --nproc_per_node=N inference_distributed.py`: the Hugging Face baseline, a model on each GPU.

Rank 0 makes or continues the run and opens a submission of as many tasks as there are ranks; each rank works
on the task of its number, and takes from the others when its own is empty; rank 0 merges. Between the ranks
go two small messages over gloo: what to work on, and how it ended. All else is in the run directory.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from launch.cli.app import run_command
from launch.cli.broken_pipe import outlive_readers
from launch.cli.driving import run_tasks_here, tell_failure
from launch.cli.publishing import merge_and_tell
from launch.cli.ranks import Ranks, joined_ranks, own_words, tell_torchrun
from launch.cli.run_beside import open_here
from launch.cli.single_node import resolve_here, single_node_options
from launch.config.layers import Resolved
from launch.config.present import present
from launch.config.schema import EngineKind
from launch.errors import ConfigError, ExitCode
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_submission
from launch.worker.devices import visible_gpus
from launch.worker.driver import LocalTasks, drive

PROGRAM = "inference_distributed.py"
NOT_HERE = {
    "engine.tensor_parallel_size": "a model of transformers runs on one GPU. Leave it out, or use"
    " inference_vllm.py",
    "resources.num_tasks": "there is one task per process. Write torchrun's --nproc_per_node instead",
    "resources.max_concurrent": "all processes run at once. Write torchrun's --nproc_per_node instead",
}


@dataclass(frozen=True, slots=True)
class Assignment:
    """What all ranks work on; `submission` is None when every item is settled already."""

    run: RunPaths
    submission: int | None


@click.command(PROGRAM, context_settings={"help_option_names": ["-h", "--help"]})
@single_node_options
def command(**flags: Any) -> int:
    """Generate a dataset with Hugging Face transformers, one model per process of torchrun, and publish it.

    The baseline to compare vLLM with, and the way for architectures that vLLM does not know. Flags as for
    inference_vllm.py, without tensor parallelism; results in the same form.
    """
    with joined_ranks() as ranks:
        assignment = ranks.from_first(lambda: _assign(ranks, flags))
        if assignment is None:  # rank 0 has said why
            return ExitCode.OK
        code = _work(ranks, assignment)
        ranks.gather(code)
        return merge_and_tell(assignment.run) if ranks.rank == 0 else ExitCode.OK


def _assign(ranks: Ranks, flags: Mapping[str, Any]) -> Assignment | None:
    """Makes or continues the run and opens a submission for all ranks; None when nothing is to be started."""
    resolved = _resolve(flags, ranks.size)
    if flags["print_config"]:
        click.echo(present(resolved), nl=False)
        return None
    _own_gpus(ranks.local_size - 1)
    work = open_here(resolved, flags)
    if flags["dry_run"]:
        click.echo("dry run: nothing was started")
        return None
    return Assignment(work.run, work.opened.submission if work.opened else None)


def _resolve(flags: Mapping[str, Any], num_ranks: int) -> Resolved:
    """The settings, with what torchrun decides."""
    resolved = resolve_here(flags, {})
    for key, why in NOT_HERE.items():
        if resolved.origins[key].startswith("--"):
            raise ConfigError(f"{resolved.origins[key]}: {key}: {why}.")
    kind = resolved.config.model.engine
    if kind is EngineKind.VLLM:
        raise ConfigError(
            f"{resolved.origins['model.engine']}: model.engine: {PROGRAM} runs transformers, got vllm. Use"
            " inference_vllm.py."
        )
    decided: dict[str, tuple[str, Any]] = {
        "model.engine": (PROGRAM, EngineKind.STUB if kind is EngineKind.STUB else EngineKind.TRANSFORMERS),
        "engine.tensor_parallel_size": (PROGRAM, 1),
        "engine.engines_per_node": (PROGRAM, 1),
        "resources.num_tasks": (PROGRAM, num_ranks),
        "resources.max_concurrent": (PROGRAM, num_ranks),
    }
    return resolve_here(flags, decided)


def _own_gpus(local_rank: int) -> tuple[str, ...]:
    """The GPU of a rank on this host, by its number; none on a machine without GPUs."""
    gpus = visible_gpus()
    if gpus and local_rank >= len(gpus):
        raise ConfigError(
            f"--nproc_per_node: {len(gpus)} GPUs are visible ({','.join(gpus)}), and each process wants one."
            f" Write --nproc_per_node={len(gpus)}."
        )
    return (gpus[local_rank],) if gpus else ()


def _work(ranks: Ranks, assignment: Assignment) -> int:
    """Runs this rank's task to its end, if it has one; the exit code."""
    run, submission = assignment.run, assignment.submission
    if submission is None or ranks.rank >= load_submission(run, submission).num_tasks:
        return ExitCode.OK
    gpus = _own_gpus(ranks.local_rank)
    tasks = LocalTasks(run, submission, (ranks.rank,), run.logs, gpus, gpus_per_task=len(gpus))
    if ranks.rank == 0:
        return run_tasks_here(tasks, ranks.agent)[0]
    (code,) = drive(tasks)
    tell_failure(tasks, ranks.rank, code)
    return code


def main() -> None:
    """Runs the command line of this process."""
    words = own_words(sys.argv[1:])
    if words is not None:
        outlive_readers()
        run_command(command, words, PROGRAM, tell_torchrun)
