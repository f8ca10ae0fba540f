"""The commands by which processes of a task start each other, and where they find this package."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import launch
from launch.config.schema import ResourcesConfig
from launch.rundir.attempts import EngineStart
from launch.rundir.layout import RunPaths
from launch.worker.caution import Caution


def engine_command(
    run: RunPaths,
    at: EngineStart,
    resources: ResourcesConfig,
    changes: Mapping[str, Any] | None = None,
    caution: Caution | None = None,
) -> list[str]:
    """Starts the engine process of one slot, in the container where there is one.

    A container has a Python of its own, which `resources.python` names (`python3`); -P keeps the working
    directory from being searched for modules. `changes` are those of the ladder to the section engine.
    """
    python = resources.python if resources.container and resources.python else sys.executable
    numbers = ("submission", "task", "attempt", "slot", "start")
    options = [word for name in numbers for word in (f"--{name}", str(getattr(at, name)))]
    module = [python, "-P", "-m", "launch.worker.engine_process"]
    if changes:
        options += ["--changes", json.dumps(changes)]
    if caution is not None:
        options += ["--caution", caution.as_json()]
    return [*resources.container, *module, str(run.root.absolute()), *options]


def task_command(run: RunPaths, submission: int, task: int, *, tied_to: int | None = None) -> list[str]:
    """Starts the supervisor of one task; `tied_to` is the pid of the process whose end ends it."""
    words = [sys.executable, "-P", "-m", "launch.worker", str(run.root.absolute())]
    words += ["--submission", str(submission), "--task", str(task)]
    return words if tied_to is None else [*words, "--tied", str(tied_to)]


def with_package(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with this package on PYTHONPATH, unless it is installed where Python looks anyway."""
    parent = Path(launch.__file__).resolve().parent.parent
    if parent.name in {"site-packages", "dist-packages"}:
        return dict(environment)
    paths = [str(parent), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    return {**environment, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
