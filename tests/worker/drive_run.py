"""`python -m tests.worker.drive_run RUN NUM_TASKS GPUS GPUS_PER_TASK`: the driver as a process of its own.

GPUS is as in CUDA_VISIBLE_DEVICES. Prints a JSON line per change, `[[state, starts, code, gpus], ...]`, and
last the exit codes.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.rundir.layout import RunPaths
from launch.worker.devices import split_ids
from launch.worker.driver import LocalTasks, TaskView, drive


def show(views: Sequence[TaskView]) -> None:
    """A line for what the driver says."""
    print(json.dumps([[view.state, view.num_starts, view.code, view.gpus] for view in views]), flush=True)


if __name__ == "__main__":
    run, num_tasks, gpus, gpus_per_task = sys.argv[1:]
    tasks = LocalTasks(
        run=RunPaths(Path(run)),
        submission=1,
        tasks=range(int(num_tasks)),
        log_dir=Path(run).parent / "slurm_logs" / "run",
        gpus=tuple(split_ids(gpus)),
        gpus_per_task=int(gpus_per_task),
    )
    print(json.dumps(drive(tasks, show)), flush=True)
