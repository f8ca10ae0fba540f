"""Where a run stands: from files, with the scheduler's word where it was asked."""

import io
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
from rich.console import Console

from launch.cli.publishing import merge_and_tell
from launch.collect.ledger.so_far import GpuTime
from launch.collect.merge import merge
from launch.collect.queue_look import QueueLook
from launch.collect.status import status
from launch.collect.status_record import RunStatus
from launch.collect.status_view import as_json, render
from launch.collect.status_words import next_step
from launch.collect.survey import LIVE_TAIL_S, Survey
from launch.collect.task_status import TaskState, TaskStatus
from launch.config.schema import Scheduler
from launch.errors import IncompleteError
from launch.rundir.canary import CanaryRecord, keep_canary
from launch.rundir.journal import Journal, write_json
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_submission, save_record
from launch.slurm.commands import QueueRow
from tests.collect.builders import (
    change_publish,
    make_generations,
    published,
    write_events,
    write_results,
)


def look(rows: list[QueueRow], age_s: float = -1.0) -> QueueLook:
    """What the queue says, asked for so long ago; by default after every sign of life of the test."""
    return QueueLook(tuple(rows), time.time() - age_s)


def tasks(run: RunPaths, rows: list[QueueRow] | None = None) -> tuple[TaskStatus, ...]:
    return status(run, None if rows is None else look(rows)).submissions[-1].tasks


def end(run: RunPaths, task: int, attempt: int, code: int, reason: str, message: str | None = None) -> None:
    failure = None if message is None else {"class": "engine_lost", "message": message}
    value = {"code": code, "reason": reason, "failure": failure}
    write_json(run.attempt(1, task, attempt).ended, value)


def send_to_slurm(run: RunPaths) -> None:
    """Makes submission 1 one of Slurm: an array 77 of two tasks and a merge job 78."""
    record = load_submission(run, 1)
    resources = record.resources.model_copy(update={"scheduler": Scheduler.SLURM})
    save_record(run.submission(1).submission_yaml, record.model_copy(update={"resources": resources}))
    journal = Journal(run.submission(1).jobs)
    for name, job_id, size in (("tasks-0", "77", 2), ("merge", "78", 0)):
        row: dict[str, Any] = {"name": name, "job_name": f"run-{name}", "offset": 0, "size": size}
        journal.append(row)
        journal.append({**row, "job_id": job_id})
    journal.close()


def row(task: int | None, state: str, reason: str = "None") -> QueueRow:
    return QueueRow("78" if task is None else "77", task, "name", state, reason, "")


def shown(value: RunStatus) -> str:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(render(value))
    return console.export_text()


def test_items_that_were_generated_twice_count_once(run: RunPaths) -> None:
    """As where a chunk was taken from a task that lived."""
    everything = make_generations(run)
    write_results(run, everything)
    write_results(run, everything[:6])
    write_results(run, everything[6:], task=1)
    (submission,) = status(run).submissions
    assert (submission.num_settled, submission.num_items) == (12, 12)
    assert [task.num_settled for task in submission.tasks] == [12, 0]


LISTENERS: list[list[tuple[str, str]]] = []
"""They get what this process opens and lists: an audit hook stays for good."""


def note_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("open", "os.scandir"):
        for listener in LISTENERS:
            listener.append((event, str(arguments[0])))


sys.addaudithook(note_opened)


@pytest.fixture
def opened() -> Iterator[list[tuple[str, str]]]:
    """Files opened and directories listed from here on."""
    LISTENERS.append([])
    yield LISTENERS[-1]
    LISTENERS.pop()


def test_a_look_reads_each_small_file_and_lists_each_directory_once(
    run: RunPaths, opened: list[tuple[str, str]]
) -> None:
    """On a shared file system each is a question to a server, and there are 1,000 tasks."""
    generations = make_generations(run)
    for task in (0, 1):
        write_results(run, generations[task : task + 1], task=task)
        end(run, task, 0, 0, "empty")
    opened.clear()
    status(run)
    counts = Counter(path for _, path in opened)
    once = {str(run.tasks), str(run.tasks / "1")}
    for task in (0, 1):
        paths = run.attempt(1, task, 0)
        once |= set(map(str, (paths.root.parent, paths.root, paths.attempt_json, paths.ended)))
    assert {path: counts[path] for path in once} == dict.fromkeys(once, 1)
    status(run)
    again = Counter(path for _, path in opened)
    assert {path: again[path] for path in once} == dict.fromkeys(once, 2), "nothing is kept for the next look"


def test_what_a_living_writer_is_about_to_commit_is_not_looked_up(
    run: RunPaths, opened: list[tuple[str, str]]
) -> None:
    """The index of a large run has 100 MB; what a killed engine left uncommitted is counted all the same."""
    generations = make_generations(run)
    paths = write_results(run, generations[:2]).paths(run)
    write_results(run, generations[2:4], task=1)
    paths.commits.write_bytes(b"")
    opened.clear()
    assert status(run).num_done == 2
    assert str(run.index) not in {path for _, path in opened}
    written = paths.results.stat().st_mtime - LIVE_TAIL_S - 1
    os.utime(paths.results, (written, written))
    assert status(run).num_done == 4


def test_who_looks_again_reads_commits_on_and_sees_the_same(run: RunPaths) -> None:
    """Whole lines that nobody committed, lines that come late and a merge's list of damaged ones included."""
    survey, generations = Survey(run), make_generations(run)

    def seen() -> RunStatus:
        other = Survey(run)
        again, fresh = status(run, survey=survey), status(run, survey=other)
        assert survey.recent == other.recent
        assert [task.num_settled for task in again.tasks] == [task.num_settled for task in fresh.tasks]
        assert (again.num_output_tokens, again.num_missing) == (fresh.num_output_tokens, fresh.num_missing)
        assert again.num_done == fresh.num_done
        return again

    assert seen().num_done == 0
    start = write_results(run, generations[:3])
    paths = start.paths(run)
    whole = paths.results.read_bytes()
    paths.results.write_bytes(whole[:-1])
    assert seen().num_done == 2, "its last line is not to be seen yet"
    paths.results.write_bytes(whole)
    assert seen().num_done == 3
    write_results(run, generations[2:6], task=1)
    assert seen().num_done == 6
    tail = write_results(run, generations[6:8], task=1).paths(run)
    tail.commits.write_bytes(b"")
    os.utime(tail.results, (1e9, 1e9))
    assert [seen().num_done for _ in range(2)] == [8, 8]
    row = {**asdict(start), "offset": 0}
    run.damaged.parent.mkdir(exist_ok=True)
    run.damaged.write_text(json.dumps(row) + "\n")
    assert seen().num_done == 7
    paths.commits.write_bytes(bytes(paths.commits.stat().st_size))
    assert status(run, survey=survey).num_done == 7, "what was read is not read again"


def test_a_run_that_has_not_begun(run: RunPaths) -> None:
    found = status(run)
    assert (found.num_items, found.num_done, found.num_missing, found.published) == (12, 0, 12, None)
    assert [task.state for task in tasks(run)] == [TaskState.UNSENT] * 2
    assert [task.state for task in tasks(run, [])] == [TaskState.UNSENT] * 2
    assert (
        next_step(found) == f"Not published: nothing was sent yet; `vllm-launch resume {run.root}` sends it."
    )
    run.submission(1).driver.write_text("{}")
    assert [task.state for task in tasks(run)] == [TaskState.WAITING] * 2
    assert next_step(status(run)) == "Not published: tasks are running or waiting."


def test_states_of_tasks(run: RunPaths) -> None:
    everything = make_generations(run, failed=[3])
    running, ended = write_results(run, everything[:4]), write_results(run, everything[4:7], task=1)
    write_events(run, running, [(1.0, "phase", {"slot": 0, "start": 0, "phase": "generating"})])
    run.attempt(1, 0, 0).heartbeat.touch()
    end(run, 1, ended.attempt, 1, "failed", "slot 0: the engine process exited with 1")
    first, second = tasks(run)
    assert (first.state, first.message, first.num_settled, first.host) == (
        TaskState.RUNNING,
        "generating",
        4,
        "node0",
    )
    assert first.heartbeat_age_s is not None
    assert first.heartbeat_age_s < 60
    assert (second.state, second.message) == (TaskState.FAILED, "slot 0: the engine process exited with 1")
    found = status(run)
    assert (found.num_done, found.num_failed, found.num_missing) == (6, 1, 5)
    end(run, 1, ended.attempt, 75, "drained")
    assert tasks(run)[1].state is TaskState.DRAINED
    end(run, 1, ended.attempt, 0, "empty")
    assert tasks(run)[1].state is TaskState.ENDED
    long_ago = time.time() - 16 * 60
    os.utime(run.attempt(1, 0, 0).heartbeat, (long_ago, long_ago))
    dead = tasks(run)[0]
    assert (dead.state, dead.message) == (TaskState.DEAD, "ended without a word: no sign of life")
    assert next_step(status(run)) == (
        f"Not published: `vllm-launch resume {run.root}` generates what is missing."
    )


def test_the_last_step_of_the_ladder_is_told(run: RunPaths) -> None:
    start = write_results(run, make_generations(run)[:4])
    place = {"slot": 0, "start": 0}
    shrunk = {"class": "out_of_memory", "action": "shrink", "setting": "max_num_seqs", "from": 16, "to": 8}
    write_events(
        run, start, [(1.0, "ladder", {**place, **shrunk}), (2.0, "phase", {**place, "phase": "loading"})]
    )
    run.attempt(1, 0, 0).heartbeat.touch()
    assert tasks(run)[0].message == "loading (after out_of_memory: max_num_seqs 16 -> 8)"
    write_events(run, start, [(3.0, "ladder", {**place, "class": "engine_dead", "action": "restart"})])
    end(run, 0, 0, 0, "empty")
    assert tasks(run)[0].message == "after engine_dead: started again"
    end(run, 0, 0, 75, "elsewhere", "slot 0: another process holds memory of the GPU")
    write_events(run, start, [(4.0, "ladder", {**place, "class": "gpu_busy", "action": "elsewhere"})])
    assert tasks(run)[0].message == (
        "slot 0: another process holds memory of the GPU (after gpu_busy: to another node)"
    )


def idle(gpu: str, spell: int, idle_s: float = 60) -> dict[str, Any]:
    return {"slot": 0, "start": 0, "gpu": gpu, "idle_s": idle_s, "spell": spell}


def test_a_gpu_that_idles_beside_requests_is_told_while_it_does_and_afterwards(run: RunPaths) -> None:
    start = write_results(run, make_generations(run)[:4])
    run.attempt(1, 0, 0).heartbeat.touch()
    now = time.time()
    events = [
        (now - 900, "gpu_idle", idle("0", 1)),
        (now - 800, "gpu_idle_end", {"slot": 0, "gpu": "0", "lasted_s": 160}),
        (now - 660, "gpu_idle", idle("1", 7)),
    ]
    write_events(run, start, events)
    found = status(run)
    over, goes_on = found.tasks[0].idle_gpus
    assert (over.gpu, over.num_spells, over.for_s) == ("0", 1, None)
    assert (goes_on.gpu, goes_on.num_spells, goes_on.for_s) == ("1", 7, pytest.approx(720, abs=5))
    said = " ".join(shown(found).split())
    assert "gpu idle task 0: GPU 0 idled once while it had requests; GPU 1 has idled for 12 min" in said
    assert "while it has requests (7 times so far)" in said
    (told, _) = json.loads(json.dumps(as_json(found)))["submissions"][0]["tasks"][0]["idle_gpus"]
    assert told == {"slot": 0, "gpu": "0", "num_spells": 1, "for_s": None}
    end(run, 0, 0, 0, "empty")
    said = " ".join(shown(status(run)).split())
    assert "GPU 1 idled 7 times while it had requests" in said and "has idled" not in said


def test_a_run_that_has_ended_says_that_it_had_no_gpu(run: RunPaths) -> None:
    everything = make_generations(run)
    for task in (0, 1):
        write_results(run, everything[6 * task : 6 * task + 6], task=task)
    summary = {"num_samples": 0, "gpus": [], "sampled_s": None, "total": None, "no_gpu": "none is visible"}
    for task in (0, 1):
        write_json(run.attempt(1, task, 0).ended, {"code": 0, "reason": "empty", "gpu": summary})
    found = status(run)
    assert found.gpus is not None and as_json(found)["gpus"]["no_gpu"] == "none is visible"
    assert "gpus no GPU (none is visible)" in " ".join(shown(found).split())
    measured = {**summary, "num_samples": 1, "gpus": [{}], "sampled_s": 1.0, "no_gpu": None}
    measured["total"] = {"num_gpus": 1}
    write_json(run.attempt(1, 1, 0).ended, {"code": 0, "reason": "empty", "gpu": measured})
    assert status(run).gpus is None, "one had a GPU"
    run.attempt(1, 1, 0).ended.unlink()
    run.attempt(1, 1, 0).heartbeat.touch()
    assert status(run).gpus is None, "one runs, and has not told yet"


def test_what_killed_and_failed_attempts_have_cost(run: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    record = load_submission(run, 1)
    resources = record.resources.model_copy(update={"price_per_gpu_hour": "2.50 EUR"})
    save_record(run.submission(1).submission_yaml, record.model_copy(update={"resources": resources}))
    assert status(run).gpu_time is None
    write_results(run, make_generations(run)[:1])
    write_results(run, make_generations(run)[1:2], task=1)
    began = time.time() - 7200
    for task in (0, 1):
        about = {"host": "n1", "gpus": ["GPU-1", "GPU-2"], "started": began}
        write_json(run.attempt(1, task, 0).attempt_json, about)
    write_json(run.attempt(1, 0, 0).ended, {"code": 1, "reason": "failed", "ended": began + 1800})
    run.attempt(1, 1, 0).heartbeat.touch()  # killed after an hour
    os.utime(run.attempt(1, 1, 0).heartbeat, (began + 3600, began + 3600))
    found = status(run)
    assert found.gpu_time == GpuTime(gpu_hours=3.0, num_attempts=2, cost=7.5, currency="EUR")
    assert as_json(found)["gpu_time"]["gpu_hours"] == 3.0
    assert "gpu time  3.00 GPU-hours so far, of 2 attempts; 7.50 EUR" in shown(found)
    with pytest.raises(IncompleteError):
        merge_and_tell(run)
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"ledger +\d\.\d\d GPU-hours: .*; \d+\.\d\d EUR, so far", line)


def test_the_queue_says_what_files_cannot(run: RunPaths) -> None:
    send_to_slurm(run)
    first, second = tasks(run, [row(0, "PENDING", "Resources"), row(None, "PENDING", "Dependency")])
    assert (first.state, first.message) == (TaskState.WAITING, "PENDING (Resources)")
    assert (second.state, second.message) == (TaskState.DEAD, "not in the queue, and never started")
    found = status(run, look([row(0, "RUNNING"), row(1, "CANCELLED"), row(None, "PENDING", "Dependency")]))
    assert [task.state for task in found.submissions[0].tasks] == [TaskState.WAITING, TaskState.DEAD]
    assert found.submissions[0].merge_job == "PENDING (Dependency: waits for other jobs of this run to end)"
    write_results(run, make_generations(run)[:1])
    run.attempt(1, 0, 0).heartbeat.touch()
    assert tasks(run, [row(0, "RUNNING")])[0].state is TaskState.RUNNING
    killed = tasks(run, [row(0, "NODE_FAIL")])[0]
    assert (killed.state, killed.message) == (TaskState.DEAD, "ended without a word: NODE_FAIL")
    end(run, 0, 0, 75, "drained")
    assert tasks(run, [row(0, "REQUEUED", "BeginTime")])[0].state is TaskState.WAITING


def test_what_the_canary_found(run: RunPaths) -> None:
    write_results(run, make_generations(run)[:5])
    write_results(run, make_generations(run)[5:6], task=1)
    end(run, 0, 0, 2, "refused", "the run is stopped")
    end(run, 1, 0, 2, "refused", "the run is stopped")
    assert status(run).canary is None
    keep_canary(run, CanaryRecord(1, 5, {"max_empty_rate": 1.0}, ("100% are empty",), True, "task 0", 1.0))
    found = status(run)
    said = " ".join(shown(found).split())
    assert "canary of the first 5 items 100% are empty; it stopped submission 1" in said
    assert next_step(found).startswith("Not published: stopped by its canary. Look at the texts;")
    assert json.loads(json.dumps(as_json(found)))["canary"]["stops"] is True
    run.canary.unlink()
    keep_canary(run, CanaryRecord(1, 5, {"max_empty_rate": 0.0}, (), False, "task 0", 1.0))
    assert "of the first 5 items" not in shown(status(run))


def test_published_and_what_is_not_ours(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    assert next_step(status(run)) == f"Not published: `vllm-launch merge {run.root}` checks and publishes."
    merge(run)
    found = status(run)
    assert found.published is not None
    assert found.published.complete
    assert next_step(found) == f"Published, complete: {published(run)}"
    manifest = published(run) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"run_id": "run"', '"run_id": "other"'))
    found = status(run)
    assert found.published is None
    assert found.trouble == f"{published(run)}: holds the results of run other."


def test_failed_items_that_a_merge_would_refuse_are_advised_about(run: RunPaths) -> None:
    write_results(run, make_generations(run, failed=[3]))
    with pytest.raises(IncompleteError, match="too_long fails again: a new run with a larger"):
        merge(run)
    assert (
        next_step(status(run))
        == as_json(status(run))["next"]
        == (
            f"Not published: 1 failed. `vllm-launch merge {run.root}` names them and what helps; with"
            " --max-failed-items 1 it publishes without them."
        )
    )
    change_publish(run, max_failed_items=1)
    assert next_step(status(run)) == f"Not published: `vllm-launch merge {run.root}` checks and publishes."


def test_results_that_came_after_publishing_are_said(run: RunPaths) -> None:
    everything = make_generations(run)
    starts = [write_results(run, everything[task:-1:2], task=task) for task in range(2)]
    change_publish(run, allow_missing=True)
    merge(run)
    assert next_step(status(run)).startswith("Published, incomplete, as allowed, and being worked on: ")
    for start in starts:
        end(run, start.task, start.attempt, 1, "failed")
    assert next_step(status(run)).startswith("Published, incomplete, as allowed: ")
    write_results(run, everything[-1:], task=1)
    assert next_step(status(run)).startswith("Not published: `vllm-launch merge")


def test_shown_in_80_columns(run: RunPaths) -> None:
    start = write_results(run, make_generations(run)[:5])
    end(run, 0, start.attempt, 1, "failed", "a long story " * 12)
    text = shown(status(run))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "5 of 12 done (41.6 %)" in text
    assert "stub (made-up texts, for tests only)" in text
    assert "a long story" in text
    assert "tasks: 1 waiting, 1 failed" in text


def test_as_json_is_json(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    merge(run)
    value = json.loads(json.dumps(as_json(status(run))))
    assert value["num_done"] == 12
    assert value["submissions"][0]["tasks"][0]["state"] == "running"
    assert value["published"]["output_dir"] == str(published(run))
    assert value["next"].startswith("Published")
