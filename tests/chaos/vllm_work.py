"""Runs of the real vLLM on a CPU: what a kill costs is counted by a plugin inside each engine."""

from dataclasses import asdict
from pathlib import Path

from launch.rundir.layout import RunPaths
from tests.chaos.kinds import Kind
from tests.chaos.vllm_trace import DURABLE_S, VARIABLE, read_trace, sum_up
from tests.chaos.work import Generated, Rhythm, Work
from tests.slurm.cluster_conf import ClusterSpec, Partition
from tests.vllm_plugins import plugin_path

NUM_TASKS = 2
MAX_NUM_SEQS = 8
NUM_SAMPLES = 2
WINDOW = 2 * MAX_NUM_SEQS // NUM_SAMPLES  # VllmEngine.window
KINDS = (
    *(Kind.CORE, Kind.WORKER, Kind.ENGINE, Kind.SUPERVISOR),
    *(Kind.SHELL, Kind.NODE, Kind.SCANCEL, Kind.REQUEUE),
)
SPEC = ClusterSpec(
    num_nodes=NUM_TASKS,
    cpus_per_node=1,  # so that each task has a node of its own
    gpus_per_node=0,
    kill_wait_s=3,
    partitions=(
        Partition("tasks", options={"Default": "YES"}),
        Partition("cpu", options={"MaxCPUsPerNode": "4"}),
    ),
)


def _variables(home: Path, trace: Path) -> dict[str, str]:
    path = plugin_path(home / "plugin", "chaos_trace", "tests.chaos.vllm_trace:register")
    return {"PYTHONPATH": path, VARIABLE: str(trace)}


def _weigh(work: Work, run: RunPaths, trace: Path, num_kills: int) -> Generated:
    """A kill may cost the window and two seconds of output; what was finished longer ago is durable."""
    found = sum_up(read_trace(trace))
    problems = []
    if found.num_finished_again > num_kills * found.most_in_2_s:
        problems.append(f"{found.num_finished_again} finished items were generated again")
    if found.oldest_lost_s > DURABLE_S:
        problems.append(f"an item was lost {found.oldest_lost_s} s after it was finished")
    return Generated(
        num_generated=found.num_begun,
        num_again=found.num_begun_again,
        num_allowed_again=num_kills * (work.window + found.most_in_2_s),
        facts=asdict(found),
        problems=tuple(problems),
    )


VLLM = Work(
    engine="vllm",
    kinds=dict.fromkeys(KINDS, 1 / len(KINDS)),
    words=(
        *("--engine", "vllm", "--dtype", "float32", "--max-model-len", "1024"),
        *("--max-num-seqs", str(MAX_NUM_SEQS), "--num-samples", str(NUM_SAMPLES), "--max-tokens", "64"),
        *("--gpus-per-task", "0", "--canary", "none"),
    ),
    partitions="tasks",
    num_tasks=NUM_TASKS,
    num_users=75,
    items_each=8,
    window=WINDOW,
    spec=SPEC,
    rhythm=Rhythm(
        pause_s=(0.5, 4.0),
        finish_s=220,
        reserve_s=180,
        max_strikes=3,
        ripe_s=(0.2, 6.0),
        ripe_share=0.8,
    ),
    same_bytes=False,
    variables=_variables,
    weigh=_weigh,
)
