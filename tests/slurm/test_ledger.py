"""The ledger of GPU hours beside sacct, on a real Slurm with slurmdbd: whatever became of a task."""

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from launch.collect.ledger.spans import match_spans, read_all_times
from launch.rundir.journal import read_journal, read_json
from launch.rundir.layout import RunPaths
from tests.models import make_tiny_llama
from tests.slurm.cluster_conf import ClusterSpec
from tests.slurm.private_slurm import PrivateSlurm
from tests.slurm.test_end_to_end import STUB_WAIT_S, Site

WORK = ("--engine", "stub", "--dataset", "DMSC", "--num-tasks", "1", "--max-num-seqs", "1")
SETTINGS = (
    *("--set", "resources.price_per_gpu_hour=2.50 EUR", "--set", "resources.max_rounds=0"),
    *("--set", "publish.allow_missing=true"),
)
SECONDS_PER_ITEM = 3
KILL_WAIT_S = ClusterSpec().kill_wait_s
STATES = {
    "finished": ["COMPLETED"],
    "failed": ["FAILED"],
    "cancelled": ["CANCELLED"],
    "requeued": ["REQUEUED", "COMPLETED"],
    "killed": ["FAILED"],
}
"""What becomes of the one task of each run, in the words of sacct."""


def tolerance_s(gpu_seconds: float) -> float:
    """What a ledger may be off."""
    return max(2.0, 0.02 * gpu_seconds)


def job_of(run: RunPaths) -> str:
    """The id of its array."""
    return str(next(row["job_id"] for row in read_journal(run.submission(1).jobs) if "job_id" in row))


def accounted(slurm: PrivateSlurm, job: str) -> list[tuple[int, str]]:
    """GPU-seconds and state of every life that sacct has of an array's only task, in order."""
    fields = "ElapsedRaw,AllocTRES,State,Start"
    rows = slurm.run("sacct", "-X", "-D", "-n", "-P", f"--jobs={job}", f"--format={fields}").splitlines()
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


def num_commits(run: RunPaths) -> int:
    return len(list(read_journal(run.attempt(1, 0, 0).engine(0, 0).commits)))


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
    num_items = {"finished": "2", "requeued": "4"}.get(name, "20")
    slow = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": str(SECONDS_PER_ITEM)}
    return site.submit(name, *WORK, "--limit-items", num_items, *SETTINGS, extra=slow | failing)


@pytest.fixture(scope="module")
def site(slurm_with_slurmdbd: PrivateSlurm, tmp_path_factory: pytest.TempPathFactory) -> Site:
    home = tmp_path_factory.mktemp("ledger")
    make_tiny_llama(home / "model")
    return Site(slurm_with_slurmdbd, home, home / "model")


@pytest.fixture(scope="module")
def runs(site: Site) -> dict[str, RunPaths]:
    """A run for each end, published by its merge job."""
    found = {name: submit(site, name) for name in ("killed", "cancelled", "failed", "finished", "requeued")}
    wait_for_commit(site, found["requeued"])
    site.slurm.run("scontrol", "requeue", f"{job_of(found['requeued'])}_0")
    kill_in_the_middle_of_an_item(site, found["killed"])
    wait_for_commit(site, found["cancelled"])
    site.slurm.run("scancel", "--signal=KILL", "--full", f"{job_of(found['cancelled'])}_0")
    for run in found.values():
        site.wait(run, STUB_WAIT_S)
    return found


@pytest.fixture
def case(request: pytest.FixtureRequest, site: Site, runs: dict[str, RunPaths]) -> dict[str, Any]:
    """One of them: its ledger, and what sacct has."""
    run = runs[request.param]
    summary = json.loads((site.published(run) / "inference_summary.json").read_text())
    lives = accounted(site.slurm, job_of(run))
    assert [state for _, state in lives] == STATES[request.param]
    return {"run": run, "ledger": summary["ledger"], "lives": lives}


@pytest.mark.parametrize("case", STATES, indirect=True)
def test_all_gpu_seconds_are_told(case: dict[str, Any]) -> None:
    ledger, lives = case["ledger"], case["lives"]
    (task,) = ledger["tasks"]
    assert ledger["no_sacct"] is None
    # Accounting may be behind the merge, which does not wait for it where the attempt told its end.
    by = Counter(ledger["ends_known_by"])
    assert by["sacct"] + by["itself"] == len(lives)
    assert not by["itself"] or case["run"].attempt(1, 0, len(lives) - 1).ended.is_file()
    for attempt, (gpu_seconds, _) in zip(task["attempts"], lives, strict=True):
        spent = sum(attempt["phases"].values())
        assert spent == pytest.approx(gpu_seconds, abs=tolerance_s(gpu_seconds))
        assert attempt["unexplained"] <= 0.02 * gpu_seconds
    total = sum(gpu_seconds for gpu_seconds, _ in lives)
    assert sum(ledger["phases"].values()) == pytest.approx(total, abs=tolerance_s(total))
    assert ledger["gpu_hours"] == pytest.approx(total / 3600, abs=1e-3)
    assert ledger["cost"]["amount"] == pytest.approx(ledger["gpu_hours"] * 2.5, abs=0.01)


@pytest.mark.parametrize("case", STATES, indirect=True)
def test_attempts_know_it_of_themselves(case: dict[str, Any]) -> None:
    """Without sacct. Cancelled and requeued jobs are over for Slurm, and drain for up to KillWait."""
    own = match_spans(read_all_times(case["run"]), [])
    for attempt, (gpu_seconds, state) in zip(own, case["lives"], strict=True):
        off = sum(span.gpu_seconds for span in attempt.spans) - gpu_seconds
        later = KILL_WAIT_S if state in ("CANCELLED", "REQUEUED") else 0
        assert off <= tolerance_s(gpu_seconds) + later
        assert off >= -tolerance_s(gpu_seconds) or attempt.end_by == "last sign"


def test_what_it_went_into(runs: dict[str, RunPaths], site: Site) -> None:
    phases = {}
    for name, run in runs.items():
        summary = json.loads((site.published(run) / "inference_summary.json").read_text())
        (task,) = summary["ledger"]["tasks"]
        phases[name] = [attempt["phases"] for attempt in task["attempts"]]
        if name == "requeued":
            assert task["attempts"][1]["queued_s"] > 1, "a requeue waits for cred_expire"
    (finished,), (failed,), (killed,) = (phases[name] for name in ("finished", "failed", "killed"))
    assert finished["generating"] > SECONDS_PER_ITEM and "lost" not in finished
    assert "loading" in failed and "generating" not in failed
    assert killed["lost"] > 0
