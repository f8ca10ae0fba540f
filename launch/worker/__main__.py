"""`python -m launch.worker RUN --submission S --task T`: one attempt of one task, on its node."""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.errors import ExitCode, LaunchError
from launch.rundir.layout import RunPaths
from launch.rundir.rounds import why_stopped
from launch.rundir.storage_errors import storage_trouble
from launch.worker.monitoring import say
from launch.worker.processes import tie_to_parent
from launch.worker.supervisor import supervise


def main(argv: Sequence[str]) -> int:
    """Runs the attempt; its exit code. A user's error is one line on stderr."""
    parser = argparse.ArgumentParser(prog="launch.worker", description=__doc__)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--submission", type=int, required=True, help="number of the submission, from 1")
    parser.add_argument("--task", type=int, required=True, help="number of the task, from 0")
    parser.add_argument("--round", type=int, default=0, help="of a follow-up queued with the submission")
    parser.add_argument("--tied", type=int, metavar="PID", help="end when this parent process ends")
    parser.add_argument("--began", type=float, metavar="TIME", help="of the batch shell, since the epoch")
    values = parser.parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # what a log of another encoding lacks is spelled
        sys.stdout.reconfigure(errors="backslashreplace")
    if values.tied is not None and not tie_to_parent(values.tied):
        return ExitCode.CONTINUE
    try:
        run = RunPaths(values.run.absolute())
        if values.round and (why := why_stopped(run, values.submission)):
            print(f"follow-up {values.round} has nothing to do: {why}")
            return ExitCode.OK
        return supervise(run, values.submission, values.task, values.began)
    except (LaunchError, OSError) as error:
        ours = error if isinstance(error, LaunchError) else storage_trouble(error)
        if ours is None:
            raise
        say(str(ours))
        return ours.exit_code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # nothing to wait for: a sampler that hangs in a driver is a daemon thread
