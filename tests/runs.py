"""Builds real run directories for tests: demo scenario, tiny checkpoint, stub engine unless told."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch.config.datasets import with_dataset
from launch.config.layers import Layers, resolve
from launch.config.schema import RunConfig
from launch.rundir.create import RunRequest, create_run
from launch.rundir.layout import RunPaths
from launch.rundir.sharing import Place
from launch.rundir.submissions import open_submission
from tests.models import make_tiny_llama

REPOSITORY = Path(__file__).resolve().parent.parent
SCENARIOS = REPOSITORY / "demo" / "scenarios"
RUN_S = 150
"""What a small run may take: a claim that a kill left empty is waited for until it is a minute old."""


def make_config(
    checkpoint: Path, dataset: str = "Chameleons", settings: Mapping[str, Any] | None = None
) -> RunConfig:
    """quick_test on all items of a demo scenario, with the stub engine; `settings` by dotted key."""
    values = {
        "model.checkpoint": str(checkpoint),
        "model.engine": "stub",
        "data.dataset": dataset,
        "data.limit_items": None,
        **(settings or {}),
    }
    flags = {key: (f"--{key}", value) for key, value in values.items()}
    return with_dataset(resolve(Layers("quick_test", "none", flags)).config, SCENARIOS)


def make_run(
    root: Path,
    dataset: str = "Chameleons",
    settings: Mapping[str, Any] | None = None,
    *,
    name: str = "run",
    num_tasks: int = 1,
    checkpoint: Path | None = None,
) -> RunPaths:
    """A run in `root`/runs with one submission of `num_tasks` tasks, not started."""
    model = checkpoint or root / "model"
    if not model.exists():
        make_tiny_llama(model)
    values = {"resources.num_tasks": num_tasks, **(settings or {})}
    config = make_config(model, dataset, values)
    published = root / "leaderboards" / name
    config = config.model_copy(
        update={"publish": config.publish.model_copy(update={"output_dir": published})}
    )
    run = create_run(RunRequest(config, "quick_test", root / "runs", name))
    open_submission(run, config, Place(1000, 1, 0))
    return run


def run_task(
    run: RunPaths, task: int = 0, *, submission: int = 1, environment: Mapping[str, str] | None = None
) -> int:
    """Runs one task to its end in a process of its own; its exit code."""
    command = [sys.executable, "-m", "launch.worker", str(run.root)]
    done = subprocess.run(
        [*command, "--submission", str(submission), "--task", str(task)],
        cwd=REPOSITORY,
        env=environment,
        check=False,
        capture_output=True,
    )
    return done.returncode
