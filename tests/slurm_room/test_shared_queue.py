"""However many processes want Slurm's word, squeue is asked once in 30 s and scontrol once.

Real processes, and commands that count.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.rundir.layout import RunPaths
from launch.slurm.liveness import Life, Lives
from launch.slurm.shared_queue import SHARED_FOR_S, JobRow, QueueAnswer, load_answer, share_answer
from tests.runs import REPOSITORY
from tests.slurm_room.test_liveness import make_attempt

ASK = """
import sys, time
from pathlib import Path
from launch.rundir.layout import SubmissionPaths
from launch.slurm.shared_queue import share_answer
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    answer = share_answer(SubmissionPaths(Path(sys.argv[1])), ["12"])
    time.sleep(0.01)
print(answer.number, answer.error)
"""


class Cluster:
    """A folder of fake commands; `calls` has a line for every call of squeue, `asked` for one of scontrol."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.asked = folder / "asked"
        self.write("squeue", "12_3|demo|RUNNING|None|n1|2026-01-02T03:04:05")
        self.name("big")

    def write(self, name: str, text: str, *, before: str = "", code: int = 0) -> None:
        path = self.folder / name
        note = f'echo "$*" >>"{self.calls if name == "squeue" else self.asked}"'
        path.write_text(f"#!/bin/bash\n{note}\n{before}\nprintf '%s\\n' '{text}'\nexit {code}\n")
        path.chmod(0o755)

    def name(self, cluster: str, *, ahead_s: int = 0) -> None:
        """What scontrol says from now on."""
        told = f"printf 'Configuration data as of %(%FT%T)T\\n' $(($(date +%s) + {ahead_s}))"
        self.write("scontrol", f"ClusterName             = {cluster}", before=told)

    @property
    def num_calls(self) -> int:
        return num_lines(self.calls)

    @property
    def num_asked(self) -> int:
        return num_lines(self.asked)


def num_lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "big")
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    return Cluster(folder)


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    made = RunPaths(tmp_path / "run")
    made.submission(1).root.mkdir(parents=True)
    return made


def make_older(run: RunPaths, seconds: float) -> None:
    """The answer that is there is that much older."""
    path = run.submission(1).queue
    answer = load_answer(run.submission(1))
    assert answer is not None
    path.write_text(path.read_text().replace(str(answer.asked), str(answer.asked - seconds)))


def ask_anew(run: RunPaths) -> QueueAnswer:
    """The answer that is asked for when that which is there, if any, is 30 s old."""
    if load_answer(run.submission(1)) is not None:
        make_older(run, SHARED_FOR_S)
    answer = share_answer(run.submission(1), ["12"])
    assert answer is not None and answer == load_answer(run.submission(1))
    return answer


def ask_from_many(run: RunPaths, num_processes: int, seconds: float) -> list[str]:
    """What each of many processes heard last."""
    words = [sys.executable, "-c", ASK, str(run.submission(1).root), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    asking = [
        subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(num_processes)
    ]
    return [process.communicate(timeout=60)[0].strip() for process in asking]


@pytest.mark.process
def test_many_processes_make_one_call(cluster: Cluster, run: RunPaths) -> None:
    cluster.write("squeue", "12_3|demo|RUNNING|None|n1|NONE", before="sleep 0.5")
    assert set(ask_from_many(run, 8, 1.5)) == {"1 None"}
    assert cluster.num_calls == 1
    make_older(run, 30)
    assert set(ask_from_many(run, 8, 1.5)) == {"2 None"}
    assert (cluster.num_calls, cluster.num_asked) == (2, 1)
    assert sorted(path.name for path in run.submission(1).root.iterdir()) == ["squeue.json"]


def test_an_error_is_an_answer_too(cluster: Cluster, run: RunPaths) -> None:
    cluster.write("squeue", "", before="echo 'slurm_load_jobs error: Socket timed out' >&2", code=1)
    said = set(ask_from_many(run, 4, 1.0))
    assert len(said) == 1 and "Socket timed out" in said.pop()
    assert cluster.num_calls == 1


def test_what_is_asked_and_kept(cluster: Cluster, run: RunPaths) -> None:
    run.submission(1).jobs.write_text('{"name":"tasks-0"}\n{"name":"tasks-0","job_id":"13"}\n')
    answer = share_answer(run.submission(1), ["12"])
    assert answer is not None and answer == load_answer(run.submission(1))
    assert (answer.cluster, answer.jobs, answer.user) == ("big", ("12", "13"), os.getuid())
    assert [(row.job, row.index, row.state) for row in answer.rows] == [("12", 3, "RUNNING")]
    assert answer.row("12", 3) is not None and answer.row("12", 4) is None
    assert "--all --states=all" in cluster.calls.read_text()
    assert "--jobs=12,13" in cluster.calls.read_text()


def test_jobs_that_the_controller_does_not_know_are_a_good_answer(cluster: Cluster, run: RunPaths) -> None:
    cluster.write("squeue", "", before="echo 'slurm_load_jobs error: Invalid job id specified' >&2", code=1)
    answer = share_answer(run.submission(1), ["12"])
    assert answer is not None and (answer.error, answer.rows, answer.cluster) == (None, (), "big")


def test_a_login_node_asks_once_which_cluster_it_is(
    cluster: Cluster, run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURMD_NODENAME")  # an salloc's shell: the name may be another cluster's
    cluster.name("small")
    assert [ask_anew(run).cluster for _ in range(3)] == ["small"] * 3
    assert (cluster.num_calls, cluster.num_asked) == (3, 1)


def test_nodes_and_a_login_node_ask_once_each_however_they_take_turns(
    cluster: Cluster, run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        monkeypatch.setenv("SLURMD_NODENAME", "n2")
        assert ask_anew(run).cluster == "big"
        monkeypatch.delenv("SLURMD_NODENAME")
        assert ask_anew(run).cluster == "big"
    assert (cluster.num_calls, cluster.num_asked) == (6, 2)


@pytest.mark.parametrize("other", ["squeue", "SLURM_CONF"])
def test_who_reaches_another_cluster_is_not_taken_for_the_one_before(
    cluster: Cluster, run: RunPaths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: str
) -> None:
    """Its controller knows no job of ours: by the other's name that would say that all of them are over."""
    first = ask_anew(run)
    monkeypatch.delenv("SLURMD_NODENAME")
    assert (first.cluster, ask_anew(run).cluster) == ("big", "big")
    if other == "squeue":
        (tmp_path / "bin2").mkdir()
        Cluster(tmp_path / "bin2").name("small", ahead_s=600)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin2'}:/usr/bin:/bin")
    else:
        cluster.name("small", ahead_s=600)
        monkeypatch.setenv("SLURM_CONF", "/etc/small.conf")
    answer = ask_anew(run)
    assert answer.cluster == "small" and answer.ahead_s == pytest.approx(600, abs=2)


def test_how_far_the_controllers_clock_is_ahead_is_told_and_kept(
    cluster: Cluster, run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the file system's clock: that of whoever asks may be off as well."""
    cluster.name("big", ahead_s=600)
    here = time.time()
    with monkeypatch.context() as off:
        off.setattr(time, "time", lambda: here - 300)
        first = ask_anew(run)
    assert first.ahead_s == pytest.approx(600, abs=2)
    cluster.name("big", ahead_s=0)
    cluster.write("squeue", "", before="echo 'slurm_load_jobs error: Socket timed out' >&2", code=1)
    failed = ask_anew(run)
    assert failed.error is not None and failed.controller == first.controller
    cluster.write("squeue", "12_3|demo|RUNNING|None|n1|NONE")
    assert ask_anew(run).controller == first.controller
    assert (cluster.num_calls, cluster.num_asked) == (3, 1)


def test_a_controller_that_did_not_tell_is_asked_again(cluster: Cluster, run: RunPaths) -> None:
    cluster.write("scontrol", "", code=1)
    answer = ask_anew(run)
    assert (answer.cluster, answer.ahead_s, answer.error) == ("big", None, None)
    cluster.name("big", ahead_s=600)
    assert ask_anew(run).ahead_s == pytest.approx(600, abs=2)
    ask_anew(run)
    assert (cluster.num_calls, cluster.num_asked) == (3, 2)


def test_one_who_does_not_answer_is_asked_nothing_more(cluster: Cluster, run: RunPaths) -> None:
    cluster.write("squeue", "", before="echo 'slurm_load_jobs error: Socket timed out' >&2", code=1)
    answer = ask_anew(run)
    assert (answer.cluster, answer.ahead_s) == (None, None)
    assert (cluster.num_calls, cluster.num_asked) == (1, 0)


def test_an_answer_of_an_earlier_version_says_nothing_of_the_clock(cluster: Cluster, run: RunPaths) -> None:
    first = ask_anew(run)
    value = json.loads(run.submission(1).queue.read_text())
    del value["ahead_s"], value["clients"]
    run.submission(1).queue.write_text(json.dumps(value))
    answer = share_answer(run.submission(1), ["12"])
    assert answer is not None and (answer.rows, answer.ahead_s) == (first.rows, None)
    assert ask_anew(run).ahead_s == pytest.approx(0, abs=2)
    assert (cluster.num_calls, cluster.num_asked) == (2, 2)


def test_one_who_died_asking_is_passed_over_after_a_minute(cluster: Cluster, run: RunPaths) -> None:
    turn = run.submission(1).asking(1)
    turn.touch()
    assert share_answer(run.submission(1), ["12"]) is None
    assert cluster.num_calls == 0
    then = turn.stat().st_mtime - 61
    os.utime(turn, (then, then))
    answer = share_answer(run.submission(1), ["12"])
    assert answer is not None and answer.number == 2
    assert not turn.exists()


@pytest.mark.process
def test_many_who_find_a_dead_asker_make_one_call(cluster: Cluster, run: RunPaths) -> None:
    turn = run.submission(1).asking(1)
    turn.touch()
    then = turn.stat().st_mtime - 61
    os.utime(turn, (then, then))
    cluster.write("squeue", "12_3|demo|RUNNING|None|n1|NONE", before="sleep 0.3")
    assert set(ask_from_many(run, 8, 1.0)) == {"2 None"}
    assert cluster.num_calls == 1


@pytest.mark.parametrize(
    "wrong", [{"number": "7"}, {"asked": None}, {"ahead_s": "1"}, {"clients": []}, {"x": 1}]
)
def test_an_answer_in_other_words_is_none(cluster: Cluster, run: RunPaths, wrong: dict[str, object]) -> None:
    ask_anew(run)
    cluster.calls.unlink()
    value = json.loads(run.submission(1).queue.read_text())
    run.submission(1).queue.write_text(json.dumps(value | wrong))
    assert load_answer(run.submission(1)) is None
    answer = share_answer(run.submission(1), ["12"])
    assert answer is not None and answer.number == 1
    assert cluster.num_calls == 1


def test_without_squeue_nothing_is_asked_and_anothers_answer_is_used(
    cluster: Cluster, run: RunPaths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = share_answer(run.submission(1), ["12"])
    make_older(run, 100)
    monkeypatch.setenv("PATH", str(tmp_path))
    later = share_answer(run.submission(1), ["12"])
    assert first is not None and later is not None
    assert later.rows == first.rows == (JobRow("12", 3, "RUNNING", first.rows[0].end_time, "None"),)
    assert cluster.num_calls == 1


def test_a_book_of_lives_asks_about_the_jobs_it_meets(cluster: Cluster, run: RunPaths) -> None:
    make_attempt(run, age_s=20)
    cluster.write("squeue", "12_3|demo|NODE_FAIL|None|n1|NONE")
    assert Lives(run, 1, on_slurm=True).of(0, 0) is Life.DEAD
    assert cluster.num_calls == 1
    assert Lives(run, 1, on_slurm=False).of(0, 0) is Life.ALIVE
    assert cluster.num_calls == 1


def test_the_rows_of_many_owners_are_found_in_no_time() -> None:
    """0.004 s for 10,000; it took 3 s where each look-up went through all rows."""
    rows = tuple(JobRow("12", index, "RUNNING", None) for index in range(10_000))
    again = JobRow("12", 7, "PENDING", None)
    answer = QueueAnswer(1, 0.0, "n1", 0, "main", ("12",), None, (*rows, again))
    spent = time.process_time()
    assert [answer.row("12", index) for index in range(10_000)] == list(rows)
    assert time.process_time() - spent < 1
    assert answer.row("12", None) is None
