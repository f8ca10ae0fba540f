"""Runs commands of vllm-launch as a user would: in an environment of their own, judged by what they say."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from launch.cli import inference_distributed, inference_vllm
from launch.cli.app import main, run_command
from launch.collect.queue_look import WAIT_VARIABLE
from launch.rundir.identity import code_version
from tests.runs import REPOSITORY, RUN_S, SCENARIOS

PREFIX = "vllm-launch: "
PROGRAMS = {
    inference_vllm.PROGRAM: inference_vllm.command,
    inference_distributed.PROGRAM: inference_distributed.command,
}
OURS = ("VLLM_LAUNCH_", "SLURM_", "SBATCH_")


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """Lines on stderr that are no notes."""
        return [line for line in self.err.splitlines() if not line.startswith("note: ")]

    @property
    def notes(self) -> list[str]:
        """The notes, without their mark."""
        return [line[6:] for line in self.err.splitlines() if line.startswith("note: ")]

    def row(self, name: str) -> str:
        """The value behind a name in what `submit` and `resume` print."""
        (line,) = [line for line in self.out.splitlines() if line.startswith(name.ljust(12))]
        return line[12:]


def vllm_launch(*words: str | Path, cwd: Path, **environment: str) -> Said:
    """Runs a command in this process, in the directory `cwd`, with no setting of ours but `environment`."""
    return _run(lambda: main([str(word) for word in words]), cwd, environment)


def single_node(program: str, *words: str | Path, cwd: Path, **environment: str) -> Said:
    """The same for `python PROGRAM WORDS`, one of PROGRAMS, as far as no task is started."""
    return _run(lambda: run_command(PROGRAMS[program], list(map(str, words)), program), cwd, environment)


def _run(run: Callable[[], NoReturn], cwd: Path, environment: dict[str, str]) -> Said:
    out, err = io.StringIO(), io.StringIO()
    code_version.cache_clear()  # a command is a process of its own
    with (
        _environment(cwd, environment),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        run()
    assert isinstance(ended.value.code, int)
    return Said(ended.value.code, out.getvalue(), err.getvalue())


def succeed(*words: str | Path, cwd: Path, **environment: str) -> Said:
    """The same for a command that must end well."""
    said = vllm_launch(*words, cwd=cwd, **environment)
    assert said.code == 0, said.err
    return said


@contextlib.contextmanager
def _environment(cwd: Path, environment: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in own_names():
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.chdir(cwd)
        yield


def own_names() -> list[str]:
    """Variables of this environment that change what a command does; not how long it waits for Slurm."""
    return [name for name in os.environ if name.startswith(OURS) and name != WAIT_VARIABLE]


def start(
    *words: str | Path, cwd: Path, before: Sequence[str] = (), **environment: str
) -> subprocess.Popen[str]:
    """Starts a command, behind the words `before`, in a process and session of its own.

    submit is started through launch/submit.py.
    """
    kept = {name: value for name, value in os.environ.items() if name not in own_names()}
    path = os.pathsep.join(filter(None, [environment.pop("PYTHONPATH", ""), str(REPOSITORY)]))
    command = ["-m", "launch.cli.app", *words]
    if words[0] == "submit":
        command = [REPOSITORY / "launch" / "submit.py", *words[1:]]
    return subprocess.Popen(
        [*before, sys.executable, *command],
        cwd=cwd,
        env={**kept, **environment, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], timeout_s: float = RUN_S) -> Said:
    """What a started command said to its end."""
    out, err = process.communicate(timeout=timeout_s)
    return Said(process.returncode, out, err)


def submit_words(checkpoint: Path, scenario: Path = SCENARIOS / "Chameleons", name: str = "r") -> list[str]:
    """`submit` of a small stub run of a scenario."""
    words = ["submit", "--preset", "quick_test", "--engine", "stub", "--checkpoint", str(checkpoint)]
    return [*words, "--scenario-path", str(scenario), "--name", name]
