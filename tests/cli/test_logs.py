"""`logs`: of which task, which files, how they end; and what comes, over attempts."""

import json
import math
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.collect.logs_end import LOOK_PERIOD_S, LogsEnd
from launch.collect.merge_claim import MergeClaim
from launch.collect.queue_look import QUIET_S
from launch.rundir.attempts import HEARTBEAT_DEAD_S, open_attempt
from launch.rundir.journal import write_json
from launch.rundir.layout import AttemptPaths, RunPaths
from tests.cli.commands import finish, start, submit_words, succeed, vllm_launch
from tests.collect.large_run import JOB, send_to_slurm, write_fake_slurm

HOSTILE = b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x00\xe2\x80\xae\n10 %\r100 %\n"


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """A run `r` of two tasks for Slurm, of which nothing was sent; not to be changed."""
    root = tmp_path_factory.mktemp("logs")
    words = ("--cluster", "slurm", "--limit-items", "8", "--num-tasks", "2", "--dry-run")
    succeed(*submit_words(checkpoint), *words, cwd=root)
    return root


@pytest.fixture
def here(planned: Path, tmp_path: Path) -> Path:
    """A copy of its own, sent as job 12, with a directory of logs."""
    subprocess.run(["cp", "-r", planned / "outputs", tmp_path], check=True)
    rows = [
        {"name": "tasks-0", "offset": 0, "size": 2, "job_id": "12"},
        {"name": "merge", "size": 0, "offset": 0},
    ]
    text = "".join(json.dumps({**row, "job_name": "x"}) + "\n" for row in rows)
    run_of(tmp_path).submission(1).jobs.write_text(text)
    (tmp_path / "slurm_logs" / "r").mkdir(parents=True)
    return tmp_path


def run_of(here: Path) -> RunPaths:
    return RunPaths(here / "outputs" / "runs" / "r")


def begin(here: Path, task: int, own: bytes, **engines: bytes) -> AttemptPaths:
    """The next attempt of a task; what its own log and those of its engines (`s0_1` is 0.1.log) get."""
    _, paths = open_attempt(run_of(here), 1, task)
    slurm = {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": str(task)}
    write_json(paths.attempt_json, {"host": "n1", "slurm": slurm})
    paths.heartbeat.touch()
    with own_log(here, task).open("ab") as log:
        log.write(own)
    for name, data in engines.items():
        (paths.root / f"{name[1:].replace('_', '.')}.log").write_bytes(data)
    return paths


def own_log(here: Path, task: int) -> Path:
    return here / "slurm_logs" / "r" / f"12_{task}.log"


def test_own_log_and_those_of_the_newest_attempts_engines(here: Path) -> None:
    begin(here, 1, b"old\n", s0_0=b"old engine\n")
    begin(here, 1, b"".join(b"line %d\n" % number for number in range(50)), s0_0=HOSTILE, s1_0=b"second\n")
    said = succeed("logs", "r", "1", "-n", "2", cwd=here)
    run = run_of(here)
    assert said.out.splitlines() == [
        f"==> task: {own_log(here, 1)}",
        "line 48",
        "line 49",
        f"==> engine 0.0: {run.attempt(1, 1, 1).root / '0.0.log'}",
        "red \\U00000000\\U0000202E",
        "100 %",
        f"==> engine 1.0: {run.attempt(1, 1, 1).root / '1.0.log'}",
        "second",
    ]
    assert succeed("logs", "r", "1/1", "-n", "2", cwd=here).out == said.out
    assert "old engine" in succeed("logs", "r", "1", "--attempt", "0", cwd=here).out


def test_a_log_that_is_not_read_to_its_beginning_says_so(here: Path) -> None:
    begin(here, 1, b"hidden\n")
    with own_log(here, 1).open("r+b") as log:
        log.seek(70 << 20)
        log.write(b"\nlast\n")
    lines = succeed("logs", "r", "1", cwd=here).out.splitlines()
    assert lines[1] == "(not shown: what lies over 64 MiB before the end)" and lines[-1] == "last"


def test_without_a_task_the_worst_is_shown(here: Path) -> None:
    begin(here, 0, b"fine\n")
    failed = begin(here, 1, b"not fine\n")
    write_json(failed.ended, {"code": 1, "reason": "failed", "failure": None})
    said = succeed("logs", "r", cwd=here)
    assert said.notes == ["task 1 (failed); name another after RUN."]
    assert "not fine" in said.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("2",), "2: submission 1 has the tasks 0 to 1."),
        (("x\x1b[31m",), "x\\U0000001B[31m: expected a task's number, S/T or merge, S being one of 1."),
        (("2/0",), "2/0: expected a task's number, S/T or merge, S being one of 1."),
        (("-f", "01"), "01: expected a task's number, S/T or merge, S being one of 1."),
        (("0", "--attempt", "3"), "--attempt 3: task 1/0 has no attempt."),
        (
            ("0", "-f", "--attempt", "0"),
            "--attempt 0: -f follows a task over its attempts. Leave one of the two out.",
        ),
        (("merge",), "1/merge: no merge job was sent; without Slurm `submit` merges itself."),
    ],
)
def test_what_is_not_there(here: Path, words: tuple[str, ...], message: str) -> None:
    said = vllm_launch("logs", "r", *words, cwd=here)
    assert (said.code, said.errors) == (2, [f"vllm-launch: {message}"])


def test_no_log_yet_names_where_it_will_be(here: Path) -> None:
    said = vllm_launch("logs", "r", "0", cwd=here)
    assert said.errors == [f"vllm-launch: 1/0: no log yet; looked for {own_log(here, 0)}."]


class Reader:
    """Reads what a process prints, line by line, without ever waiting for ever."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.lines = process, list[str]()
        self._came = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._came:
                self.lines.append(line.rstrip("\n"))
                self._came.notify_all()

    def wait_for(self, line: str) -> None:
        with self._came:
            assert self._came.wait_for(lambda: line in self.lines, timeout=60), self.lines


@pytest.fixture
def followed(here: Path) -> Iterator[Reader]:
    begin(here, 0, b"one\n", s0_0=b"loading\n")
    process = start("logs", "r", "0", "-f", cwd=here, PYTHONUNBUFFERED="1")
    yield Reader(process)
    process.kill()
    process.communicate()


@pytest.mark.process
def test_followed_over_engine_starts_and_attempts_to_the_end(here: Path, followed: Reader) -> None:
    followed.wait_for("engine 0.0 | loading")
    first = run_of(here).attempt(1, 0, 0)
    (first.root / "0.1.log").write_bytes(b"again\n" + HOSTILE)
    followed.wait_for("engine 0.1 | red \\U00000000\\U0000202E")
    write_json(first.ended, {"code": 75, "reason": "drained"})
    second = begin(here, 0, b"requeued\n", s0_0=b"second life\n")
    followed.wait_for("task       | requeued")
    followed.wait_for("engine 0.0 | second life")
    with own_log(here, 0).open("ab") as log:
        log.write(b"last words\n")
    write_json(second.ended, {"code": 0, "reason": "empty"})
    assert followed.process.wait(20) == 0
    followed.wait_for("task       | last words")
    assert followed.lines.count("task       | one") == 1


@pytest.mark.process
def test_ctrl_c_leaves_quietly(followed: Reader) -> None:
    followed.wait_for("task       | one")
    os.killpg(followed.process.pid, signal.SIGINT)
    assert followed.process.wait(20) == 0
    assert followed.process.stderr is not None and followed.process.stderr.read() == ""


@pytest.fixture
def rows(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What squeue says of array 4711 and merge job 4712; to be written before it is asked."""
    send_to_slurm(run_of(here), 2)
    calls = write_fake_slurm(here / "bin", 2)
    monkeypatch.setenv("PATH", f"{calls.parent}:/usr/bin:/bin")
    return calls.with_name("rows")


def seconds_to_the_end(here: Path, task: int | None) -> float | None:
    """For how long logs are followed by a clock that runs fast; None for more than five minutes."""
    now = 0.0
    end = LogsEnd(run_of(here), 1, task, lambda: now)
    while now < 300:
        now += LOOK_PERIOD_S
        if end.is_reached():
            return now
    return None


@pytest.mark.process
@pytest.mark.parametrize(
    ("row", "is_over"),
    [(f"{JOB}_0|x|CANCELLED|None|n1|N/A", True), (f"{JOB}_0|x|PENDING|BeginTime||N/A", False)],
)
def test_a_task_that_died_without_a_word_is_over_unless_it_is_requeued(
    here: Path, rows: Path, row: str, is_over: bool
) -> None:
    paths = begin(here, 0, b"one\n")
    os.utime(paths.heartbeat, (1e9, 1e9))
    rows.write_text(f"{row}\n{JOB}_1|x|RUNNING|None|n1|N/A\n")
    quiet = math.ceil(QUIET_S / LOOK_PERIOD_S) * LOOK_PERIOD_S
    assert seconds_to_the_end(here, 0) == (LOOK_PERIOD_S + quiet if is_over else None)
    assert seconds_to_the_end(here, 1) is None, "it has not begun, and runs"


@pytest.mark.process
def test_a_drained_task_that_is_not_requeued_is_over(here: Path, rows: Path) -> None:
    paths = begin(here, 0, b"one\n")
    write_json(paths.ended, {"code": 75, "reason": "drained"})
    rows.write_text(f"{JOB}_1|x|RUNNING|None|n1|N/A\n")
    assert seconds_to_the_end(here, 0) is not None


def test_without_slurms_word_the_heartbeat_tells(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    paths = begin(here, 0, b"one\n")
    assert seconds_to_the_end(here, 0) is None
    beat = paths.heartbeat.stat().st_mtime - HEARTBEAT_DEAD_S - 60
    os.utime(paths.heartbeat, (beat, beat))
    assert seconds_to_the_end(here, 0) is not None


@pytest.mark.process
def test_a_merge_jobs_log_is_followed_until_the_queue_says_that_it_has_ended(here: Path, rows: Path) -> None:
    log = here / "slurm_logs" / "r" / f"merge-{int(JOB) + 1}.log"
    log.write_text("published\n")
    assert seconds_to_the_end(here, None) is None, "it waits for the tasks"
    run_of(here).submission(1).queue.unlink()
    rows.write_text(f"{int(JOB) + 1}|x|COMPLETED|None|n1|N/A\n")
    said = finish(start("logs", "r", "merge", "-f", cwd=here, PATH=os.environ["PATH"]), 60)
    assert (said.code, said.out.splitlines()[1:]) == (0, ["merge      | published"])


@pytest.mark.usefixtures("rows")
def test_without_slurms_word_a_merge_is_over_when_it_has_let_go(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("SLURM_JOB_ID", str(int(JOB) + 1))
    with MergeClaim(run_of(here)):
        assert seconds_to_the_end(here, None) is None
    assert seconds_to_the_end(here, None) is not None
