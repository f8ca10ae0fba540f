"""Drives the worker's own engine process code on a run directory, with an engine that is there already."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from benchmarks.record import list_gpus
from launch.errors import ExitCode
from launch.rundir.attempts import EngineStart, open_attempt
from launch.rundir.layout import RunPaths
from launch.worker import engine_process
from launch.worker.caution import Caution
from launch.worker.channel import Channel
from launch.worker.chunk_requests import MakeRequest
from launch.worker.engines.protocol import Engine, EngineSetup
from launch.worker.environment import engine_environment, vllm_threads
from launch.worker.generator import Counts


def take_environment() -> None:
    """This process gets the environment that a supervisor gives to an engine process, with caches in /tmp."""
    caches = Path(tempfile.gettempdir()) / f"vllm-launch-benchmarks-{os.getuid()}"
    threads = None if list_gpus() else vllm_threads(len(os.sched_getaffinity(0)))
    made = engine_environment(os.environ, slot_gpus=None, scratch=caches, cpu_threads=threads)
    made.make_folders()
    os.environ.update(made.variables)


class NoSupervisor(Channel):
    """A channel whose messages are written and read by nobody; stdin and stdout stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        os.dup2(self._down, 0)
        os.dup2(self._up, 1)
        os.close(self._down)
        os.close(self._up)
        self._up = os.open(os.devnull, os.O_WRONLY)

    def close(self) -> None:
        """Gives its descriptor back."""
        os.close(self._up)


@dataclass(frozen=True, slots=True)
class Timed:
    """From the moment when the tokenizer is loaded, before the first prompt is made, until `work` returns.

    `cpu_s` is what all threads of this process used in that time; `counts` what was generated.
    """

    wall_s: float
    cpu_s: float
    counts: Counts


def work_through(
    run: RunPaths, engine_of: Callable[[EngineSetup], Engine], begin: Callable[[], None] = lambda: None
) -> Timed:
    """One task of a run to its end, as `python -m launch.worker.engine_process` does it.

    `engine_of` gives an engine that runs already. `begin` is called right before time is taken, in the
    reader's thread: there the work begins.
    """
    attempt, _ = open_attempt(run, 1, 0)
    at, began = EngineStart(1, 0, attempt, 0, 0), []
    opened = engine_process.open_request_maker

    def open_and_begin(*arguments: object) -> MakeRequest:
        make_request = opened(*arguments)
        begin()
        began.extend((time.monotonic(), time.process_time()))
        return make_request

    def start(setup: EngineSetup, _: Callable[[str], None]) -> Engine:
        return engine_of(setup)

    channel = NoSupervisor()
    with patch.object(engine_process, "open_request_maker", open_and_begin):
        code, counts = engine_process.work(run, at, channel, {}, Caution(), engine_process.Place(start=start))
    ended = time.monotonic(), time.process_time()
    channel.close()
    assert code is ExitCode.OK, code
    return Timed(ended[0] - began[0], ended[1] - began[1], counts)


def fresh_copy(planned: RunPaths, number: int) -> RunPaths:
    """The planned run once more, with nothing generated."""
    place = planned.root.with_name(f"{planned.root.name}-{number}")
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(planned.root, place)
    return RunPaths(place)


def results_of(run: RunPaths) -> list[Path]:
    """Its results files."""
    return sorted(run.tasks.glob("*/*/*/*results.jsonl"))
