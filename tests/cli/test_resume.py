"""`resume` sends what is missing, refuses to mix runs, and goes on after any kill."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import launch.cli.publishing
from launch.cli.closing import SENDER_DEAD_S
from launch.errors import RunError
from launch.rundir.journal import read_json, write_json
from launch.rundir.layout import RunPaths
from launch.rundir.process_mark import mark_process
from launch.rundir.progress import survey_settled
from launch.rundir.records import SubmissionRecord, list_submissions, load_run, load_submission, run_config
from launch.rundir.sharing import Place
from launch.rundir.submissions import Opening, open_submission
from tests.cli.commands import finish, start, submit_words, succeed, vllm_launch
from tests.worker.tasks import num_committed, processes_with, wait_until

pytestmark = pytest.mark.process

SLOW = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.2"}
STUB = "; limited to 60 of 92 items; texts of the stub engine, not of a model"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """A run that was planned and not started."""
    root = tmp_path_factory.mktemp("resume")
    succeed(*submit_words(checkpoint), "--limit-items", "4", "--dry-run", cwd=root)
    return root


def refused(here: Path, *words: str) -> str:
    """Why resume refuses; it opens no submission then."""
    submissions = here / "outputs" / "runs" / "r" / "submissions"
    before = sorted(submissions.iterdir())
    said = vllm_launch("resume", "r", *words, cwd=here)
    assert said.code == 2 and len(said.errors) == 1, said.err
    assert sorted(submissions.iterdir()) == before
    return said.errors[0].removeprefix("vllm-launch: ").replace(str(here), "HERE")


@pytest.mark.parametrize(
    ("words", "key", "before", "after"),
    [
        (["--seed", "7"], "sampling.seed", "42", "7"),
        (["--temperature", "0.5"], "sampling.temperature", "1.0", "0.5"),
        (["--set", "sampling.top_p=0.5"], "sampling.top_p", "0.9", "0.5"),
        (["--dtype", "float16"], "model.dtype", "'auto'", "'float16'"),
        (["--limit-items", "5"], "data.limit_items", "4", "5"),
        (["--max-chars-per-turn", "9"], "prompt.max_chars_per_turn", "300", "9"),
        (
            ["--ablation-config", "profile_only"],
            "prompt.ablation_config",
            "'profile_and_context'",
            "'profile_only'",
        ),
    ],
)
def test_the_identity_cannot_change(here: Path, words: list[str], key: str, before: str, after: str):
    assert refused(here, *words) == (
        f"{key}: is part of the run's identity, which cannot change: the run has {before}, asked for {after}."
        " Submit a new run."
    )


def last_submission(here: Path) -> SubmissionRecord:
    """Its submission.yaml, as it is read again."""
    run = RunPaths(here / "outputs" / "runs" / "r")
    return load_submission(run, list_submissions(run)[-1])


def test_what_changes_stands_in_the_new_submission(here: Path):
    before = last_submission(here)
    (here / "other.yaml").write_text("scheduler: slurm\npartition: h200\nmax_array_size: 100\n")
    words = ["--tensor-parallel-size", "2", "--gpu-memory-utilization", "0.8", "--tasks", "2"]
    succeed("resume", "r", "--cluster", "other.yaml", *words, "--dry-run", cwd=here)
    sent = last_submission(here)
    assert sent.submission == before.submission + 1
    changed = {"tensor_parallel_size": 2, "gpu_memory_utilization": 0.8}
    assert sent.engine == before.engine.model_copy(update=changed)
    resources = sent.resources
    assert (resources.scheduler, resources.partition, resources.max_array_size) == ("slurm", "h200", 100)
    assert (sent.num_tasks, resources.num_tasks) == (2, 2)
    assert (sent.publish, sent.num_items) == (before.publish, before.num_items)
    succeed("resume", "r", "--cluster", "none", "--dry-run", cwd=here)
    again = last_submission(here)
    assert (again.engine, again.resources.partition) == (sent.engine, None)


def test_the_rest_may_change(here: Path):
    words = ["--tasks", "3", "--gpu-memory-utilization", "0.5", "--output-dir", "elsewhere"]
    said = succeed("resume", "r", *words, "--dry-run", cwd=here)
    assert said.row("tasks") == "3 tasks, as asked for"
    assert said.row("results in") == str(here / "elsewhere")


def test_a_setting_that_is_ignored_is_said(here: Path):
    said = succeed("resume", "r", "--partition", "gpu", "--dry-run", cwd=here)
    assert said.notes[0] == ("--partition: resources.partition: ignored, resources.scheduler is none.")


def test_a_mistyped_setting(here: Path):
    assert refused(here, "--set", "engine.max_seqs=3") == (
        "--set engine.max_seqs=3: engine.max_seqs: unknown key. Did you mean max_num_seqs?"
    )


def test_changed_code_must_be_accepted(here: Path):
    run = RunPaths(here / "outputs" / "runs" / "r")
    newest = max(int(path.name) for path in run.submissions.iterdir())
    path = run.submission(newest).submission_yaml
    text = path.read_text()
    (digest,) = [line.split()[1] for line in text.splitlines() if line.startswith("  digest: ")]
    path.write_text(text.replace(digest, "f" * 32))
    said = refused(here)
    assert said.startswith(
        f"HERE/outputs/runs/r: vllm-launch has changed since submission {newest}: 0.1.0 (ffffffffffff) ->"
        " 0.1.0 ("
    )
    assert said.endswith(
        "). Go back to it, or go on with `vllm-launch resume HERE/outputs/runs/r --accept-code-change`."
    )
    succeed("resume", "r", "--accept-code-change", "--dry-run", cwd=here)


def test_nothing_is_missing_any_more(here: Path):
    succeed("resume", "r", "--num-tasks", "1", cwd=here)
    assert refused(here) == (
        "HERE/outputs/runs/r: every item is settled; nothing is left to generate. Run `vllm-launch merge`,"
        " which takes settings of publish as well."
    )


def test_a_run_that_is_none(tmp_path: Path):
    said = vllm_launch("resume", "nothing", cwd=tmp_path)
    assert said.code == 2
    assert said.errors == [
        "vllm-launch: nothing: no run here; looked for run.yaml in nothing and outputs/runs/nothing."
        " Give a run directory or a run id."
    ]


def test_killed_without_a_word_it_goes_on_at_once(tmp_path: Path, checkpoint: Path):
    words = [*submit_words(checkpoint), "--limit-items", "60"]
    submit = start(*words, cwd=tmp_path, **SLOW)
    run = RunPaths(tmp_path / "outputs" / "runs" / "r")
    wait_until(lambda: num_committed(run) > 0, "a commit")
    still = vllm_launch("resume", "r", cwd=tmp_path)
    assert still.code == 2
    assert still.errors == [
        f"vllm-launch: {run.root}: submission 1 still works on task 0. Wait for it, cancel it with"
        " `vllm-launch cancel`, or say --replace."
    ]
    about = read_json(run.attempt(1, 0, 0).attempt_json)
    assert about is not None
    for pid in (submit.pid, about["pid"]):
        os.kill(pid, signal.SIGKILL)
    assert finish(submit).code == -signal.SIGKILL
    wait_until(lambda: processes_with(str(run.root)) == [], "no process left", timeout_s=30)
    assert not run.attempt(1, 0, 0).ended.exists()
    kept = survey_settled(run).num_done
    assert 0 < kept < 60
    said = succeed("resume", "r", cwd=tmp_path)
    assert said.row("submission").startswith(f"2: {60 - kept} items")
    assert said.row("published").endswith(f"60 of 60 items done{STUB}")


def test_a_killed_task_is_called_so(tmp_path: Path, checkpoint: Path):
    submit = start(*submit_words(checkpoint), "--limit-items", "60", cwd=tmp_path, **SLOW)
    run = RunPaths(tmp_path / "outputs" / "runs" / "r")
    wait_until(lambda: num_committed(run) > 0, "a commit")
    about = read_json(run.attempt(1, 0, 0).attempt_json)
    assert about is not None
    os.kill(about["pid"], signal.SIGKILL)
    said = finish(submit)
    assert said.code == 3
    assert said.errors[0].startswith("task 0 was killed by SIGKILL: it left no word; last in its log: ")


def test_interrupted_it_drains_and_can_be_resumed(tmp_path: Path, checkpoint: Path):
    words = [*submit_words(checkpoint), "--limit-items", "60"]
    submit = start(*words, cwd=tmp_path, **SLOW)
    run = RunPaths(tmp_path / "outputs" / "runs" / "r")
    wait_until(lambda: num_committed(run) > 0, "a commit")
    submit.send_signal(signal.SIGINT)
    said = finish(submit)
    assert said.code == 3
    assert said.errors[0].startswith("task 0 ended with 75: drained")
    assert said.errors[1].startswith(f"vllm-launch: {run.root}: ")
    assert "of 60 items are missing" in said.errors[1] and len(said.errors) == 2
    assert succeed("resume", "r", cwd=tmp_path).row("published").endswith(f"60 of 60 items done{STUB}")


def test_interrupted_while_it_publishes_it_says_what_to_type(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(launch.cli.publishing, "merge", interrupt)
        said = vllm_launch(*submit_words(checkpoint), "--limit-items", "2", cwd=tmp_path)
    run = tmp_path / "outputs" / "runs" / "r"
    assert (said.code, said.errors[-1]) == (130, "vllm-launch: interrupted")
    assert said.notes[-1] == (
        f"all that was generated is kept; `vllm-launch merge {run}` publishes and scores it"
    )
    assert "2 of 2 items done" in succeed("merge", "r", cwd=tmp_path).row("published")


def test_replace_stops_what_works_and_takes_the_rest(tmp_path: Path, checkpoint: Path):
    submit = start(*submit_words(checkpoint), "--limit-items", "60", cwd=tmp_path, **SLOW)
    run = RunPaths(tmp_path / "outputs" / "runs" / "r")
    wait_until(lambda: num_committed(run) > 0, "a commit")
    said = succeed("resume", "r", "--replace", cwd=tmp_path)
    assert "of 60 items are missing" in finish(submit).err
    assert said.row("submission").startswith("2: ") and not said.row("submission").startswith("2: 60 ")
    assert "60 of 60 items done" in said.row("published")


def dry_run(here: Path, checkpoint: Path) -> RunPaths:
    """A run of which nothing was started."""
    succeed(*submit_words(checkpoint), "--limit-items", "4", "--dry-run", cwd=here)
    return RunPaths(here / "outputs" / "runs" / "r")


@pytest.fixture
def living() -> Iterator[subprocess.Popen[bytes]]:
    """Another process of this machine."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_a_driver_between_two_tasks_refuses_a_second_one(
    tmp_path: Path, checkpoint: Path, living: subprocess.Popen[bytes]
):
    run = dry_run(tmp_path, checkpoint)
    write_json(run.submission(1).driver, mark_process(living.pid).as_json())
    said = vllm_launch("resume", "r", cwd=tmp_path)
    assert said.errors == [
        f"vllm-launch: {run.root}: process {living.pid} still works on submission 1. Wait for it, cancel it"
        " with `vllm-launch cancel`, or say --replace."
    ]
    assert list_submissions(run) == [1]
    succeed("resume", "r", "--replace", cwd=tmp_path)
    assert living.poll() is not None


@pytest.mark.parametrize("pid_of", [os.getpid, os.getppid], ids=["itself", "parent"])
def test_a_driver_that_started_this_process_is_no_second_one(
    tmp_path: Path, checkpoint: Path, pid_of: Callable[[], int]
):
    """As torchrun, which starts its workers again."""
    run = dry_run(tmp_path, checkpoint)
    write_json(run.submission(1).driver, mark_process(pid_of()).as_json())
    succeed("resume", "r", cwd=tmp_path)


def test_what_is_being_sent_on_this_machine_is_not_sent_twice(
    tmp_path: Path, checkpoint: Path, living: subprocess.Popen[bytes]
):
    run = dry_run(tmp_path, checkpoint)
    write_json(run.submission(1).sender, mark_process(living.pid).as_json())
    for words in ([], ["--replace"], ["--assume-dead"]):
        said = vllm_launch("resume", "r", *words, cwd=tmp_path)
        assert said.errors == [
            f"vllm-launch: {run.root}: submission 1 is being sent by process {living.pid} on"
            f" {socket.gethostname()}. Wait for it, or end that process."
        ]
    living.kill()
    living.wait()
    succeed("resume", "r", "--dry-run", cwd=tmp_path)


def test_a_sender_elsewhere_is_waited_for_while_it_may_live(tmp_path: Path, checkpoint: Path):
    run = dry_run(tmp_path, checkpoint)
    sender = run.submission(1).sender
    write_json(sender, {"host": "n1", "pid": 7})
    said = vllm_launch("resume", "r", "--dry-run", cwd=tmp_path)
    assert said.errors[0].endswith(
        "submission 1 is being sent by process 7 on n1. Wait for it, or say --assume-dead if you know that it"
        " is dead."
    )
    succeed("resume", "r", "--dry-run", "--assume-dead", cwd=tmp_path)
    shutil.rmtree(run.submission(2).root)
    then = sender.stat().st_mtime - SENDER_DEAD_S - 10
    os.utime(sender, (then, then))
    succeed("resume", "r", "--dry-run", cwd=tmp_path)


def test_only_what_follows_the_closed_submission_is_opened(tmp_path: Path, checkpoint: Path):
    for command in ([*submit_words(checkpoint), "--limit-items", "4"], ["resume", "r"]):
        succeed(*command, "--dry-run", cwd=tmp_path)
    run = RunPaths(tmp_path / "outputs" / "runs" / "r")
    config = run_config(load_run(run), load_submission(run, 1))
    with pytest.raises(RunError, match=r"submissions/2: another resume has just opened it. Look at"):
        open_submission(run, config, Place(1001, None, 0), opening=Opening(after=1))
    assert list_submissions(run) == [1, 2]


def test_who_sends_says_so_until_it_drives(tmp_path: Path, checkpoint: Path):
    succeed(*submit_words(checkpoint), "--limit-items", "4", cwd=tmp_path)
    paths = RunPaths(tmp_path / "outputs" / "runs" / "r").submission(1)
    assert paths.driver.exists() and not paths.sender.exists()
