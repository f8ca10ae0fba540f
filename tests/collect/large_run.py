"""A run of 1,000 tasks as it looks in the middle, each file written by what writes it in a task."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launch.config.schema import Scheduler
from launch.rundir.attempts import open_attempt
from launch.rundir.chunks import read_chunks
from launch.rundir.identity import settings_digest
from launch.rundir.journal import Journal, json_line, write_json
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_run, load_submission, save_record
from launch.scenarios.records import Generation
from launch.worker.writer import ResultWriter
from tests.collect.builders import make_generations, make_users, plan_run

HOSTILE = "\x1b[31mnode\u202e\x00"
JOB = "4711"


@contextmanager
def in_memory(otherwise: Path) -> Iterator[Path]:
    """A directory where an fsync costs nothing: 4,000 of them take 15 s on a disk and 1 s here (measured)."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)


def send_to_slurm(run: RunPaths, size: int, job: str = JOB) -> None:
    """Makes submission 1 one of Slurm's: an array of `size` tasks and a merge job, one number later."""
    record = load_submission(run, 1)
    resources = record.resources.model_copy(update={"scheduler": Scheduler.SLURM, "qos": "gpus"})
    save_record(run.submission(1).submission_yaml, record.model_copy(update={"resources": resources}))
    with run.submission(1).jobs.open("wb") as journal:
        for name, job_id, tasks in (("tasks-0", job, size), ("merge", str(int(job) + 1), 0)):
            row: dict[str, Any] = {"name": name, "job_name": f"run-{name}", "offset": 0, "size": tasks}
            journal.write(json_line(row) + json_line({**row, "job_id": job_id}))


def half_done(root: Path, checkpoint: Path, num_tasks: int, items_per_task: int) -> RunPaths:
    """Of 20 tasks 17 run, one has failed, one has ended and one waits; all have done half of their items."""
    users = make_users(num_tasks, items_per_task)
    run = plan_run(root, checkpoint, users, num_tasks=num_tasks, name="large")
    send_to_slurm(run, num_tasks)
    generations = make_generations(run)
    chunks = read_chunks(run.submission(1))
    settings, now = settings_digest(load_run(run)), time.time()
    items: dict[int, list[Generation]] = {}
    for chunk in chunks:
        items.setdefault(chunk.shard, []).extend(generations[number] for number in chunk.items)
    for task in range(num_tasks):
        if task % 20 != 19:
            _begin(run, task, items[task][: items_per_task // 2], settings, now)
    return run


def _begin(run: RunPaths, task: int, done: Sequence[Generation], settings: str, now: float) -> None:
    _, paths = open_attempt(run, 1, task)
    host = HOSTILE if task == 3 else f"node{task:04}"
    slurm = {"SLURM_ARRAY_JOB_ID": JOB, "SLURM_ARRAY_TASK_ID": str(task), "SLURM_CLUSTER_NAME": "big"}
    paths.attempt_json.write_bytes(json_line({"host": host, "slurm": slurm, "queue_wait_s": 5}))
    engine = paths.engine(0, 0)
    writer = ResultWriter(engine, settings, lambda _: None)
    writer.open_chunk(0, [generation.number for generation in done])
    for generation in done:
        writer.put(generation)
    writer.close()
    events = Journal(paths.events)
    for age, phase in ((400, "loading"), (350, "generating")):
        events.append({"time": now - age, "event": "phase", "slot": 0, "start": 0, "phase": phase})
    for age in range(340, 0, -30):
        events.append({"time": now - age, "event": "counts", "num_done": 350 - age})
    events.close()
    gpu = {"utilization_percent": 90, "memory_used_mib": 70000, "power_w": 500.0}
    paths.gpu.write_bytes(
        b"".join(json_line({"time": now - age, "gpus": [gpu] * 4}) for age in range(60, 0, -1))
    )
    paths.heartbeat.touch()
    if task % 20 == 7:
        failure = {
            "class": "out_of_memory",
            "message": "slot 0: out of memory: \x1b[1mtried\u202e",
            "advice": ["x"],
        }
        write_json(paths.ended, {"code": 1, "reason": "failed", "failure": failure})
    elif task % 20 == 8:
        write_json(paths.ended, {"code": 0, "reason": "empty", "failure": None})


def write_fake_slurm(folder: Path, num_tasks: int) -> Path:
    """Slurm's commands of a cluster where this runs; a line a call in the file that is returned."""
    folder.mkdir()
    calls = folder / "calls"
    end = "2030-01-02T03:04:05"
    rows = [
        f"{JOB}_{task}|x|RUNNING|None|n1|{end}"
        for task in range(num_tasks)
        if task % 20 < 7 or 8 < task % 20 < 19
    ]
    waiting = ",".join(str(task) for task in range(num_tasks) if task % 20 == 19)
    rows += [f"{JOB}_[{waiting}%8]|x|PENDING|QOSMaxGRESPerUser||N/A"] if waiting else []
    rows += [f"{int(JOB) + 1}|x|PENDING|Dependency||N/A"]
    (folder / "rows").write_text("\n".join(rows) + "\n")
    texts = {
        "squeue": f"cat {folder / 'rows'}",
        "scontrol": "printf 'Configuration data as of %(%FT%T)T\\nClusterName = big\\n' -1",
        "sacctmgr": "case $* in *maxtresperuser) echo gres/gpu=8;; *defaultqos) echo '||gpus';; esac",
    }
    for name, text in texts.items():
        (folder / name).write_text(f"#!/bin/bash\necho {name} >>{calls}\n{text}\n")
        (folder / name).chmod(0o755)
    return calls


def names_called(calls: Path) -> list[str]:
    """The commands that were called, in order."""
    return calls.read_text().split() if calls.exists() else []


def older(run: RunPaths, seconds: float) -> None:
    """Sets back when the queue was asked."""
    path = run.submission(1).queue
    text = path.read_text()
    asked = text.partition('"asked": ')[2].partition(",")[0]
    path.write_text(text.replace(f'"asked": {asked}', f'"asked": {float(asked) - seconds}'))
