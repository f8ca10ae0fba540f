"""`resume` sends what is missing, refuses to mix runs, and goes on after any kill."""

import os
import signal
from pathlib import Path

import pytest

from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
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


def test_the_rest_may_change(here: Path):
    words = ["--num-tasks", "3", "--gpu-memory-utilization", "0.5", "--output-dir", "elsewhere"]
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
        "HERE/outputs/runs/r: every item is settled; nothing is left to generate. Run `vllm-launch merge`."
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
    wait_until(lambda: processes_with(str(run.root)) == [], "no process left", timeout_s=10)
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


def test_replace_stops_what_works_and_takes_the_rest(tmp_path: Path, checkpoint: Path):
    submit = start(*submit_words(checkpoint), "--limit-items", "60", cwd=tmp_path, **SLOW)
    run = RunPaths(tmp_path / "outputs" / "runs" / "r")
    wait_until(lambda: num_committed(run) > 0, "a commit")
    said = succeed("resume", "r", "--replace", cwd=tmp_path)
    assert "of 60 items are missing" in finish(submit).err
    assert said.row("submission").startswith("2: ") and not said.row("submission").startswith("2: 60 ")
    assert "60 of 60 items done" in said.row("published")
