"""`watch`: a line for each change, or the view on a terminal, until the run ends or one leaves."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.collect.queue_look import WAIT_S, WAIT_VARIABLE
from launch.rundir.layout import RunPaths
from tests.cli.commands import finish, start, submit_words, succeed
from tests.collect.large_run import names_called, send_to_slurm, write_fake_slurm
from tests.runs import REPOSITORY

pytestmark = pytest.mark.process
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
STUB = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.3"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """A run `d` that was only planned, one `f` that failed."""
    root = tmp_path_factory.mktemp("watch")
    succeed(*submit_words(checkpoint, name="d"), "--limit-items", "3", "--dry-run", cwd=root)
    words = [*submit_words(checkpoint, name="f"), "--limit-items", "3"]
    assert finish(start(*words, cwd=root, VLLM_LAUNCH_STUB_FAIL="start")).code == 3
    return root


def test_a_line_for_each_change_until_it_is_published(here: Path, checkpoint: Path) -> None:
    submit = start(
        *submit_words(checkpoint, name="w"), "--limit-items", "8", "--num-tasks", "1", cwd=here, **STUB
    )
    deadline = time.monotonic() + 60
    while not (here / "outputs/runs/w/submissions/1/driver.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    watch = finish(start("watch", "w", "--interval", "0.5", cwd=here))
    assert finish(submit).code == 0
    assert watch.code == 0, watch.err
    *lines, last = watch.out.splitlines()
    assert last == f"Published, complete: {here / 'outputs/leaderboards/w'}"
    assert all(re.match(r"\d\d:\d\d:\d\d \d of 8 items done; tasks: 1 \w+", line) for line in lines), lines
    assert len(lines) > 2 and len({line[9:] for line in lines}) == len(lines), "no line is said twice"


def test_a_run_that_ended_unpublished(here: Path) -> None:
    said = finish(start("watch", "f", cwd=here))
    assert said.code == 3
    assert said.out.splitlines()[0][9:] == "0 of 3 items done; tasks: 1 failed"
    assert said.out.splitlines()[-1].startswith("Not published: `vllm-launch resume ")


def test_squeue_is_called_once_in_thirty_seconds_and_scontrol_once(here: Path, checkpoint: Path) -> None:
    words = ("--cluster", "slurm", "--limit-items", "4", "--num-tasks", "2", "--dry-run")
    succeed(*submit_words(checkpoint, name="s"), *words, cwd=here)
    send_to_slurm(RunPaths(here / "outputs/runs/s"), 2)
    calls = write_fake_slurm(here / "bin", 2)
    began = time.monotonic()
    path = f"{calls.parent}:{os.environ['PATH']}"
    watch = start("watch", "s", "--interval", "0.5", cwd=here, PATH=path, PYTHONUNBUFFERED="1")
    assert watch.stdout is not None
    assert watch.stdout.readline()[9:] == (
        "0 of 4 items done; tasks: 2 waiting;"
        " merge job PENDING (Dependency: waits for other jobs of this run to end)\n"
    )
    time.sleep(2.5)
    watch.terminate()
    said = finish(watch)
    assert (said.code, said.out, said.err) == (0, "", "")
    assert names_called(calls).count("squeue") <= 1 + (time.monotonic() - began) // 30
    assert names_called(calls).count("scontrol") == 1


def test_status_does_not_wait_for_a_slow_squeue(here: Path, checkpoint: Path) -> None:
    words = ("--cluster", "slurm", "--limit-items", "4", "--num-tasks", "2", "--dry-run")
    succeed(*submit_words(checkpoint, name="slow"), *words, cwd=here)
    send_to_slurm(RunPaths(here / "outputs/runs/slow"), 2)
    squeue = write_fake_slurm(here / "slow", 2).with_name("squeue")
    squeue.write_text("#!/bin/bash\nexec sleep 20\n")
    usual = {WAIT_VARIABLE: str(WAIT_S), "PATH": f"{squeue.parent}:{os.environ['PATH']}"}
    began = time.monotonic()
    said = finish(start("status", "slow", cwd=here, **usual))
    assert time.monotonic() - began < 9, "with the start of Python, on a machine that is busy"
    note = "note: Slurm has not answered within 1.5 s. What follows is from files alone.\n"
    assert (said.code, said.err) == (0, note)
    assert "tasks: 2 waiting" in said.out


class Terminal:
    """`watch d` on a terminal of 100 columns; what it writes is kept."""

    def __init__(self, here: Path) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.before = termios.tcgetattr(slave)
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm"}
        words = [sys.executable, "-m", "launch.cli.app", "watch", "d"]
        self.process = subprocess.Popen(
            words, cwd=here, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        self.slave, self.written = slave, ""

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self.written and time.monotonic() < deadline:
            self.read(0.2)
        assert text in self.written, self.written

    def read(self, timeout_s: float) -> None:
        if select.select([self.master], [], [], timeout_s)[0]:
            self.written += os.read(self.master, 1 << 16).decode(errors="replace")

    def leave(self) -> int:
        """The exit code, once all it wrote was read."""
        deadline = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read(0.1)
        self.read(0.1)
        return self.process.wait(0)


@pytest.fixture
def terminal(here: Path) -> Iterator[Terminal]:
    opened = Terminal(here)
    yield opened
    opened.process.kill()
    opened.process.wait()
    os.close(opened.master)
    os.close(opened.slave)


@pytest.mark.parametrize("how", ["q", "interrupt", "term"])
def test_leaving_a_terminal_as_it_was(terminal: Terminal, how: str) -> None:
    terminal.wait_for("q leaves; the run goes on")
    assert "nothing was sent yet" in terminal.written and HIDE_CURSOR in terminal.written
    if how == "q":
        os.write(terminal.master, b"xq")
    else:
        number = signal.SIGINT if how == "interrupt" else signal.SIGTERM
        os.killpg(terminal.process.pid, number)
    assert terminal.leave() == 0
    assert terminal.written.rindex(SHOW_CURSOR) > terminal.written.rindex(HIDE_CURSOR)
    assert termios.tcgetattr(terminal.slave) == terminal.before
    assert "Traceback" not in terminal.written and "interrupted" not in terminal.written
