"""Asks Slurm for those who look at a run, in a process of its own, which they need not wait for.

A question that a person broke off would leave those who must have the answer without one, and be put anew at
each look. So it goes on when nobody waits any more; what it brings is there for the next look, and for all.
"""

import os
import subprocess
import sys
from pathlib import Path

from launch.config.schema import ResourcesConfig
from launch.rundir.attempts import clock_of
from launch.rundir.layout import RunPaths, SubmissionPaths
from launch.rundir.records import load_submission
from launch.slurm.reason_limits import allowed_by
from launch.slurm.shared_queue import QueueAnswer, share_answer
from launch.slurm.states import JobPhase, job_phase
from launch.worker.commands import with_package


def start_asking(run: RunPaths, submission: int) -> None:
    """Starts the process that brings squeue.json and limits.json up to date; it is nobody's child."""
    command = [sys.executable, "-P", "-m", "launch.collect.queue_asker"]
    subprocess.run(
        ["/bin/sh", "-c", '"$@" &', "sh", *command, str(run.root.absolute()), str(submission)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=with_package(os.environ),
        start_new_session=True,  # Ctrl-C at the view is not for it
        check=False,
    )


def ask(paths: SubmissionPaths, resources: ResourcesConfig) -> None:
    """Asks what nobody has lately: squeue, and accounting for the limits that jobs wait for."""
    answer = share_answer(paths)
    if answer is not None and answer.error is None:
        allowed_by(paths, resources, waiting_reasons(answer), clock_of(paths.root), answer.cluster)


def waiting_reasons(answer: QueueAnswer) -> set[str]:
    """Why jobs wait, in Slurm's words."""
    return {row.reason for row in answer.rows if job_phase(row.state) is JobPhase.WAITING}


if __name__ == "__main__":
    _run, _number = RunPaths(Path(sys.argv[1])), int(sys.argv[2])
    ask(_run.submission(_number), load_submission(_run, _number).resources)
