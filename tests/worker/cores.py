"""vLLM's own processes below the engine process of a task."""

import psutil

from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from tests.worker.tasks import num_committed, wait_until

CORE_S = 120.0
"""Imports alone take half a minute where other work holds the cores."""


def core_of(run: RunPaths, start: int = 0) -> psutil.Process | None:
    """vLLM's engine core below the engine process of a start, once there is one."""
    about = read_json(run.attempt(1, 0, 0).attempt_json) or {"slots": []}
    if len(about["slots"]) <= start:
        return None
    try:
        children = psutil.Process(about["slots"][start]["pid"]).children()
    except psutil.NoSuchProcess:
        return None
    return next((child for child in children if is_core(child)), None)


def is_core(process: psutil.Process) -> bool:
    """Whether a child of an engine process is vLLM's core, which is spawned and then names itself."""
    try:
        return "spawn_main" in " ".join(process.cmdline()) or "EngineCore" in process.name()
    except psutil.NoSuchProcess:  # a zombie, too
        return False


def wait_for_core(run: RunPaths, start: int = 0) -> psutil.Process:
    """The engine core of a start, as soon as it is there."""
    wait_until(lambda: core_of(run, start) is not None, "an engine core", CORE_S)
    core = core_of(run, start)
    assert core is not None
    return core


def wait_for_busy_core(run: RunPaths, timeout_s: float, start: int = 0) -> psutil.Process:
    """The engine core of a start, as soon as it has committed a result.

    It is looked up before that: a tiny model may be through with the rest before anything else is read.
    """
    core = wait_for_core(run, start)
    wait_until(lambda: num_committed(run, start=start) > 0, "a result", timeout_s)
    return core
