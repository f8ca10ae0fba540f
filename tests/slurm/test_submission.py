"""Whole submissions on a real Slurm: arrays and merge job, requeue, signals, refusal, a sending cut short.

resources.python is a small program here that says what it was given and ends as it is told: the shell of the
jobs is what is asked; the real worker has its own tests.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from launch.errors import SchedulerError
from launch.planning.limits import split_arrays
from launch.rundir.journal import read_journal
from launch.rundir.layout import RunPaths
from launch.slurm.commands import cancel_jobs, max_array_size
from launch.slurm.controller import ask_controller
from launch.slurm.submission import (
    SentJob,
    cancel_submission,
    open_rows,
    queue_of,
    send_submission,
    sent_jobs,
)
from tests.slurm.cluster_conf import ClusterSpec
from tests.slurm.conftest import skip_unless_possible
from tests.slurm.private_slurm import PrivateSlurm
from tests.slurm_room.sent_run import make_sent_run

WAIT_S = 90.0
# Works in the run directory. how.json has, by task or "merge", how its lives end: with an exit code, or with
# 75 a moment after the first signal of a name.
PROGRAM = f"""#!{sys.executable} -IS
import json, os, signal, sys, time
came = []
for number in (signal.SIGUSR2, signal.SIGTERM):
    signal.signal(number, lambda number, frame: came.append(signal.Signals(number).name))
name = "merge" if sys.argv[2] == "launch.cli.app" else sys.argv[sys.argv.index("--task") + 1]
life = int(os.environ.get("SLURM_RESTART_COUNT", 0))
said = {{"argv": sys.argv[1:], "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), "start": time.time()}}
with open("how.json") as file:
    how = json.load(file).get(name, [0])[life]
open(f"{{name}}.{{life}}.started", "w").close()
deadline = time.monotonic() + {WAIT_S}
while isinstance(how, str) and how not in came and time.monotonic() < deadline:
    time.sleep(0.05)
time.sleep(0.5)
said.update(came=came, end=time.time())
with open(f"{{name}}.{{life}}.json", "w") as file:
    json.dump(said, file)
os._exit(75 if isinstance(how, str) else how)
"""


@pytest.fixture(scope="module")
def small() -> Iterator[PrivateSlurm]:
    """2 nodes with 2 GPUs each; no array has more than 3 tasks."""
    skip_unless_possible()
    with PrivateSlurm(ClusterSpec(num_nodes=2, max_array_size=3)) as cluster:
        yield cluster


@pytest.fixture
def slurm(small: PrivateSlurm, monkeypatch: pytest.MonkeyPatch) -> PrivateSlurm:
    """This process is a client of the small Slurm, with an environment that would mislead it."""
    for name, value in small.env.items():
        monkeypatch.setenv(name, value)
    for name in ("SBATCH_PARTITION", "SQUEUE_PARTITION", "SCANCEL_STATE"):
        monkeypatch.setenv(name, "nope")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    return small


class Sending:
    """A run whose tasks are PROGRAM, and what came of it."""

    def __init__(self, slurm: PrivateSlurm, run: RunPaths) -> None:
        self.slurm = slurm
        self.run = run
        self.logs = run.root.parent / "logs 100%j"

    def send(self) -> list[SentJob]:
        return send_submission(self.run, 1, self.logs)

    def wait(self, jobs: Sequence[SentJob]) -> list[str]:
        """States in the order of tasks, that of the merge job last."""
        return [row.state for job in jobs for row in self.slurm.wait(job.job_id, WAIT_S)]

    def life(self, name: str, life: int = 0) -> dict[str, Any]:
        """What a life of a task, or of the merge job, said of itself."""
        value: dict[str, Any] = json.loads((self.run.root / f"{name}.{life}.json").read_text())
        return value

    def lived(self) -> set[str]:
        return {path.name.removesuffix(".json") for path in self.run.root.glob("*.*.json")}

    def most_at_once(self) -> int:
        """Lives of tasks that ran at the same time, the merge job left out."""
        lives = [json.loads(path.read_text()) for path in self.run.root.glob("[0-9]*.*.json")]
        return max(sum(other["start"] <= life["start"] < other["end"] for other in lives) for life in lives)

    def wait_for(self, is_true: Callable[[], object]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not is_true():
            assert time.monotonic() < deadline, f"{self.lived()}\n{self.log()}\n{self.slurm.logs()}"
            time.sleep(0.1)

    def wait_for_start(self, task: int) -> None:
        self.wait_for((self.run.root / f"{task}.0.started").exists)

    def log(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self.logs.glob("*.log")))

    def journal(self) -> list[dict[str, Any]]:
        return list(read_journal(self.run.submission(1).jobs))


def prepare(
    slurm: PrivateSlurm,
    place: Path,
    program: Path,
    num_tasks: int = 2,
    *,
    how: Mapping[str, Sequence[int | str]] | None = None,
    resources: Mapping[str, Any] | None = None,
) -> Sending:
    program.write_text(PROGRAM)
    program.chmod(0o755)
    values = {
        "python": str(program),
        "partition": "gpu",
        "cpus_per_task": 1,
        "mem": "1G",
        "merge": {"partition": "cpu", "cpus_per_task": 1, "mem": "1G"},
        **(resources or {}),
    }
    run = make_sent_run(place, split_arrays(num_tasks, max_array_size()), resources=values)
    (run.root / "how.json").write_text(json.dumps(how or {}))
    return Sending(slurm, run)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    folder = tmp_path / 'it\'s "$HOME" #'
    folder.mkdir()
    return folder / "python"


def test_arrays_in_a_hostile_place_run_to_their_end_and_merge_after_them(
    slurm: PrivateSlurm, hostile_dir: Path, program: Path
) -> None:
    sending = prepare(slurm, hostile_dir, program, num_tasks=5)
    jobs = sending.send()
    assert [(job.name, job.offset, job.size) for job in jobs] == [
        ("tasks-0", 0, 3),
        ("tasks-1", 3, 2),
        ("merge", 0, 0),
    ]
    assert sent_jobs(sending.run.submission(1)) == jobs
    assert sending.wait(jobs) == ["COMPLETED"] * 6, sending.log()
    root = str(sending.run.root)
    for task in range(5):
        said = sending.life(str(task))
        words = ["-m", "launch.worker", root, "--submission", "1", "--task", str(task), "--tied"]
        *argv, shell, began, time = said["argv"]
        assert argv == words and shell.isdecimal() and began == "--began"
        assert float(time) <= said["start"]
        assert said["gpus"] in {"0", "1"}
    merge = sending.life("merge")
    assert merge["argv"] == ["-m", "launch.cli.app", "merge", root, "--after", "1"]
    assert merge["gpus"] is None
    assert merge["start"] > max(sending.life(str(task))["end"] for task in range(5))
    first, second, last = (job.job_id for job in jobs)
    names = [*(f"{first}_{task}" for task in range(3)), f"{second}_0", f"{second}_1", f"merge-{last}"]
    assert {path.name for path in sending.logs.iterdir()} == {f"{name}.log" for name in names}
    assert slurm.run("squeue", "--noheader", "--states=all", "--format=%P", f"--jobs={last}") == "cpu\n"


def test_no_gpus_and_an_array_of_one(slurm: PrivateSlurm, tmp_path: Path, program: Path) -> None:
    sending = prepare(slurm, tmp_path, program, 1, resources={"gpus_per_task": 0, "partition": "cpu"})
    jobs = sending.send()
    assert sending.wait(jobs) == ["COMPLETED", "COMPLETED"], sending.log()
    assert sending.life("0")["gpus"] is None
    assert {row.array_task for row in queue_of(sending.run, 1)[1]} == {0, None}


def test_only_75_brings_a_task_back_and_merge_waits_for_it(
    slurm: PrivateSlurm, tmp_path: Path, program: Path
) -> None:
    sending = prepare(slurm, tmp_path, program, 3, how={"0": [75, 0], "1": [1], "2": [2]})
    jobs = sending.send()
    sending.wait_for_start(0)
    assert sending.wait(jobs) == ["COMPLETED", "FAILED", "FAILED", "COMPLETED"], sending.log()
    assert sending.lived() == {"0.0", "0.1", "1.0", "2.0", "merge.0"}
    assert sending.life("merge")["start"] > sending.life("0", 1)["end"]
    log = (sending.logs / f"{jobs[0].job_id}_0.log").read_text()
    assert log.count(f"{jobs[0].job_id}_0: requeued") == 1


def test_usr2_and_the_time_limit_bring_a_task_back_and_scancel_does_not(
    slurm: PrivateSlurm, tmp_path: Path, program: Path
) -> None:
    """Slurm looks at time limits every 30 s; its USR2 (--signal) comes with them here."""
    how = {"0": ["SIGUSR2", 0], "1": ["SIGTERM"], "2": ["SIGTERM", 0]}
    sending = prepare(slurm, tmp_path, program, 3, how=how)
    jobs = sending.send()
    array = jobs[0].job_id
    for task in range(3):
        sending.wait_for_start(task)
    soon = datetime.now(UTC).astimezone() + timedelta(seconds=2)
    slurm.scontrol("update", f"JobId={array}_2", f"EndTime={soon:%FT%T}")
    slurm.run("scancel", "--signal=USR2", "--batch", f"{array}_0")
    slurm.run("scancel", f"{array}_1")
    assert sending.wait(jobs) == ["COMPLETED", "CANCELLED", "COMPLETED", "COMPLETED"], sending.log()
    assert sending.lived() == {"0.0", "0.1", "1.0", "2.0", "2.1", "merge.0"}
    assert sending.life("0")["came"] == ["SIGUSR2"]
    assert set(sending.life("1")["came"]) == {"SIGTERM"}
    assert set(sending.life("2")["came"]) == {"SIGUSR2", "SIGTERM"}
    assert f"{array}_1: not requeued: Slurm is ending it" in (sending.logs / f"{array}_1.log").read_text()
    assert slurm.processes(array) == []


def test_a_refused_job_takes_back_what_was_sent(slurm: PrivateSlurm, tmp_path: Path, program: Path) -> None:
    sending = prepare(
        slurm, tmp_path, program, 5, how={"0": ["SIGTERM"]}, resources={"merge": {"partition": "nope"}}
    )
    with pytest.raises(SchedulerError) as caught:
        sending.send()
    said = str(caught.value)
    assert said.startswith("sbatch, demo.1.merge.") and "specified: nope" in said and "\n" not in said
    jobs = sent_jobs(sending.run.submission(1))
    assert [job.name for job in jobs] == ["tasks-0", "tasks-1"]
    rows = sending.journal()
    assert [row["error"] for row in rows if "error" in row] == [said]
    assert [row["job_id"] for row in rows if row.get("cancelled")] == [job.job_id for job in jobs]
    assert set(sending.wait(jobs)) <= {"CANCELLED", "COMPLETED"}
    assert open_rows(queue_of(sending.run, 1)[1]) == []


ON_CPUS = {"gpus_per_task": 0, "partition": "cpu"}


@pytest.mark.parametrize(("max_concurrent", "shares"), [(4, ["%2", "%1", "%1"]), (2, ["%1", "%1", "%1"])])
def test_all_arrays_together_run_no_more_than_max_concurrent_also_with_requeued_tasks(
    slurm: PrivateSlurm, tmp_path: Path, program: Path, max_concurrent: int, shares: list[str]
) -> None:
    """16 CPUs have room for all. With two lanes for three arrays the last waits for requeued tasks, too."""
    how = {"1": [75, 0], "2": [75, 0], "4": [75, 0]}
    sending = prepare(
        slurm, tmp_path, program, 8, how=how, resources={**ON_CPUS, "max_concurrent": max_concurrent}
    )
    jobs = sending.send()
    assert sending.wait(jobs) == ["COMPLETED"] * 9, sending.log()
    assert len(sending.lived()) == 8 + 3 + 1
    assert sending.most_at_once() <= max_concurrent
    texts = [sending.run.submission(1).sbatch(job.name).read_text() for job in jobs if job.size]
    assert [re.findall(r"--array=0-\d(%\d)", text) for text in texts] == [[share] for share in shares]
    last = max(sending.life(*each)["end"] for each in (("0", 0), ("1", 1), ("2", 1)))
    begins = min(sending.life(task)["start"] for task in ("6", "7"))
    assert (begins > last) is (max_concurrent == 2)
    ends = [json.loads(path.read_text())["end"] for path in sending.run.root.glob("[0-9]*.*.json")]
    assert sending.life("merge")["start"] > max(ends)


def test_an_array_whose_turn_comes_later_waits_although_one_between_is_cancelled_by_hand(
    slurm: PrivateSlurm, tmp_path: Path, program: Path
) -> None:
    how = {str(task): ["SIGUSR2", 0] for task in range(9)}
    sending = prepare(slurm, tmp_path, program, 9, how=how, resources={**ON_CPUS, "max_concurrent": 1})
    first, second, third, merge = sending.send()
    sending.wait_for_start(0)
    slurm.run("scancel", second.job_id)
    sending.wait_for(lambda: not open_rows(slurm.squeue(second.job_id)))
    time.sleep(5)  # the scheduler has looked at the others meanwhile
    rows = [
        row for row in open_rows(queue_of(sending.run, 1)[1]) if row.job_id in {third.job_id, merge.job_id}
    ]
    assert {(row.state, row.reason) for row in rows} == {("PENDING", "Dependency")} and len(rows) == 4
    assert [job.name for job in cancel_submission(sending.run, 1)] == ["merge", "tasks-0", "tasks-2"]
    assert set(sending.wait([first, second, third, merge])) == {"CANCELLED"}
    assert sending.lived() <= {"0.0"}


@pytest.mark.parametrize("lost", ["tasks-0", "merge"])
def test_a_job_whose_id_was_never_written_is_found_by_its_name_and_cancelled(
    slurm: PrivateSlurm, tmp_path: Path, program: Path, lost: str
) -> None:
    """Another run of the same name, in another place, is not taken for it."""
    resources = {"extra_sbatch": {"begin": "now+1hour"}}
    other = prepare(slurm, tmp_path / "other", program, resources=resources).send()
    sending = prepare(slurm, tmp_path, program, resources=resources)
    jobs = sending.send()
    journal = sending.run.submission(1).jobs
    rows = [row for row in sending.journal() if not (row["name"] == lost and "job_id" in row)]
    journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert sent_jobs(sending.run.submission(1)) == jobs
    assert [job.name for job in cancel_submission(sending.run, 1)] == ["merge", "tasks-0"]
    assert sending.wait(jobs) == ["CANCELLED"] * 3 and sending.lived() == set()
    assert [row.state for job in other for row in slurm.squeue(job.job_id)] == ["PENDING"] * 3
    assert cancel_submission(sending.run, 1) == []
    cancel_jobs([job.job_id for job in other])


def test_the_controller_tells_its_cluster_and_the_time_by_its_clock(
    slurm: PrivateSlurm, tmp_path: Path
) -> None:
    """Here the same as ours; a client that is ten minutes off was told the same (docs/reliability.md)."""
    told = ask_controller(tmp_path, 10.0)
    assert told.cluster == "private" and told.ahead_s is not None and abs(told.ahead_s) < 2.0
