"""Runs of the stub engine: an item takes a tenth of a second, and its text does not depend on others."""

from pathlib import Path

from launch.rundir.layout import RunPaths
from launch.worker.engines.stub import MAX_NUM_SEQS
from tests.chaos.kinds import Kind
from tests.chaos.work import URGENT, Generated, Rhythm, Work
from tests.slurm.cluster_conf import ClusterSpec, Partition

NUM_TASKS = 4
WINDOW = 2 * MAX_NUM_SEQS
SECONDS_PER_ITEM = 0.1
# What a kill may cost: the engine's window and two seconds of output.
ITEMS_PER_KILL = WINDOW + round(2 / SECONDS_PER_ITEM)
REQUEUED, CANCELLED = "requeued", "cancelled"
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
TASK_KINDS = (
    *(Kind.ENGINE, Kind.SUPERVISOR, Kind.SHELL, Kind.NODE),
    *(Kind.SCANCEL, Kind.REQUEUE, Kind.PREEMPT_REQUEUE, Kind.PREEMPT_CANCEL),
)


def _variables(home: Path, trace: Path) -> dict[str, str]:
    return {
        "VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": str(SECONDS_PER_ITEM),
        "VLLM_LAUNCH_STUB_TRACE": str(trace),
    }


def _weigh(work: Work, run: RunPaths, trace: Path, num_kills: int) -> Generated:
    num_generated = len(trace.read_bytes().splitlines())
    num_again = num_generated - work.num_items
    facts = {"seconds_per_item": SECONDS_PER_ITEM, "items_per_kill": ITEMS_PER_KILL}
    return Generated(num_generated, num_again, ITEMS_PER_KILL * num_kills, facts)


STUB = Work(
    engine="stub",
    kinds=dict.fromkeys(TASK_KINDS, 0.08) | dict.fromkeys((Kind.MERGE, Kind.TWO_MERGES), 0.18),
    words=("--engine", "stub"),
    partitions=f"{REQUEUED},{CANCELLED}",
    num_tasks=NUM_TASKS,
    num_users=160,
    items_each=8,  # 20 windows for each task
    window=WINDOW,
    spec=SPEC,
    rhythm=Rhythm(pause_s=(0.1, 1.0), finish_s=90, reserve_s=100),
    same_bytes=True,
    variables=_variables,
    weigh=_weigh,
)
