"""The view of a run at 80 and at 200 columns, without colour.

A change of a view shows here as a diff. To accept it, read the diff and run
`VLLM_LAUNCH_ACCEPT_GOLDEN=1 pytest tests/collect/test_status_view.py`, then commit the files in golden/.
"""

import difflib
import io
import os
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from launch.collect.failure_notes import FailureNote
from launch.collect.gpu_now import GpuNow
from launch.collect.ledger.so_far import GpuTime
from launch.collect.pace import Pace
from launch.collect.status_record import PublishedStatus, RunNames, RunStatus, SubmissionStatus
from launch.collect.status_view import failure_lines, render
from launch.collect.status_words import eta, is_published, is_working, next_step, state_line
from launch.collect.task_status import TaskState, TaskStatus
from launch.rundir.records import Subset

GOLDEN = Path(__file__).with_name("golden")
ACCEPT = "VLLM_LAUNCH_ACCEPT_GOLDEN"
OUT_OF_MEMORY = "slot 0: the GPU has too little memory: torch.OutOfMemoryError: CUDA out of memory"


def task(number: int, state: TaskState, settled: int = 0, **more: object) -> TaskStatus:
    return TaskStatus(number, state, 0, settled, shard_items=100, shard_settled=settled, **more)  # type: ignore[arg-type]


WAITING = "QOSMaxGRESPerUser: your QOS allows 8 GPUs per user"
TASKS = (
    task(0, TaskState.RUNNING, 61, host="gpu-node-001", message="generating", heartbeat_age_s=12.0),
    task(1, TaskState.RUNNING, 7, host="gpu-node-002", message="loading", heartbeat_age_s=130.0),
    replace(
        task(2, TaskState.RUNNING, 40, host="gpu-node-003", heartbeat_age_s=3.0),
        attempt=2,
        message="generating (after out_of_memory: max_num_seqs 256 -> 128)",
        earlier="ended without a word",
    ),
    task(3, TaskState.FAILED, 12, host="gpu-node-004", message=OUT_OF_MEMORY, failure_class="out_of_memory"),
    task(
        4,
        TaskState.FAILED,
        0,
        host="gpu-node-\x1b[31m5",
        message=OUT_OF_MEMORY,
        failure_class="out_of_memory",
    ),
    task(5, TaskState.DEAD, 33, host="gpu-node-006", message="ended without a word: NODE_FAIL"),
    *(task(number, TaskState.WAITING, message="PENDING (x)", waits_for=WAITING) for number in range(6, 14)),
    task(14, TaskState.ENDED, 100, host="gpu-node-007"),
    task(15, TaskState.ENDED, 100, host="gpu-node-008"),
)
SUBMISSION = SubmissionStatus(
    submission=2,
    created="2026-01-02T03:04:05+00:00",
    num_items=1600,
    num_settled=353,
    merge_job="PENDING (Dependency: waits for other jobs of this run to end)",
    tasks=TASKS,
    round=1,
    merge_is_open=True,
)
STATUS = RunStatus(
    run_id="production-Chameleons-20260102-030405-93c1d6",
    root=Path("outputs/runs/production-Chameleons-20260102-030405-93c1d6"),
    names=RunNames("production", "Llama-3.1-8B-Instruct", "Chameleons", "profile_and_history_and_context"),
    engine="vllm",
    stub=False,
    subset=Subset(num_users=20, num_items=2000, of_users=200, of_items=20000),
    num_users=20,
    num_items=2000,
    num_done=751,
    num_failed=2,
    num_missing=1247,
    num_prompt_tokens=1_234_567,
    num_output_tokens=456_789,
    submissions=(replace(SUBMISSION, submission=1, tasks=TASKS[14:], round=0, merge_job=None), SUBMISSION),
    output_dir=Path("outputs/leaderboards/x"),
    published=None,
    pace=Pace(61.25, 1042.0, 300.0, 1080.0, 1440.0, "6 parts of 50 s"),
    gpus=GpuNow(6, 3, (71.0, 93.4, 99.0), 402.5, 3512.0),
    gpu_time=GpuTime(gpu_hours=1234.5, num_attempts=18, cost=3086.25, currency="EUR"),
    queue_age_s=12.0,
)
NOTES = (
    FailureNote(
        task=3,
        num_tasks=2,
        tasks="3, 4",
        cause=OUT_OF_MEMORY,
        advice=("--set engine.gpu_memory_utilization=0.85", "--max-model-len 4096"),
        log="outputs/runs/x/tasks/2/3/0/0.0.log",
        lines=(
            "Traceback (most recent call last):",
            "torch.OutOfMemoryError: CUDA out of memory. " + "x" * 200,
        ),
    ),
)


def shown(status: RunStatus, width: int, **options: int | None) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(render(status, width=width, **options))  # type: ignore[arg-type]
    assert max(map(len, captured.get().split("\n"))) <= width
    lines = [*captured.get().rstrip("\n").split("\n"), *failure_lines(NOTES, width)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


@pytest.mark.parametrize(
    ("name", "width", "max_rows"),
    [
        ("status_80", 80, 20),
        ("status_200", 200, 20),
        ("status_80_few_rows", 80, 4),
        ("status_80_all", 80, None),
    ],
)
def test_the_view_is_the_accepted_one(name: str, width: int, max_rows: int | None) -> None:
    text = shown(STATUS, width, max_rows=max_rows)
    path = GOLDEN / f"{name}.txt"
    if os.environ.get(ACCEPT) == "1":
        path.write_text(text, encoding="utf-8")
    expected = path.read_text(encoding="utf-8") if path.is_file() else ""
    diff = "\n".join(
        difflib.unified_diff(expected.split("\n"), text.split("\n"), str(path), "as shown now", lineterm="")
    )
    assert text == expected, f"{diff}\nIf this is meant: {ACCEPT}=1 pytest {Path(__file__).name}"


def test_no_gpu_is_no_zero() -> None:
    none = replace(STATUS, gpus=GpuNow(0, 3, None, None, None, "no GPU is visible to this task"))
    assert "no GPU (no GPU is visible to this task)" in shown(none, 80)
    unread = replace(STATUS, gpus=GpuNow(2, 1, None, None, None))
    assert "2 GPUs of 1 running task: no reading" in shown(unread, 80)


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        (GpuNow(1, 1, None, 30.0, None, num_silent=1), "utilisation not told, 30 GiB used"),
        (
            GpuNow(2, 1, (60, 60, 60), 4.0, None, num_silent=1),
            "60 % busy (1 without utilisation), 4 GiB used",
        ),
        (GpuNow(3, 1, (50, 60, 70), 4.0, None, num_silent=1), "60 % busy (50 to 70; 1 without utilisation)"),
    ],
)
def test_gpus_that_tell_no_utilisation_are_said_to(gpus: GpuNow, said: str) -> None:
    assert said in shown(replace(STATUS, gpus=gpus), 200)


def test_no_eta_says_why() -> None:
    assert eta(Pace(1, 2, 60, why_none="only 3 items in the last 1 min")) == (
        "no ETA yet: only 3 items in the last 1 min"
    )
    assert eta(Pace(1, 2, 60, low_s=600, high_s=610)) == "10 min"
    assert eta(Pace(1, 2, 60, low_s=10_800, high_s=18_000)) == "3 to 5 h"
    assert eta(Pace(1, 2, 60, low_s=6000, high_s=13_200)) == "1 h 40 min to 3 h 40 min"


def test_an_incomplete_publication_is_the_end_only_when_nothing_works_on_the_run() -> None:
    """A run that is resumed has done nothing more for a while than what is published of it."""
    incomplete = PublishedStatus(Path("/out"), "2026-01-02T03:04:05", False, STATUS.num_done)
    resumed = replace(STATUS, published=incomplete)
    assert not is_published(resumed)
    assert next_step(resumed) == "Published, incomplete, as allowed, and being worked on: /out"
    over = replace(SUBMISSION, tasks=TASKS[14:], merge_is_open=False)
    ended = replace(resumed, submissions=(over,))
    assert is_published(ended)
    assert next_step(ended) == "Published, incomplete, as allowed: /out"
    assert is_published(replace(STATUS, published=replace(incomplete, complete=True)))
    waiting = replace(over, tasks=(replace(TASKS[0], state=TaskState.WAITING),))
    assert not is_published(replace(resumed, submissions=(waiting,)))
    gone = replace(waiting, driver_lives=False)
    assert is_published(replace(resumed, submissions=(gone,))), "nobody starts what waits"


def test_what_to_wait_for() -> None:
    assert next_step(STATUS) == "Not published: tasks are running or waiting."
    over = replace(SUBMISSION, tasks=TASKS[14:])
    merging = replace(STATUS, submissions=(over,))
    assert next_step(merging) == "Not published: the merge job waits or runs." and is_working(merging)
    closed = replace(over, merge_is_open=False)
    assert not is_working(replace(STATUS, submissions=(closed,)))
    assert is_working(replace(STATUS, submissions=(replace(closed, driver_lives=True),)))
    assert not is_working(replace(STATUS, submissions=()))
    waiting = replace(closed, tasks=(replace(TASKS[0], state=TaskState.WAITING),))
    assert next_step(replace(STATUS, submissions=(waiting,))).endswith("tasks are running or waiting.")
    gone = replace(STATUS, submissions=(replace(waiting, driver_lives=False),))
    assert not is_working(gone)
    assert next_step(gone) == f"Not published: `vllm-launch resume {STATUS.root}` generates what is missing."
    assert state_line(STATUS) == (
        "751 of 2,000 items done, 2 failed; tasks of submission 2: 8 waiting, 3 running, 2 ended, 2 failed,"
        " 1 dead; merge job PENDING (Dependency: waits for other jobs of this run to end)"
    )
