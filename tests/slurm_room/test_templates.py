"""The shell part of the templates, run by bash: what reaches the task and what becomes of its exit code."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.slurm.submission import render_jobs
from tests.slurm_room.sent_run import make_sent_run

pytestmark = pytest.mark.process

WAIT_S = 60.0
# Says which signals it was born deaf to and with what it was started, then ends as the variable WORKER says:
# with an exit code, by KILL, or with 7 a moment after the first signal.
WORKER = f"""#!{sys.executable}
import json, os, signal, sys, time
came = []
with open("deaf", "w") as deaf:
    signals = (signal.SIGUSR2, signal.SIGTERM)
    deaf.write(" ".join(number.name for number in signals if signal.getsignal(number) is signal.SIG_IGN))
for number in (signal.SIGUSR2, signal.SIGTERM):
    signal.signal(number, lambda number, frame: came.append(signal.Signals(number).name))
with open("said", "w") as said:
    json.dump(sys.argv[1:], said)
how = os.environ["WORKER"]
if how == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
deadline = time.monotonic() + {WAIT_S}
while how == "signal" and not came and time.monotonic() < deadline:
    time.sleep(0.05)
time.sleep(0.4 if came else 0)
with open("came", "w") as file:
    file.write(" ".join(came))
# As launch.worker ends: on its own way out Python takes the handlers away.
os._exit(7 if how == "signal" else int(how))
"""


class Shell:
    """Scripts of jobs of a run in a hostile place, where they also work; WORKER is their Python."""

    def __init__(self, place: Path, python: Path) -> None:
        self.place = place
        self.python = python
        python.write_text(WORKER)
        python.chmod(0o755)

    def start(
        self, worker: str, *, setup: tuple[str, ...] = (), name: str = "tasks-0"
    ) -> "subprocess.Popen[str]":
        """A job with nothing of Slurm but its variables; tasks 3 and 4, this one is 4."""
        resources = {"setup": setup, "python": str(self.python)}
        run = make_sent_run(self.place, [(3, 2)], resources=resources)
        (job,) = (job for job in render_jobs(run, 1) if job.name == name)
        script = self.place / "job.sh"
        script.write_text(job.text)
        (self.place / "bin").mkdir()
        for command in ("bash", "sleep"):
            (self.place / "bin" / command).symlink_to(str(shutil.which(command)))
        slurm = {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "1", "PATH": str(self.place / "bin")}
        return subprocess.Popen(
            [str(shutil.which("bash")), str(script)],
            cwd=self.place,
            env=os.environ | slurm | {"WORKER": worker},
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, worker: str, *, setup: tuple[str, ...] = (), name: str = "tasks-0") -> tuple[int, str]:
        """Exit code and stderr of a job that gets no signal."""
        return end(self.start(worker, setup=setup, name=name))

    def wait_for(self, name: str) -> None:
        """Until the job has written a file."""
        deadline = time.monotonic() + WAIT_S
        while not (self.place / name).exists():
            assert time.monotonic() < deadline, f"no {name}"
            time.sleep(0.05)

    def read(self, name: str) -> str:
        return (self.place / name).read_text()


def end(job: "subprocess.Popen[str]") -> tuple[int, str]:
    _, said = job.communicate(timeout=WAIT_S)
    return job.returncode, said


@pytest.fixture
def shell(hostile_dir: Path, tmp_path: Path) -> Shell:
    folder = tmp_path / 'it\'s a "$HOME" #1'
    folder.mkdir()
    return Shell(hostile_dir, folder / "python")


@pytest.mark.parametrize(("worker", "code"), [("0", 0), ("1", 1), ("2", 2), ("3", 3)])
def test_the_exit_code_of_the_task_is_that_of_the_job(shell: Shell, worker: str, code: int) -> None:
    assert shell.run(worker) == (code, "")


def test_a_task_that_was_killed_is_told_in_the_log(shell: Shell) -> None:
    code, said = shell.run("kill")
    assert code == 137 and "Killed" in said


def test_the_task_gets_run_submission_and_number_as_they_are(shell: Shell) -> None:
    before = time.time()
    job = shell.start("0")
    assert end(job)[0] == 0
    expected = ["-m", "launch.worker", str(shell.place / "demo"), "--submission", "1", "--task", "4"]
    *said, option, began = json.loads(shell.read("said"))
    assert said == [*expected, "--tied", str(job.pid)]
    assert option == "--began" and before <= float(began) <= time.time()


@pytest.mark.parametrize("worker", ["0", "1"])
def test_the_shell_writes_down_its_own_begin_and_end(shell: Shell, worker: str) -> None:
    task = shell.place / "demo" / "tasks" / "1" / "4"
    task.mkdir(parents=True)
    before = time.time()
    assert shell.run(worker) == (int(worker), "")
    (line,) = map(json.loads, (task / "shells.jsonl").read_text().splitlines())
    assert (line["job"], line["code"]) == ("12_1", int(worker))
    assert before <= line["began"] < line["ended"] <= time.time()


def test_the_merge_job_gets_the_run_as_it_is_and_becomes_merge(shell: Shell) -> None:
    assert shell.run("3", name="merge") == (3, "")
    expected = ["-m", "launch.cli.app", "merge", str(shell.place / "demo"), "--after", "1"]
    assert json.loads(shell.read("said")) == expected


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_signal_is_handed_on_once_and_the_exit_code_kept(shell: Shell, number: signal.Signals) -> None:
    job = shell.start("signal")
    shell.wait_for("said")
    job.send_signal(number)
    assert end(job) == (7, "")
    assert shell.read("came") == number.name


def test_signals_that_come_one_on_the_other_lose_no_exit_code(shell: Shell) -> None:
    job = shell.start("signal")
    shell.wait_for("said")
    while job.poll() is None:
        job.send_signal(signal.SIGUSR2)
        time.sleep(0.01)
    assert end(job)[0] == 7


def test_a_signal_during_setup_asks_for_another_life_without_a_task(shell: Shell) -> None:
    """There is no Slurm here, so the requeue fails three times; its pauses are cut short."""
    job = shell.start(
        "0", setup=("sleep() { :; }", "echo > ready", "until [[ $early ]]; do command sleep 0.1; done")
    )
    shell.wait_for("ready")
    job.send_signal(signal.SIGUSR2)
    code, said = end(job)
    assert code == 75 and "12_1: USR2 came before the task was started" in said
    assert said.count("scontrol requeue failed") == 3
    assert not (shell.place / "said").exists()


def test_setup_lines_hold_for_the_task(shell: Shell) -> None:
    assert shell.run("0", setup=("export WORKER=5", 'echo "a  b" > "x y"', "echo $unset")) == (5, "")
    assert shell.read("x y") == "a  b\n"


NODE_IS_TO_BLAME = (
    'scontrol() { local IFS=" "; echo "$*" >>asked; [[ $1 != show ]] || echo TotalNodes=4; }',
    "squeue() { echo 'RUNNING|None'; }",
    "export SLURM_JOB_PARTITION=gpu",
    "command -p mkdir -p demo/tasks/1/4; printf 'n7\\n' >demo/tasks/1/4/exclude",
)


@pytest.mark.parametrize(
    "left",
    [
        "set -e",
        "set -Eeuo pipefail; shopt -s inherit_errexit",
        "trap 'exit 9' ERR CHLD TERM USR2",
        "set -aefkmuvxCET -o pipefail -o posix",
    ],
)
def test_what_setup_lines_leave_behind_costs_no_requeue(shell: Shell, left: str) -> None:
    code, said = shell.run("75", setup=(*NODE_IS_TO_BLAME, left))
    told = [line.partition(" ")[2] for line in said.splitlines()[-2:]]
    assert (code, told) == (75, ["12_1: requeued", "12_1: not again on n7"])
    asked = shell.read("asked").splitlines()
    assert (asked[0], asked[-1]) == ("requeue 12_1", "update JobId=12_1 ExcNodeList=n7")
    (line,) = shell.read("demo/tasks/1/4/shells.jsonl").splitlines()
    assert json.loads(line)["code"] == 75


@pytest.mark.parametrize("name", ["tasks-0", "merge"])
@pytest.mark.parametrize("left", ["trap '' TERM USR2", "trap 'exit 9' TERM USR2", "set -em"])
def test_setup_lines_make_nothing_deaf_to_slurm(shell: Shell, left: str, name: str) -> None:
    job = shell.start("signal", setup=(left,), name=name)
    shell.wait_for("said")
    job.send_signal(signal.SIGTERM)
    assert end(job)[0] == 7
    assert shell.read("came") == "SIGTERM" and "SIGTERM" not in shell.read("deaf")


def test_what_setup_lines_leave_for_the_end_is_done_then(shell: Shell) -> None:
    assert shell.run("3", setup=("trap 'echo gone >scratch' EXIT", "set -e"))[0] == 3
    assert shell.read("scratch") == "gone\n"


def test_a_setup_line_that_fails_under_errexit_ends_the_job(shell: Shell) -> None:
    assert shell.run("0", setup=("set -e", "(exit 4)"))[0] == 4
    assert not (shell.place / "said").exists()


def test_without_an_array_nothing_starts(shell: Shell) -> None:
    code, said = shell.run("0", setup=("unset SLURM_ARRAY_TASK_ID",))
    assert code != 0 and "this is a task of an array: send it with sbatch" in said
    assert not (shell.place / "said").exists()


@pytest.mark.parametrize(
    ("num_nodes", "updates", "told"),
    [
        (4, ["update JobId=12_1 ExcNodeList=n7,n8,bad[1-2]"], "not again on n7,n8,bad[1-2]"),
        (3, [], "not excluded: n7,n8, for the partition has 3 nodes"),
    ],
)
def test_nodes_that_the_task_left_are_excluded(
    shell: Shell, num_nodes: int, updates: list[str], told: str
) -> None:
    setup = (
        'scontrol() { (IFS=\' \'; echo "$*" >>asked); [[ $1 != show ]] || echo "TotalNodes=$N $bad"; }',
        "squeue() { echo 'RUNNING|None'; }",
        f"N={num_nodes} SLURM_JOB_PARTITION=gpu bad='ExcNodeList=bad[1-2]'",
        "command -p mkdir -p demo/tasks/1/4; printf 'n7\\nn8\\n' >demo/tasks/1/4/exclude",
    )
    code, said = shell.run("75", setup=setup)
    assert code == 75 and f"12_1: {told}" in said
    asked = shell.read("asked").splitlines()
    assert asked[0] == "requeue 12_1"
    assert [line for line in asked if line.startswith("update")] == updates
