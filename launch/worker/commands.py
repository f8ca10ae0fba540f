"""The commands by which processes of a task start each other, and where they find this package."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import launch
from launch.config.schema import RunConfig
from launch.rundir.attempts import EngineStart
from launch.rundir.layout import RunPaths
from launch.worker.caution import Caution
from launch.worker.startup.node_lock import WAIT_SHARE
from launch.worker.startup.packed_environment import PYTHON, is_image


def engine_command(
    run: RunPaths,
    at: EngineStart,
    config: RunConfig,
    changes: Mapping[str, Any] | None = None,
    caution: Caution | None = None,
    scratch: Path | None = None,
) -> list[str]:
    """Starts the engine process of one slot, in the container where there is one.

    A container has a Python of its own, which `resources.python` names (`python3`); -P keeps the working
    directory from being searched for modules. `changes` are those of the ladder to the section engine. With a
    packed environment the command is started by what stages that in `scratch`, the user's folder on the node.
    """
    resources = config.resources
    own = resources.python if resources.container and resources.python else sys.executable
    environment = resources.environment if scratch is not None else None
    python = own if environment is None or is_image(environment) else PYTHON
    numbers = ("submission", "task", "attempt", "slot", "start")
    options = [word for name in numbers for word in (f"--{name}", str(getattr(at, name)))]
    module = [python, "-P", "-m", "launch.worker.engine_process"]
    if changes:
        options += ["--changes", json.dumps(changes)]
    if caution is not None:
        options += ["--caution", caution.as_json()]
    if scratch is not None:
        options += ["--scratch", str(scratch)]
    command = [*resources.container, *module, str(run.root.absolute()), *options]
    if environment is None or scratch is None:
        return command
    staging = [sys.executable, "-P", "-m", "launch.worker.startup.packed_environment", str(environment)]
    staging += ["--scratch", str(scratch), "--python", own]
    if resources.stage_budget_gib is not None:
        staging += ["--budget-gib", str(resources.stage_budget_gib)]
    return [*staging, "--wait-s", f"{WAIT_SHARE * config.engine.start_timeout_s:g}", "--", *command]


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
