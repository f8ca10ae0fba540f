"""A task from outside: exit codes, signals, what it refuses, and that nothing outlives it. Real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from tests.local_submit import is_alive
from tests.worker.build_run import build_run
from tests.worker.tasks import (
    FAKE_ENGINE,
    ended,
    events,
    finish,
    kill_9,
    num_committed,
    processes_with,
    run_task,
    start_task,
    wait_for_phase,
    wait_until,
)

pytestmark = pytest.mark.process

SLOW = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.25"}
MARK = "VLLM_LAUNCH_TEST_MARK"


def in_container(script: str) -> list[str]:
    """A container command that runs a shell script before the engine process."""
    return ["/bin/sh", "-c", f'{script} exec "$@"', "sh"]


def faked(mode: str, lead_s: int = 10) -> dict[str, object]:
    """Resources under which the engine process is the fake one."""
    return {"container": [sys.executable, str(FAKE_ENGINE), mode], "signal_lead_s": lead_s}


def test_a_task_generates_everything_and_says_so(tmp_path: Path):
    run = build_run(tmp_path, num_users=3, items_per_user=2)
    code, errors = run_task(run)
    assert (code, errors) == (0, "")
    assert survey_settled(run).num_done == 6
    end = ended(run)
    assert (end["code"], end["reason"], end["failure"]) == (0, "empty", None)
    assert end["counts"]["done"] == 6
    assert end["counts"]["samples"] == 12
    assert end["counts"]["output_tokens"] > 0
    assert set(end["phases_s"]) == {"starting", "loading", "generating", "draining"}
    assert [event["phase"] for event in events(run, "phase")] == list(end["phases_s"])
    files = sorted(path.name for path in run.attempt(1, 0, 0).root.iterdir())
    assert len(files) == 9, files


def test_a_variable_that_is_not_utf8_is_no_obstacle(tmp_path: Path):
    run = build_run(tmp_path)
    assert run_task(run, HF_HOME=os.fsdecode(b"/data/caf\xe9")) == (0, "")


def test_a_second_task_finds_nothing_left_and_starts_no_engine(tmp_path: Path):
    run = build_run(tmp_path, num_tasks=2)
    assert run_task(run, 0)[0] == 0
    assert run_task(run, 1)[0] == 0
    assert "loading" not in ended(run, task=1)["phases_s"]


def test_slots_share_the_work(tmp_path: Path):
    run = build_run(tmp_path, num_users=60, items_per_user=10, engine={"engines_per_node": 2})
    code, errors = run_task(run, VLLM_LAUNCH_STUB_SECONDS_PER_ITEM="0.005")
    assert (code, errors) == (0, "")
    assert num_committed(run, slot=0) + num_committed(run, slot=1) == 600
    assert num_committed(run, slot=0) > 0
    assert num_committed(run, slot=1) > 0
    assert [slot["said"] for slot in ended(run)["slots"]] == ["empty", "empty"]
    assert ended(run)["counts"]["done"] == 600


def test_usr2_drains_and_the_next_attempt_ends_the_work(tmp_path: Path):
    run = build_run(tmp_path, num_users=10, items_per_user=4)
    process = start_task(run, **SLOW)
    wait_until(lambda: num_committed(run) > 0, "a commit")
    process.send_signal(signal.SIGUSR2)
    code, _ = finish(process)
    assert code == 75
    end = ended(run)
    assert (end["reason"], end["failure"]) == ("drained", None)
    assert 0 < end["counts"]["done"] < 40
    assert end["counts"]["done"] == num_committed(run)
    assert events(run, "signal")[0]["name"] == "SIGUSR2"
    assert run_task(run)[0] == 0
    assert ended(run, attempt=1)["counts"]["done"] == 40 - end["counts"]["done"]
    assert survey_settled(run).num_done == 40


def test_term_twice_within_a_moment_is_one_order(tmp_path: Path):
    run = build_run(tmp_path, num_users=10, items_per_user=4)
    process = start_task(run, **SLOW)
    wait_for_phase(run, "generating")
    process.send_signal(signal.SIGTERM)  # Slurm's own
    wait_until(lambda: len(events(run, "signal")) == 1, "the first signal")
    process.send_signal(signal.SIGTERM)  # the batch shell's
    assert finish(process)[0] == 75
    assert ended(run)["reason"] == "drained"
    assert [event["asked"] for event in events(run, "signal")] == ["drain", "nothing"]


def test_an_engine_that_hears_no_drain_is_killed(tmp_path: Path):
    by_deadline = build_run(tmp_path / "deadline", resources=faked("stubborn"))
    by_hand = build_run(tmp_path / "hand", resources=faked("stubborn"))
    started = {}
    for run, number in ((by_deadline, signal.SIGUSR2), (by_hand, signal.SIGTERM)):
        started[run] = start_task(run)
        wait_for_phase(run, "generating")
        started[run].send_signal(number)
    time.sleep(3.2)
    assert started[by_hand].poll() is None
    started[by_hand].send_signal(signal.SIGTERM)
    assert finish(started[by_hand], 15)[0] == 75
    assert finish(started[by_deadline], 20)[0] == 75
    for run, why in ((by_deadline, "the deadline is over"), (by_hand, "told twice to stop")):
        assert ended(run)["reason"] == "killed"
        assert [event["why"] for event in events(run, "kill")] == [why]
        assert processes_with(str(run.root)) == []


def test_a_drain_while_loading_ends_at_once_and_the_second_in_vain_stops(tmp_path: Path):
    run = build_run(tmp_path, resources=faked("loading", lead_s=120))
    for attempt, code in ((0, 75), (1, 1)):
        process = start_task(run)
        wait_for_phase(run, "loading", attempt=attempt)
        process.send_signal(signal.SIGUSR2)
        found, errors = finish(process, 20)
        assert found == code, errors
    assert "attempts 0 and 1 ended without a committed item" in errors
    assert ended(run, attempt=1)["failure"]["class"] == "no_progress"


def test_an_engine_that_fails_stops_the_task(tmp_path: Path):
    run = build_run(tmp_path)
    code, errors = run_task(run, VLLM_LAUNCH_STUB_FAIL="start")
    assert code == 1
    log = run.attempt(1, 0, 0).engine(0, 0).log
    message, advice = "RuntimeError: the stub was told to fail at start", f"read the first error in {log}"
    assert errors == f"{message}\n  1. {advice}\n"
    assert ended(run)["failure"] == {"class": "RuntimeError", "message": message, "advice": [advice]}
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize(
    ("mode", "code", "failure_class", "message"),
    [
        ("silent", 1, "engine_lost", "exited with 3 without a word"),
        ("refused", 2, "EngineError", "engine.x: got 1. Set 2."),
    ],
)
def test_what_an_engine_says_last_decides(
    tmp_path: Path, mode: str, code: int, failure_class: str, message: str
):
    run = build_run(tmp_path, resources=faked(mode))
    found, errors = run_task(run)
    assert found == code
    assert message in errors.splitlines()[0]
    assert len(errors.splitlines()) == (
        1 if mode == "refused" else 2
    )  # what the log does not explain is in it
    assert ended(run)["failure"]["class"] == failure_class


def test_what_a_library_prints_to_the_pipe_is_no_message(tmp_path: Path):
    run = build_run(tmp_path, resources=faked("noisy"))
    assert run_task(run)[0] == 0
    assert ended(run)["counts"]["done"] == 4


def test_an_engine_killed_by_the_kernel_comes_back_once_and_leaves_nothing(tmp_path: Path):
    run = build_run(tmp_path, num_users=10, resources={"container": in_container("sleep 600 &")})
    process = start_task(run, **SLOW, **{MARK: str(tmp_path)})
    for start in (0, 1):
        wait_until(lambda start=start: is_generating(run, start), f"start {start} generates")
        signal_pid(events_pid(run, start), signal.SIGKILL)
    code, errors = finish(process)
    assert code == 1
    assert "was killed by SIGKILL without a word" in errors
    assert processes_with(str(tmp_path)) == []


def is_generating(run: RunPaths, start: int) -> bool:
    """Whether a start of slot 0 has got that far."""
    return any((each["start"], each["phase"]) == (start, "generating") for each in events(run, "phase"))


def events_pid(run: RunPaths, start: int) -> int:
    """The pid of the engine process of a start of slot 0."""
    text = run.attempt(1, 0, 0).attempt_json.read_text()
    return int(yaml.safe_load(text)["slots"][start]["pid"])


def signal_pid(pid: int, number: signal.Signals) -> None:
    """kill(2)."""
    os.kill(pid, number)


def test_slurm_signals_to_every_process_reach_the_supervisor_alone(tmp_path: Path):
    run = build_run(tmp_path, num_users=10, items_per_user=4)
    process = start_task(run, **SLOW, **{MARK: str(tmp_path)})
    wait_until(lambda: num_committed(run) > 0, "a commit")
    for number in (signal.SIGUSR2, signal.SIGTERM):
        for pid in processes_with(str(tmp_path)):
            signal_pid(pid, number)
    assert finish(process)[0] == 75
    assert ended(run)["reason"] == "drained"
    assert ended(run)["counts"]["done"] == num_committed(run) > 1
    assert processes_with(str(tmp_path)) == []


def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path: Path):
    run = build_run(
        tmp_path, num_users=10, items_per_user=10, resources={"container": in_container("sleep 600 &")}
    )
    process = start_task(run, **SLOW, **{MARK: str(tmp_path)})
    wait_for_phase(run, "generating")
    assert len(processes_with(str(tmp_path))) >= 4, "supervisor, engine, its tether and the sleep"
    kill_9(process)
    wait_until(lambda: processes_with(str(tmp_path)) == [], "no process left", timeout_s=30)
    assert not run.attempt(1, 0, 0).ended.exists()


def test_a_child_that_left_the_group_is_found_and_ended(tmp_path: Path):
    run = build_run(tmp_path, resources={"container": in_container("setsid sleep 600 &")})
    code, errors = run_task(run, **{MARK: str(tmp_path)})
    assert (code, errors) == (0, "")
    assert [word.split()[1] for event in events(run, "orphans") for word in event["killed"]] == ["sleep"]
    assert processes_with(str(tmp_path)) == []


def test_a_container_that_is_not_there_is_said(tmp_path: Path):
    run = build_run(tmp_path, resources={"container": ["no-such-apptainer", "exec"]})
    code, errors = run_task(run)
    assert code == 2
    assert errors == (
        "no-such-apptainer: cannot be started: No such file or directory. Check resources.container and"
        " resources.python.\n"
    )
    assert ended(run)["failure"]["class"] == "EngineError"


def test_other_code_than_was_submitted_is_refused(tmp_path: Path):
    run = build_run(tmp_path)
    path = run.submission(1).submission_yaml
    record = yaml.safe_load(path.read_text())
    record["code"] = {"version": "0.0.9", "digest": "0123456789abcdef" * 2}
    path.write_text(yaml.safe_dump(record))
    code, errors = run_task(run)
    assert code == 2
    assert "0.0.9 0123456789ab -> 0.1.0 " in errors
    assert errors.count("\n") == 1
    assert ended(run)["failure"] == {"class": "changed", "message": errors.strip()}
    assert not run.attempt(1, 0, 0).engine(0, 0).log.exists()


def test_a_task_that_does_not_exist_takes_no_attempt(tmp_path: Path):
    run = build_run(tmp_path)
    code, errors = run_task(run, task=1)
    assert (code, errors) == (2, "--task: submission 1 has tasks 0 to 0, got 1.\n")
    assert not run.task(1, 1).exists()


def test_what_is_no_run_directory_is_said(tmp_path: Path):
    code, errors = run_task(RunPaths(tmp_path))
    assert code == 2
    assert errors.startswith(f"{tmp_path / 'run.yaml'}: not found")


def test_a_path_with_anything_in_it(hostile_dir: Path):
    run = build_run(hostile_dir)
    code, errors = run_task(run)
    assert (code, errors) == (0, "")
    assert survey_settled(run).num_done == 12


@pytest.mark.parametrize("wrapper", ["", "/bin/sh -c '\"$@\"; exit' sh"])
def test_a_task_ends_when_the_shell_that_it_is_tied_to_is_killed(tmp_path: Path, wrapper: str):
    """kill -9 of the batch shell ends the job for Slurm; a task that lived on would work beside the next one.

    With a wrapper script for Python the task is tied to the wrapper, and the shell's death is not its end.
    """
    run = build_run(tmp_path, num_users=20, items_per_user=10)
    words = f"{sys.executable} -m launch.worker '{run.root}' --submission 1 --task 0 --tied $$"
    shell = subprocess.Popen(["/bin/bash", "-c", f"{wrapper} {words} & wait"], env={**os.environ, **SLOW})
    wait_for_phase(run, "generating")
    below = psutil.Process(shell.pid).children(recursive=True)
    shell.kill()
    shell.wait()
    if wrapper:
        below[0].kill()
    wait_until(lambda: not any(map(is_alive, below)), "the task and its engine are gone", 10.0)
    assert (ended(run)["code"], ended(run)["reason"]) == (75, "drained")
    assert events(run, "signal")[0]["name"] == "SIGHUP"
