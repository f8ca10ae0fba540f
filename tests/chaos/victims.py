"""A run under fire: who of it lives and can be struck, and what was struck already."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil

from launch.rundir.journal import read_journal, read_json
from launch.rundir.layout import AttemptPaths, RunPaths
from tests.chaos.field import Field

AttemptId = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Victim:
    """A living attempt: its processes, its job as squeue writes it, its node and partition.

    `phase` is its engine's, since `phase_s` seconds; `start` counts the starts of its engine from 0.
    """

    submission: int
    task: int
    attempt: int
    start: int
    phase: str
    phase_s: float
    supervisor: psutil.Process
    engine_pid: int | None
    job: str
    node: str
    partition: str

    @property
    def id(self) -> AttemptId:
        """Submission, task, attempt."""
        return self.submission, self.task, self.attempt

    @property
    def name(self) -> str:
        """For the record."""
        return f"submission {self.submission}, task {self.task}, attempt {self.attempt}, on {self.node}"

    def below(self, title: str) -> psutil.Process | None:
        """The process of vLLM below the engine process that has given itself this title."""
        return next((each for each in self.engine_tree() if title in _command(each)), None)

    def engine_tree(self) -> list[psutil.Process]:
        """The engine process and all below it; nothing when it is gone."""
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.engine_pid is not None:
                engine = psutil.Process(self.engine_pid)
                if engine.ppid() == self.supervisor.pid:
                    return [engine, *engine.children(recursive=True)]
        return []


@dataclass(slots=True)
class Fire:
    """A run under fire: who was struck, and which nodes are to be brought back, and when.

    `ripe_s`: the next victim's engine has generated for so long; None: its phase does not matter.
    """

    site: Field
    run: RunPaths
    random: Random
    ripe_s: float | None = None
    struck: Counter[AttemptId] = field(default_factory=Counter)
    struck_starts: set[tuple[AttemptId, int]] = field(default_factory=set)
    nodes_down: dict[str, float] = field(default_factory=dict)
    seen: dict[int, psutil.Process] = field(default_factory=dict)
    """Every process below an engine process that was ever seen: some of vLLM's show no environment."""
    merge_s: float = 1.0
    """How long a merge takes that finds items missing."""
    last: Victim | None = None
    """Who was picked last."""

    def victims(self) -> list[Victim]:
        """Living attempts that may be struck (again)."""
        found = [victim for victim in self.living() if self._may_strike(victim)]
        return sorted(found, key=lambda victim: victim.name)

    def living(self) -> list[Victim]:
        """Attempts whose supervisor runs."""
        found = []
        for path in self.run.tasks.glob("*/*/*/attempt.json"):
            about = read_json(path)
            if about is None or path.with_name("ended.json").exists():
                continue
            if victim := _living(about, path.parent):
                found.append(victim)
        return found

    def _may_strike(self, victim: Victim) -> bool:
        most = self.site.work.rhythm.max_strikes
        return self.struck[victim.id] < most and (victim.id, victim.start) not in self.struck_starts

    def _is_ripe(self, victim: Victim) -> bool:
        if self.ripe_s is None:
            return True
        return victim.phase == "generating" and victim.phase_s >= self.ripe_s

    def pick(self, fits: Callable[[Victim], bool] = lambda victim: True) -> Victim | None:
        """One of the victims that fit, from now on struck."""
        fit = [each for each in self.victims() if self._is_ripe(each) and fits(each)]
        if not fit:
            return None
        chosen = self.random.choice(fit)
        self.struck[chosen.id] += 1
        self.struck_starts.add((chosen.id, chosen.start))
        self.last = chosen
        return chosen

    def look(self) -> None:
        """Notes the processes below every engine process."""
        for victim in self.living():
            for process in victim.engine_tree():
                self.seen.setdefault(process.pid, process)

    def left(self) -> list[psutil.Process]:
        """Those of `seen` that still run."""
        return [process for process in self.seen.values() if _runs(process)]

    def bring_back_nodes(self, *, all_of_them: bool = False) -> None:
        """Starts nodes again that were down long enough."""
        for node, due in list(self.nodes_down.items()):
            if all_of_them or time.monotonic() >= due:
                del self.nodes_down[node]
                self.site.slurm.start_node(node, wait_idle=False)


def _living(about: dict[str, Any], attempt: Path) -> Victim | None:
    try:
        supervisor = psutil.Process(about["pid"])
        if supervisor.status() == psutil.STATUS_ZOMBIE or supervisor.create_time() > about["started"] + 1:
            return None
        node = supervisor.environ()["SLURMD_NODENAME"]
    except (psutil.NoSuchProcess, KeyError):
        return None
    slurm = about["slurm"]
    start = about["slots"][-1]["start"] if about["slots"] else 0
    phase, since = _phase(AttemptPaths(attempt), start, about["started"])
    return Victim(
        submission=about["submission"],
        task=about["task"],
        attempt=about["attempt"],
        start=start,
        phase=phase,
        phase_s=time.time() - since,
        supervisor=supervisor,
        engine_pid=about["slots"][-1]["pid"] if about["slots"] else None,
        job=f"{slurm['SLURM_ARRAY_JOB_ID']}_{slurm['SLURM_ARRAY_TASK_ID']}",
        node=node,
        partition=slurm["SLURM_JOB_PARTITION"],
    )


def _phase(paths: AttemptPaths, start: int, started: float) -> tuple[str, float]:
    """The phase of an engine start, and since when; before its first one it is being started."""
    told = [
        line for line in read_journal(paths.events) if line["event"] == "phase" and line["start"] == start
    ]
    return (told[-1]["phase"], told[-1]["time"]) if told else ("starting", started)


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
