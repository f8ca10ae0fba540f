"""A run under fire: who of it lives and can be struck, and what was struck already."""

import time
from dataclasses import dataclass
from random import Random
from typing import Any

import psutil

from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from tests.chaos.field import Field


@dataclass(frozen=True, slots=True)
class Victim:
    """A living attempt: its processes, its job as squeue writes it, its node and partition."""

    submission: int
    task: int
    attempt: int
    supervisor: psutil.Process
    engine_pid: int | None
    job: str
    node: str
    partition: str

    @property
    def name(self) -> str:
        """For the record."""
        return f"submission {self.submission}, task {self.task}, attempt {self.attempt}, on {self.node}"


@dataclass(slots=True)
class Fire:
    """A run under fire: who was struck, and which nodes are to be brought back, and when."""

    field: Field
    run: RunPaths
    random: Random
    struck: set[tuple[int, int, int]]
    nodes_down: dict[str, float]
    merge_s: float = 1.0
    """How long a merge takes that finds items missing."""

    def victims(self) -> list[Victim]:
        """Living attempts that were not struck."""
        found = []
        for path in self.run.tasks.glob("*/*/*/attempt.json"):
            about = read_json(path)
            if about is None or path.with_name("ended.json").exists():
                continue
            victim = _living(about)
            if victim and (victim.submission, victim.task, victim.attempt) not in self.struck:
                found.append(victim)
        return sorted(found, key=lambda victim: victim.name)

    def pick(self, partition: str | None = None, *, with_engine: bool = False) -> Victim | None:
        """One of the victims, from now on struck."""
        fit = [each for each in self.victims() if partition in (None, each.partition)]
        fit = [each for each in fit if each.engine_pid is not None or not with_engine]
        if not fit:
            return None
        chosen = self.random.choice(fit)
        self.struck.add((chosen.submission, chosen.task, chosen.attempt))
        return chosen

    def bring_back_nodes(self, *, all_of_them: bool = False) -> None:
        """Starts nodes again that were down long enough."""
        for node, due in list(self.nodes_down.items()):
            if all_of_them or time.monotonic() >= due:
                del self.nodes_down[node]
                self.field.slurm.start_node(node, wait_idle=False)


def _living(about: dict[str, Any]) -> Victim | None:
    try:
        supervisor = psutil.Process(about["pid"])
        if supervisor.status() == psutil.STATUS_ZOMBIE or supervisor.create_time() > about["started"] + 1:
            return None
        node = supervisor.environ()["SLURMD_NODENAME"]
    except (psutil.NoSuchProcess, KeyError):
        return None
    slurm = about["slurm"]
    return Victim(
        submission=about["submission"],
        task=about["task"],
        attempt=about["attempt"],
        supervisor=supervisor,
        engine_pid=about["slots"][0]["pid"] if about["slots"] else None,
        job=f"{slurm['SLURM_ARRAY_JOB_ID']}_{slurm['SLURM_ARRAY_TASK_ID']}",
        node=node,
        partition=slurm["SLURM_JOB_PARTITION"],
    )
