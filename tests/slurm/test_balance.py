"""Tasks that start at different times end together, on a real Slurm and in real time."""

from pathlib import Path

import pytest

from launch.rundir.journal import read_journal, read_json
from launch.rundir.layout import RunPaths
from tests.chaos.field import write_scenario
from tests.chaos.stub_work import STUB
from tests.models import make_tiny_llama
from tests.slurm.private_slurm import PrivateSlurm
from tests.slurm.test_end_to_end import STUB_WAIT_S, Site

NUM_TASKS = 4
SECONDS_PER_TOKEN = 0.0035  # texts of 1 to 40 tokens, of which the planner knows nothing
HELD_BACK_S = (5, 10, 15)  # of a makespan of some 30 s
WITHIN = 1.15


def generating_since(ended: dict[str, object]) -> float:
    """When a task's engine began to generate, in seconds since the epoch."""
    phases, started = ended["phases_s"], ended["started"]
    assert isinstance(phases, dict) and isinstance(started, float)
    return started + phases["starting"] + phases["loading"]


def fluid_bound(starts: list[float], work_s: float) -> float:
    """The end if work could be cut anywhere: the largest of the ends that the first 1, 2, ... tasks give."""
    ordered = sorted(starts)
    ends = [(work_s + sum(ordered[:count])) / count for count in range(1, len(ordered) + 1)]
    return min(ends)


@pytest.fixture
def site(slurm: PrivateSlurm, tmp_path: Path) -> Site:
    make_tiny_llama(tmp_path / "model")
    write_scenario(tmp_path, STUB)
    return Site(slurm, tmp_path, tmp_path / "model")


def test_the_fluid_bound():
    assert fluid_bound([0.0], 10.0) == 10.0
    assert fluid_bound([0.0, 4.0], 10.0) == 7.0
    assert fluid_bound([0.0, 100.0], 10.0) == 10.0  # the second comes too late to help


def hold_nodes_back(slurm: PrivateSlurm) -> None:
    """Takes nodes 2, 3, 4 for some seconds each."""
    for node, seconds in enumerate(HELD_BACK_S, start=2):
        place = ("--exclusive", "--partition", "gpu", "--nodelist", f"n{node}", "--output", "/dev/null")
        slurm.run("sbatch", *place, "--wrap", f"sleep {seconds}")


def test_tasks_that_start_late_end_with_the_others(site: Site) -> None:
    hold_nodes_back(site.slurm)
    run = site.submit(
        "balance",
        *("--engine", "stub", "--dataset", "DMSC", "--data-root", str(site.home / "scenarios")),
        *("--limit-items", "null", "--num-tasks", str(NUM_TASKS), "--tensor-parallel-size", "2"),
        extra={"VLLM_LAUNCH_STUB_SECONDS_PER_TOKEN": str(SECONDS_PER_TOKEN)},
    )
    site.wait(run, STUB_WAIT_S)
    starts, num_tokens, last = look_at(run)
    first = min(starts)
    bound_s = fluid_bound(starts, num_tokens * SECONDS_PER_TOKEN) - first
    ratio = (last - first) / bound_s
    print(
        f"starts {[round(start - first, 1) for start in starts]} s, bound {bound_s:.1f} s, ratio {ratio:.3f}"
    )
    assert max(starts) - first > bound_s / 3, "they started together"
    assert ratio <= WITHIN


def look_at(run: RunPaths) -> tuple[list[float], int, float]:
    """When each engine began to generate, output tokens of all, the time of the last commit."""
    ends = [read_json(path) for path in sorted(run.tasks.glob("1/*/0/ended.json"))]
    commits = [row for path in run.tasks.glob("1/*/0/*.commits.jsonl") for row in read_journal(path)]
    assert len(ends) == NUM_TASKS and all(ends)
    assert sum(len(row["items"]) for row in commits) == STUB.num_items, "each item once"
    num_tokens = sum(item[5] for row in commits for item in row["items"])
    return [generating_since(end) for end in ends if end], num_tokens, max(row["time"] for row in commits)
