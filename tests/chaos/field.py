"""The ground of a campaign: a cluster that preempts both ways, a scenario of small items, a login node."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launch.rundir.layout import RunPaths
from launch.worker.engines.stub import MAX_NUM_SEQS
from tests.runs import REPOSITORY
from tests.scenarios.builders import dialogue_item, turn, user
from tests.slurm.cluster_conf import ClusterSpec, Partition
from tests.slurm.private_slurm import PrivateSlurm

WINDOW = 2 * MAX_NUM_SEQS
NUM_TASKS = 4
NUM_USERS, NUM_ITEMS_EACH = 160, 8
NUM_ITEMS = NUM_USERS * NUM_ITEMS_EACH  # 20 windows for each task
SECONDS_PER_ITEM = 0.1
# What a kill may cost: the engine's window and two seconds of output.
ITEMS_PER_KILL = WINDOW + round(2 / SECONDS_PER_ITEM)
REQUEUED, CANCELLED, URGENT = "requeued", "cancelled", "urgent"
SPEC = ClusterSpec(
    num_nodes=NUM_TASKS,
    gpus_per_node=1,
    kill_wait_s=3,
    partitions=(
        Partition(REQUEUED, "n[1-2]", {"Default": "YES", "PriorityTier": "1", "PreemptMode": "REQUEUE"}),
        Partition(CANCELLED, "n[3-4]", {"PriorityTier": "1", "PreemptMode": "CANCEL"}),
        Partition("cpu", options={"MaxCPUsPerNode": "4", "PriorityTier": "9"}),
        Partition(URGENT, options={"PriorityTier": "9"}),
    ),
    extra_conf={"PreemptType": "preempt/partition_prio", "PreemptMode": "REQUEUE"},
)


@dataclass(frozen=True, slots=True)
class Field:
    """A login node's directory on the cluster."""

    slurm: PrivateSlurm
    home: Path

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
        """A line for every item that any engine of a run generated."""
        return self.home / f"{name}.trace"

    def pace(self, name: str) -> dict[str, str]:
        """What a run's engines find in their environment, whoever sends them."""
        return {
            "VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": str(SECONDS_PER_ITEM),
            "VLLM_LAUNCH_STUB_TRACE": str(self.trace(name)),
        }

    def submit(self, name: str) -> None:
        """Sends a run of four tasks, each on a node of its own, two in either partition."""
        self._submit(
            name,
            *("--cluster", "slurm", "--num-tasks", str(NUM_TASKS), "--cpus-per-task", "1", "--time", "10"),
            *("--partition", f"{REQUEUED},{CANCELLED}", "--set", "resources.merge.partition=cpu"),
            *("--set", "resources.merge.mem=null", "--set", "resources.merge.cpus_per_task=1"),
            extra=self.pace(name),
        )

    def generate_reference(self) -> Path:
        """The published directory of an undisturbed run of one task on this machine."""
        self._submit("reference", "--cluster", "none", "--num-tasks", "1", extra={"CUDA_VISIBLE_DEVICES": ""})
        return self.published("reference")

    def _submit(self, name: str, *words: str, extra: Mapping[str, str]) -> None:
        code, said = self.launch(
            *("submit", "--preset", "quick_test", "--name", name, "--engine", "stub", "--dataset", "DMSC"),
            *("--checkpoint", str(self.home / "model"), "--data-root", str(self.home / "scenarios")),
            *("--limit-items", "null"),
            *words,
            extra=extra,
        )
        if code:
            raise AssertionError(f"submit {name}: exit {code}: {said}\n{self.slurm.logs()}")

    def queue(self) -> list[str]:
        """Names of jobs in the queue that are a run's: pending, running or ending."""
        names = self.slurm.run("squeue", "-h", "--format=%j").split()
        return [name for name in names if name != URGENT]


def write_scenario(home: Path) -> None:
    """scenarios/DMSC/test_leaderboard.json: NUM_ITEMS items, no two alike."""
    users = [
        user(
            f"u{number:03}",
            dialogue=[dialogue_item(turn("BEN", f"Hello {number}.{n}.")) for n in range(NUM_ITEMS_EACH)],
        )
        for number in range(NUM_USERS)
    ]
    folder = home / "scenarios" / "DMSC"
    folder.mkdir(parents=True)
    (folder / "test_leaderboard.json").write_text(json.dumps(users), encoding="utf-8")
