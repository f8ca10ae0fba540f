"""The ledger of GPU hours beside sacct, on a real Slurm with slurmdbd: whatever became of a task."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from launch.collect.ledger.spans import match_spans, read_all_times
from launch.rundir.journal import read_journal, read_json
from launch.rundir.layout import EnginePaths, RunPaths
from launch.rundir.records import list_submissions, load_submission
from launch.rundir.results import COMMIT_FIELDS, committed_items
from tests.models import make_tiny_llama
from tests.slurm.cluster_conf import ClusterSpec
from tests.slurm.private_slurm import PrivateSlurm
from tests.slurm.test_end_to_end import STUB_WAIT_S, Site

WORK = ("--engine", "stub", "--dataset", "DMSC", "--num-tasks", "1", "--max-num-seqs", "1")
SETTINGS = (
    *("--set", "resources.price_per_gpu_hour=2.50 EUR", "--set", "resources.max_rounds=0"),
    *("--set", "publish.allow_missing=true"),
)
TWO_SLOTS = ("--set", "engine.engines_per_node=2", "--set", "resources.gpus_per_task=2")
SECONDS_PER_ITEM = 3
SLOW = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": str(SECONDS_PER_ITEM)}
KILL_WAIT_S = ClusterSpec().kill_wait_s
STATES = {
    "finished": ["COMPLETED"],
    "failed": ["FAILED"],
    "cancelled": ["CANCELLED"],
    "requeued": ["REQUEUED", "COMPLETED"],
    "killed": ["FAILED"],
    "again": ["FAILED", "COMPLETED"],
}
"""What becomes of the one task of each run, in the words of sacct.

`again` has two engines on two GPUs. Its task is killed, and a result that it had committed is damaged on the
disk: a second submission generates that item and those that the kill took once more.
"""
NUM_GPUS = {name: 2 if name == "again" else 1 for name in STATES}


def tolerance_s(gpu_seconds: float) -> float:
    """What a ledger may be off."""
    return max(2.0, 0.02 * gpu_seconds)


def job_of(run: RunPaths, submission: int = 1) -> str:
    """The id of its array."""
    rows = read_journal(run.submission(submission).jobs)
    return str(next(row["job_id"] for row in rows if "job_id" in row))


def accounted(slurm: PrivateSlurm, run: RunPaths) -> list[tuple[int, str]]:
    """GPU-seconds and state of every life that sacct has of the only task of a run's arrays, in order."""
    fields = "ElapsedRaw,AllocTRES,State,Start"
    jobs = ",".join(job_of(run, submission) for submission in list_submissions(run))
    rows = slurm.run("sacct", "-X", "-D", "-n", "-P", f"--jobs={jobs}", f"--format={fields}").splitlines()
    lives = []
    for elapsed, tres, state, _ in sorted((row.split("|") for row in rows), key=lambda row: row[3]):
        gpus = dict(each.split("=") for each in tres.split(",") if each).get("gres/gpu", "0")
        lives.append((int(elapsed) * int(gpus), state.split()[0]))
    return lives


def wait_until(is_true: Callable[[], bool], site: Site, run: RunPaths) -> None:
    deadline = time.monotonic() + STUB_WAIT_S
    while not is_true():
        assert time.monotonic() < deadline, f"{site.log(run)}\n{site.slurm.logs()}"
        time.sleep(0.1)


def engines_of(run: RunPaths) -> list[EnginePaths]:
    """Of its first attempt: one for each slot."""
    return [run.attempt(1, 0, 0).engine(slot, 0) for slot in range(2)]


def num_commits(run: RunPaths) -> int:
    return sum(len(list(read_journal(paths.commits))) for paths in engines_of(run))


def wait_for_commit(site: Site, run: RunPaths, above: int = 0) -> None:
    wait_until(lambda: num_commits(run) > above, site, run)


def kill_in_the_middle_of_an_item(site: Site, run: RunPaths) -> None:
    """Kills batch shell and supervisor at once, well after a commit: Slurm tells whole seconds."""
    wait_for_commit(site, run, above=max(1, num_commits(run)))
    time.sleep(SECONDS_PER_ITEM / 2)
    about = read_json(run.attempt(1, 0, 0).attempt_json)
    assert about is not None
    supervisor = psutil.Process(about["pid"])
    shell = supervisor.parent()
    assert shell is not None
    shell.kill()
    supervisor.kill()


def submit(site: Site, name: str) -> RunPaths:
    failing = {"VLLM_LAUNCH_STUB_FAIL": "start"} if name == "failed" else {}
    num_items = {"finished": "2", "requeued": "4", "again": "8"}.get(name, "20")
    slots = TWO_SLOTS if NUM_GPUS[name] == 2 else ()
    return site.submit(name, *WORK, *slots, "--limit-items", num_items, *SETTINGS, extra=SLOW | failing)


def damage_the_first_result(run: RunPaths) -> None:
    """Changes a byte of a line that was committed: a merge finds that, and a resume generates it again."""
    paths = next(paths for paths in engines_of(run) if list(read_journal(paths.commits)))
    line = next(read_journal(paths.commits, **COMMIT_FIELDS))
    item = next(committed_items(line))
    with paths.results.open("r+b") as handle:
        handle.seek(item.offset + item.length // 2)
        byte = handle.read(1)
        handle.seek(-1, os.SEEK_CUR)
        handle.write(b"x" if byte != b"x" else b"y")


def complete(site: Site, run: RunPaths) -> None:
    """Sends what is missing once more, when the first submission's merge job has published without it."""
    site.wait(run, STUB_WAIT_S)
    said = site.launch("resume", str(run.root), extra=SLOW)
    assert load_submission(run, 2).num_items > 1, said
    site.wait(run, STUB_WAIT_S, submission=2)


@pytest.fixture(scope="module")
def site(slurm_with_slurmdbd: PrivateSlurm, tmp_path_factory: pytest.TempPathFactory) -> Site:
    home = tmp_path_factory.mktemp("ledger")
    make_tiny_llama(home / "model")
    return Site(slurm_with_slurmdbd, home, home / "model")


@pytest.fixture(scope="module")
def runs(site: Site) -> dict[str, RunPaths]:
    """A run for each end, published by its merge job."""
    found = {name: submit(site, name) for name in ("killed", "cancelled", "again")}  # all four GPUs
    kill_in_the_middle_of_an_item(site, found["again"])
    damage_the_first_result(found["again"])
    kill_in_the_middle_of_an_item(site, found["killed"])
    wait_for_commit(site, found["cancelled"])
    site.slurm.run("scancel", "--signal=KILL", "--full", f"{job_of(found['cancelled'])}_0")
    found |= {name: submit(site, name) for name in ("failed", "finished", "requeued")}
    wait_for_commit(site, found["requeued"])
    site.slurm.run("scontrol", "requeue", f"{job_of(found['requeued'])}_0")
    complete(site, found["again"])
    for run in found.values():
        site.wait(run, STUB_WAIT_S)
    return found


@pytest.fixture
def case(request: pytest.FixtureRequest, site: Site, runs: dict[str, RunPaths]) -> dict[str, Any]:
    """One of them: its ledger, and what sacct has."""
    run = runs[request.param]
    summary = json.loads((site.published(run) / "inference_summary.json").read_text())
    lives = accounted(site.slurm, run)
    assert [state for _, state in lives] == STATES[request.param]
    attempts = [attempt for task in summary["ledger"]["tasks"] for attempt in task["attempts"]]
    assert {attempt["num_gpus"] for attempt in attempts} == {NUM_GPUS[request.param]}
    return {"run": run, "ledger": summary["ledger"], "attempts": attempts, "lives": lives}


@pytest.mark.parametrize("case", STATES, indirect=True)
def test_all_gpu_seconds_are_told(case: dict[str, Any]) -> None:
    ledger, lives = case["ledger"], case["lives"]
    assert ledger["no_sacct"] is None
    # Accounting may be behind the merge, which does not wait for it where the attempt told its end.
    by = Counter(ledger["ends_known_by"])
    assert by["sacct"] + by["itself"] == len(lives)
    last = list(read_all_times(case["run"]))[-1]
    assert not by["itself"] or case["run"].attempt(*last).ended.is_file()
    for attempt, (gpu_seconds, _) in zip(case["attempts"], lives, strict=True):
        spent = sum(attempt["phases"].values())
        assert spent == pytest.approx(gpu_seconds, abs=tolerance_s(gpu_seconds))
        assert attempt["unexplained"] <= 0.02 * gpu_seconds
    total = sum(gpu_seconds for gpu_seconds, _ in lives)
    assert sum(ledger["phases"].values()) == pytest.approx(total, abs=tolerance_s(total))
    assert ledger["gpu_hours"] == pytest.approx(total / 3600, abs=1e-3)
    assert ledger["cost"]["amount"] == pytest.approx(ledger["gpu_hours"] * 2.5, abs=0.01)


@pytest.mark.parametrize("case", STATES, indirect=True)
def test_attempts_know_it_of_themselves(case: dict[str, Any]) -> None:
    """Without sacct. Cancelled and requeued jobs are over for Slurm, and drain for up to KillWait.

    Slurm counts whole seconds from before the batch shell's first line to after its last, of each GPU.
    """
    own = match_spans(read_all_times(case["run"]), {})
    num_gpus = case["attempts"][0]["num_gpus"]
    for attempt, (gpu_seconds, state) in zip(own, case["lives"], strict=True):
        off_s = sum(span.gpu_seconds for span in attempt.spans) / num_gpus - gpu_seconds / num_gpus
        tolerated_s = tolerance_s(gpu_seconds / num_gpus)
        later_s = KILL_WAIT_S if state in ("CANCELLED", "REQUEUED") else 0
        assert off_s <= tolerated_s + later_s
        assert off_s >= -tolerated_s or attempt.end_by == "last sign"


def test_what_it_went_into(runs: dict[str, RunPaths], site: Site) -> None:
    phases = {}
    for name, run in runs.items():
        summary = json.loads((site.published(run) / "inference_summary.json").read_text())
        tasks = summary["ledger"]["tasks"]
        phases[name] = [attempt["phases"] for task in tasks for attempt in task["attempts"]]
        if name == "requeued":
            assert tasks[0]["attempts"][1]["queued_s"] > 1, "a requeue waits for cred_expire"
    (finished,), (failed,), (killed,) = (phases[name] for name in ("finished", "failed", "killed"))
    assert finished["generating"] > SECONDS_PER_ITEM and "lost" not in finished
    assert "generating" not in failed
    # By Slurm's whole seconds it may have ended before it loaded.
    (own,) = match_spans(read_all_times(runs["failed"]), {})
    assert "loading" in {span.phase for span in own.spans}
    assert killed["lost"] > 0
    first, second = phases["again"]
    assert first["repeated"] > 0.8 * SECONDS_PER_ITEM, "a damaged line's time was spent for nothing"
    assert first["lost"] > 0
    assert second["generating"] > 2 * SECONDS_PER_ITEM and not second.keys() & {"lost", "repeated"}
