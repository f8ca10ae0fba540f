"""`resume` after Slurm: what is over, what may still work, and what only --assume-dead declares dead."""

import json
import os
from pathlib import Path

import pytest
import yaml

from launch.rundir.attempts import open_attempt
from launch.rundir.journal import write_json
from launch.rundir.layout import RunPaths
from tests.cli.commands import Said, submit_words, succeed, vllm_launch

pytestmark = pytest.mark.process

UNKNOWN_ID = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"
SLURM = {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "0", "SLURM_CLUSTER_NAME": "big"}


class Sent:
    """A run sent as job 12 to cluster big, and a login node whose commands are written here."""

    def __init__(self, folder: Path, checkpoint: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.command("scontrol", "echo 'ClusterName = big'")
        self.command("squeue", UNKNOWN_ID)
        words = ("--cluster", "slurm", "--limit-items", "8", "--num-tasks", "1", "--dry-run")
        succeed(*submit_words(checkpoint), *words, cwd=folder, PATH=self.path)
        self.run = RunPaths(folder / "outputs" / "runs" / "r")
        row = {
            "name": "tasks-0",
            "job_name": "demo",
            "offset": 0,
            "size": 1,
            "cluster": "big",
            "job_id": "12",
        }
        self.run.submission(1).jobs.write_text(json.dumps(row) + "\n")

    @property
    def path(self) -> str:
        return f"{self.bin}:{os.environ['PATH']}"

    def command(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f"#!/bin/bash\n{text}\n")
        (self.bin / name).chmod(0o755)

    def begin(self, *, age_s: float) -> None:
        """Task 0 has begun on another node, and its last heartbeat is that old."""
        _, paths = open_attempt(self.run, 1, 0)
        write_json(paths.attempt_json, {"host": "n1", "slurm": SLURM})
        paths.heartbeat.touch()
        then = paths.heartbeat.stat().st_mtime - age_s
        os.utime(paths.heartbeat, (then, then))

    def resume(self, *words: str) -> Said:
        said = vllm_launch("resume", "r", *words, "--dry-run", cwd=self.folder, PATH=self.path)
        assert len(said.errors) == (said.code != 0), said.err
        return said

    def assumed(self) -> list[str]:
        """What submission 2 says was assumed dead."""
        return list(yaml.safe_load(self.run.submission(2).submission_yaml.read_text())["assumed_dead"])


@pytest.fixture
def sent(tmp_path: Path, checkpoint: Path) -> Sent:
    return Sent(tmp_path, checkpoint)


def test_an_id_unknown_to_the_controller_that_issued_it_is_over(sent: Sent) -> None:
    sent.begin(age_s=40)
    said = sent.resume()
    assert said.code == 0 and not [note for note in said.notes if "assumed" in note]
    assert sent.assumed() == []


def test_an_id_unknown_to_another_controller_says_nothing(sent: Sent) -> None:
    sent.begin(age_s=3600)
    sent.command("scontrol", "echo 'ClusterName = small'")
    refused = sent.resume()
    assert refused.code == 2
    assert refused.errors[0].endswith(
        "r: nobody here (cluster small) can tell whether submission 1 still works: task 0 (job 12_0 on n1),"
        " job 12 sent to cluster big. Do it on the cluster that runs it, or say --assume-dead if you know"
        " that it is dead."
    )
    assert not sent.run.submission(2).root.exists()
    said = sent.resume("--assume-dead")
    assert said.code == 0
    dead = ["task 0 (job 12_0 on n1)", "job 12 sent to cluster big"]
    assert f"assumed dead, as you say: {', '.join(dead)}" in said.notes
    assert sent.assumed() == dead


def test_a_task_that_never_began_may_wait_at_another_cluster(sent: Sent) -> None:
    sent.command("scontrol", "echo 'ClusterName = small'")
    assert "still works: job 12 sent to cluster big. Do it" in sent.resume().errors[0]
    sent.command("scontrol", "echo 'ClusterName = big'")
    assert sent.resume().code == 0


@pytest.mark.parametrize("state", ["COMPLETED", "RUNNING"])
def test_a_job_of_the_same_id_at_this_cluster_says_nothing(sent: Sent, state: str) -> None:
    sent.command("scontrol", "echo 'ClusterName = small'")
    sent.command("squeue", f"echo '12|training|{state}|None|n1|NONE'")
    sent.command("scancel", f"touch {sent.folder}/cancelled")
    assert "still works: job 12 sent to cluster big. Do it" in sent.resume().errors[0]
    assert "still works: job 12 sent to cluster big. Do it" in sent.resume("--replace").errors[0]
    said = succeed("cancel", "r", cwd=sent.folder, PATH=sent.path)
    assert said.out == "nothing of this run is queued or running\n"
    assert not (sent.folder / "cancelled").exists()


def test_a_dry_run_stops_nothing(sent: Sent) -> None:
    sent.command("squeue", "echo '12_0|demo|RUNNING|None|n1|NONE'")
    sent.command("scancel", f"touch {sent.folder}/cancelled")
    said = sent.resume("--replace")
    assert said.code == 2 and said.errors[0].endswith(
        "submission 1 still has 1 jobs or tasks in the queue (demo RUNNING). Wait for it, cancel it with"
        " `vllm-launch cancel`, or say --replace without --dry-run."
    )
    assert not (sent.folder / "cancelled").exists()
    sent.command("squeue", UNKNOWN_ID)
    assert sent.resume("--replace").code == 0


def accept_jobs(sent: Sent) -> None:
    """sbatch takes a job, and notes down whether its sender says that it sends."""
    sender = sent.run.submission(2).sender
    sent.command("sbatch", f"ls {sender} >>{sent.folder}/seen; echo Submitted batch job 20")
    sent.command("srun", "exit 1")


def test_who_sends_says_so_until_all_is_sent(sent: Sent) -> None:
    accept_jobs(sent)
    succeed("resume", "r", cwd=sent.folder, PATH=sent.path)
    sender = sent.run.submission(2).sender
    assert (sent.folder / "seen").read_text().split() == [str(sender)] * 2
    assert not sender.exists()


def test_a_merge_job_that_may_be_sending_the_newest(sent: Sent) -> None:
    assert sent.resume().code == 0
    sent.command("squeue", "[[ $* != *--jobs=12* ]] || echo '12|demo|RUNNING|None|n1|NONE'")
    assert (
        sent.resume()
        .errors[0]
        .endswith(
            "submission 1 still has 1 jobs or tasks in the queue (demo RUNNING). Wait for it, cancel it with"
            " `vllm-launch cancel`, or say --replace."
        )
    )


def test_what_a_merge_job_opened_while_it_was_replaced_is_closed_too(sent: Sent) -> None:
    accept_jobs(sent)
    first, second = sent.run.submission(1).root, sent.run.submission(2).root
    gone = sent.folder / "cancelled"
    renumber = f"sed -i 's/^submission: 1/submission: 2/' {second}/submission.yaml"
    sent.command("squeue", f"[[ -e {gone} ]] || echo '12|demo|RUNNING|None|n1|NONE'")
    sent.command("scancel", f"touch {gone}; cp -r {first} {second}; {renumber}")
    succeed("resume", "r", "--replace", cwd=sent.folder, PATH=sent.path)
    assert [path.name for path in sorted(first.parent.iterdir())] == ["1", "2", "3"]


@pytest.mark.parametrize("damage", ["output_dir", "index"])
def test_what_would_be_refused_is_before_anything_is_stopped(sent: Sent, damage: str) -> None:
    sent.command("squeue", "echo '12_0|demo|RUNNING|None|n1|NONE'")
    sent.command("scancel", f"touch {sent.folder}/cancelled")
    (sent.folder / "full").mkdir()
    (sent.folder / "full" / "file").touch()
    if damage == "index":
        sent.run.index.write_bytes(b"")
    words = ["--output-dir", "full"] if damage == "output_dir" else []
    said = vllm_launch("resume", "r", "--replace", *words, cwd=sent.folder, PATH=sent.path)
    assert said.code == 2 and "the queue" not in said.err
    assert not (sent.folder / "cancelled").exists()


def test_what_has_ended_by_itself_is_over_everywhere(sent: Sent) -> None:
    sent.begin(age_s=0)
    sent.command("scontrol", "echo 'ClusterName = small'")
    ended = sent.run.attempt(1, 0, 0).ended
    write_json(ended, {"code": 75, "reason": "drained"})
    assert "still works: job 12 sent" in sent.resume().errors[0], "it asked to be continued"
    write_json(ended, {"code": 1, "reason": "failed"})
    assert sent.resume().code == 0


def test_who_is_known_to_live_is_not_assumed_dead(sent: Sent) -> None:
    sent.begin(age_s=40)
    sent.command("scontrol", "echo 'ClusterName = small'")
    said = sent.resume("--assume-dead")
    assert said.code == 2 and "submission 1 still works on task 0. Wait for it" in said.errors[0]
    sent.command("squeue", "echo '12_0|demo|RUNNING|None|n1|NONE'")
    said = sent.resume("--assume-dead")
    assert said.code == 2 and "still has 1 jobs or tasks in the queue (demo RUNNING)" in said.errors[0]


def test_slurm_that_does_not_answer_says_nothing(sent: Sent) -> None:
    sent.begin(age_s=3600)
    sent.command("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    said = sent.resume()
    assert said.code == 2 and said.errors[0].endswith("Or say --assume-dead if you know that it is dead.")
    assert sent.resume("--assume-dead").code == 0
    assert sent.assumed() == ["task 0 (job 12_0 on n1)", "job 12 sent to cluster big"]


@pytest.mark.parametrize(("host", "age_s", "code"), [("n1", 200, 0), ("n1", 60, 2), (None, 200, 2)])
def test_without_slurm_a_silent_task_elsewhere_may_be_assumed_dead(
    tmp_path: Path, checkpoint: Path, host: str | None, age_s: float, code: int
) -> None:
    succeed(*submit_words(checkpoint), "--limit-items", "8", "--dry-run", cwd=tmp_path)
    run = RunPaths(tmp_path / "outputs" / "runs" / "r")
    _, paths = open_attempt(run, 1, 0)
    write_json(paths.attempt_json, {"host": host or os.uname().nodename})
    paths.heartbeat.touch()
    then = paths.heartbeat.stat().st_mtime - age_s
    os.utime(paths.heartbeat, (then, then))
    assert vllm_launch("resume", "r", "--dry-run", cwd=tmp_path).code == 2
    said = vllm_launch("resume", "r", "--dry-run", "--assume-dead", cwd=tmp_path)
    assert said.code == code, said.err
    assert ("assumed dead, as you say: task 0 (on n1)" in said.notes) is (code == 0)
