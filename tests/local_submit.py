"""Runs `python launch/submit.py` on this machine as a user types it, and watches the processes below it."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from launch.rundir.journal import read_journal, read_json
from launch.rundir.layout import RunPaths
from tests.runs import REPOSITORY, RUN_S, SCENARIOS

POLL_PERIOD_S = 0.05
LOOK_PERIOD_S = 1.0  # reading all of /proc takes CPU time that what runs needs
INVARIANT = ("test_leaderboard.json", "generations.jsonl")


@dataclass(frozen=True, slots=True)
class Desk:
    """A directory where one types commands; outputs/ appears in it."""

    home: Path
    checkpoint: Path

    def run(self, name: str) -> RunPaths:
        """A run by its name."""
        return RunPaths(self.home / "outputs" / "runs" / name)

    def published(self, name: str) -> Path:
        """Where a run is published."""
        return self.home / "outputs" / "leaderboards" / name

    def summary(self, name: str) -> dict[str, Any]:
        """Its inference_summary.json."""
        value: dict[str, Any] = json.loads((self.published(name) / "inference_summary.json").read_text())
        return value

    def submit(self, name: str, *words: str, wrapper: tuple[str, ...] = (), **environment: str) -> "Command":
        """Starts submit on the demo scenario Chameleons; CUDA_VISIBLE_DEVICES is empty unless given."""
        command = [
            *(sys.executable, str(REPOSITORY / "launch" / "submit.py"), "--cluster", "none", "--name", name),
            *("--checkpoint", str(self.checkpoint), "--dataset", "Chameleons", "--data-root", str(SCENARIOS)),
            *words,
        ]
        return self._start([*wrapper, *command], environment)

    def launch(self, *words: str, **environment: str) -> "Command":
        """Starts `vllm-launch WORDS`."""
        return self._start([sys.executable, "-m", "launch.cli.app", *words], environment)

    def _start(self, command: list[str], environment: Mapping[str, str]) -> "Command":
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        process = subprocess.Popen(
            command,
            cwd=self.home,
            env={**inherited, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return Command(process)


@dataclass(slots=True)
class Command:
    """A command that runs; `below` are all processes ever seen below it, itself included."""

    process: subprocess.Popen[str]
    below: dict[int, psutil.Process] = field(default_factory=dict)

    def finish(self, timeout_s: float = RUN_S) -> tuple[int, str, str]:
        """Exit code, stdout and stderr; fails when it takes longer. Watches what runs below it meanwhile."""
        until = time.monotonic() + timeout_s
        look_at = 0.0
        while self.process.poll() is None:
            assert time.monotonic() < until, f"{self.process.args} takes longer than {timeout_s} s"
            if time.monotonic() >= look_at:
                self.look()
                look_at = time.monotonic() + LOOK_PERIOD_S
            time.sleep(POLL_PERIOD_S)
        output, errors = self.process.communicate()
        return self.process.returncode, output, errors

    def look(self) -> None:
        """Notes what runs below the command now."""
        try:
            top = psutil.Process(self.process.pid)
            found = [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        self.below |= {each.pid: each for each in found}

    def left(self) -> list[psutil.Process]:
        """Those of `below` that still live; is_running tells a reused number apart."""
        return [each for each in self.below.values() if is_alive(each)]


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def num_settled(run: RunPaths) -> int:
    """Items in all commits of a run."""
    commits = run.tasks.glob("*/*/*/*.commits.jsonl")
    return sum(len(line["items"]) for path in commits for line in read_journal(path))


def lives(run: RunPaths, submission: int = 1) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(attempt.json, ended.json) of every attempt of a submission, by task and attempt."""
    found = []
    for path in run.tasks.glob(f"{submission}/*/*/attempt.json"):
        found.append((read_json(path) or {}, read_json(path.with_name("ended.json")) or {}))
    return sorted(found, key=lambda each: (each[0]["task"], each[0]["attempt"]))


def digests(published: Path) -> dict[str, str]:
    """sha256 of every published file that may not depend on how the work was done."""
    files = [published / name for name in INVARIANT] + sorted((published / "users").iterdir())
    return {str(path.relative_to(published)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
