"""The ground of a campaign: a cluster, a scenario of small items, a login node where commands are typed."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launch.rundir.layout import RunPaths
from tests.chaos.work import URGENT, Work
from tests.runs import REPOSITORY
from tests.scenarios.builders import dialogue_item, turn, user
from tests.slurm.private_slurm import PrivateSlurm


@dataclass(frozen=True, slots=True)
class Field:
    """A login node's directory on the cluster."""

    slurm: PrivateSlurm
    home: Path
    work: Work

    def start(self, *words: str, extra: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Starts `vllm-launch WORDS`; both streams into one pipe."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        return subprocess.Popen(
            [sys.executable, "-m", "launch.cli.app", *words],
            cwd=self.home,
            env={**own, **self.slurm.env, "PYTHONPATH": str(REPOSITORY), **(extra or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def launch(self, *words: str, extra: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Exit code and output of `vllm-launch WORDS`."""
        process = self.start(*words, extra=extra)
        said, _ = process.communicate()
        return process.returncode, said

    def run(self, name: str) -> RunPaths:
        """A run by its name."""
        return RunPaths(self.home / "outputs" / "runs" / name)

    def published(self, name: str) -> Path:
        """Where a run is published."""
        return self.home / "outputs" / "leaderboards" / name

    def trace(self, name: str) -> Path:
        """What the engines of a run did, whatever became of it."""
        return self.home / f"{name}.trace"

    def pace(self, name: str) -> dict[str, str]:
        """What a run's engines find in their environment, whoever sends them."""
        return self.work.variables(self.home, self.trace(name))

    def submit(self, name: str) -> None:
        """Sends a run, each of its tasks on a node of its own."""
        self._submit(
            name,
            *("--cluster", "slurm", "--num-tasks", str(self.work.num_tasks), "--cpus-per-task", "1"),
            *("--time", "10", "--partition", self.work.partitions),
            *("--set", "resources.merge.partition=cpu"),
            *("--set", "resources.merge.mem=null", "--set", "resources.merge.cpus_per_task=1"),
            extra=self.pace(name),
        )

    def generate_reference(self) -> Path:
        """The published directory of an undisturbed run of one task on this machine."""
        self._submit("reference", "--cluster", "none", "--num-tasks", "1", extra={"CUDA_VISIBLE_DEVICES": ""})
        return self.published("reference")

    def _submit(self, name: str, *words: str, extra: Mapping[str, str]) -> None:
        code, said = self.launch(
            *("submit", "--preset", "quick_test", "--name", name, "--dataset", "DMSC"),
            *("--checkpoint", str(self.home / "model"), "--data-root", str(self.home / "scenarios")),
            *("--limit-items", "null"),
            *self.work.words,
            *words,
            extra=extra,
        )
        if code:
            raise AssertionError(f"submit {name}: exit {code}: {said}\n{self.slurm.logs()}")

    def queue(self) -> list[str]:
        """Names of jobs in the queue that are a run's: pending, running or ending."""
        names = self.slurm.run("squeue", "-h", "--format=%j").split()
        return [name for name in names if name != URGENT]


def write_scenario(home: Path, work: Work) -> None:
    """scenarios/DMSC/test_leaderboard.json: the items of a run, no two alike."""
    users = [
        user(
            f"u{number:03}",
            dialogue=[dialogue_item(turn("BEN", f"Hello {number}.{n}.")) for n in range(work.items_each)],
        )
        for number in range(work.num_users)
    ]
    folder = home / "scenarios" / "DMSC"
    folder.mkdir(parents=True)
    (folder / "test_leaderboard.json").write_text(json.dumps(users), encoding="utf-8")
