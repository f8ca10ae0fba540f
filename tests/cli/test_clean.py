"""clean removes a run only when all it holds is published, whole and the same."""

import errno
import inspect
import json
import os
from pathlib import Path
from typing import Any

import pytest

from launch.cli.clean import remove
from launch.collect.foreign import foreign_in
from launch.errors import StorageError
from launch.rundir.layout import AttemptPaths, EnginePaths, RunPaths, SubmissionPaths
from tests.cli.commands import PREFIX, Said, submit_words, succeed, vllm_launch

pytestmark = pytest.mark.process  # whole runs


@pytest.fixture
def here(tmp_path: Path, checkpoint: Path) -> Path:
    """A place with a published run `r`."""
    succeed(*submit_words(checkpoint), "--limit-items", "5", cwd=tmp_path)
    return tmp_path


def run(here: Path) -> Path:
    return here / "outputs" / "runs" / "r"


def published(here: Path) -> Path:
    return here / "outputs" / "leaderboards" / "r"


def refused(here: Path, code: int = 3) -> str:
    said: Said = vllm_launch("clean", "r", cwd=here)
    assert (said.code, said.out, len(said.err.splitlines())) == (code, "", 1), said
    assert run(here).is_dir()
    return said.err.removeprefix(PREFIX)


def test_what_is_published_and_whole_may_go(here: Path) -> None:
    assert succeed("clean", "r", "--dry-run", cwd=here).out.startswith(f"would remove {run(here)} (")
    assert run(here).is_dir()
    assert succeed("clean", "r", cwd=here).out.startswith(f"removed {run(here)} (")
    assert list(run(here).parent.iterdir()) == []
    succeed("verify", published(here), cwd=here)


def test_an_empty_name_is_not_the_directory_one_is_in(here: Path) -> None:
    """A variable that is not set."""
    for command, place in (("clean", run(here)), ("verify", published(here)), ("verify", run(here))):
        said = vllm_launch(command, "", cwd=place)
        assert (said.code, said.out) == (2, "")
        assert "a run directory or a run id, got ''. Write . for the current directory." in said.err
    for command, place in (("score", published(here)), ("list", run(here).parent)):
        said = vllm_launch(command, "", cwd=place)
        assert (said.code, said.out) == (2, "") and "expected a path, got ''." in said.err
    assert run(here).is_dir()
    succeed("clean", ".", "--dry-run", cwd=run(here))


def test_what_cannot_be_removed_is_named_and_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS while a process of this node has a file open."""
    runs, rmdir = tmp_path / "runs", os.rmdir

    def refuse(path: Any, **options: Any) -> None:
        if ".removed" in str(path):
            raise OSError(errno.ENOTEMPTY, "Directory not empty", str(path))
        rmdir(path, **options)

    for _ in range(2):
        (runs / "r" / "tasks").mkdir(parents=True)
        with monkeypatch.context() as patch:
            patch.setattr(os, "rmdir", refuse)
            with pytest.raises(StorageError, match=r"/\.r\.removed-.*: directory not empty\. Remove it when"):
                remove(RunPaths(runs / "r"))
        assert not (runs / "r").exists()
    (runs / ".r.removed").mkdir()  # of an older vllm-launch
    (runs / "r").mkdir()
    remove(RunPaths(runs / "r"))
    assert list(runs.iterdir()) == []


def test_a_published_file_that_changed(here: Path) -> None:
    (published(here) / "generations.jsonl").write_text("{}\n")
    said = refused(here)
    assert said.startswith(f"{run(here)}: generations.jsonl: has 3 bytes, published were ")


def test_nothing_is_published(here: Path) -> None:
    published(here).rename(here / "elsewhere")
    assert refused(here) == (
        f"{run(here)}: is not published in {published(here)}; nothing was removed. Publish it with"
        " `vllm-launch merge`.\n"
    )


def test_results_in_the_run_itself(here: Path) -> None:
    """As a run may be that was moved since."""
    yaml = run(here) / "submissions" / "1" / "submission.yaml"
    within = run(here) / "results"
    published(here).rename(within)
    yaml.write_text(yaml.read_text().replace(str(published(here)), str(within)))
    said = refused(here, code=2)
    assert said.startswith(f"{within}: lies in the run's own directory; nothing was removed.")
    assert (within / "manifest.json").is_file()


def test_the_run_holds_something_else(here: Path) -> None:
    (results,) = run(here).glob("tasks/*/*/*/*.results.jsonl")
    data = results.read_bytes()
    results.write_bytes(data.replace(b'"text":"', b'"text":"X', 1))
    assert "damaged: " in refused(here)


def test_another_runs_results_lie_there(here: Path, checkpoint: Path) -> None:
    succeed(*submit_words(checkpoint, name="other"), "--limit-items", "5", cwd=here)
    published(here).rename(here / "first")
    (here / "outputs" / "leaderboards" / "other").rename(published(here))
    assert "holds run other's results. Nothing was removed." in refused(here, code=2)


def test_a_run_that_is_not_complete(here: Path, checkpoint: Path) -> None:
    vllm_launch(
        *submit_words(checkpoint, name="half"),
        *("--limit-items", "5", "--set", "publish.allow_missing=true"),
        cwd=here,
        VLLM_LAUNCH_STUB_FAIL="step:2",
    )
    said = vllm_launch("clean", "half", cwd=here)
    assert said.code == 3 and "items are missing; nothing was removed" in said.err


def test_a_run_of_slurm_may_go_where_slurm_is_not(here: Path) -> None:
    submission = run(here) / "submissions" / "1"
    yaml = submission / "submission.yaml"
    yaml.write_text(yaml.read_text().replace("scheduler: none", "scheduler: slurm"))
    row = {"name": "tasks-0", "job_name": "demo", "offset": 0, "size": 1, "cluster": "big", "job_id": "12"}
    (submission / "jobs.jsonl").write_text(json.dumps(row) + "\n")
    nothing = str(here / "nothing")
    said = vllm_launch("clean", "r", cwd=here, PATH=nothing)
    assert said.errors == [
        f"{PREFIX}squeue: not found; this machine has no Slurm commands. Log in to a submit host. Or say"
        " --assume-dead if you know that it is dead."
    ]
    assert succeed("clean", "r", "--assume-dead", "--dry-run", cwd=here, PATH=nothing).code == 0
    succeed("clean", "r", "--assume-dead", cwd=here, PATH=nothing)
    assert not run(here).exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_notes.txt", "my_notes.txt"),
        ("results/", "results/"),
        ("plan/notes", "plan/notes"),
        ("submissions/1 (copy)/", "submissions/1 (copy)/"),
        ("tasks/1/0/0/thoughts.md", "tasks/1/0/0/thoughts.md"),
        ("merge/mine.jsonl", "merge/mine.jsonl"),
        (".git/", ".git/"),
    ],
)
def test_what_is_not_of_the_run_is_named_and_nothing_is_removed(here: Path, name: str, said: str) -> None:
    path = run(here) / name
    path.mkdir() if name.endswith("/") else path.write_text("mine")
    message = (
        f"{run(here)}: holds {said}, which is not of the run; nothing was removed. Move it away first.\n"
    )
    assert refused(here, code=2) == message
    assert vllm_launch("clean", "r", "--dry-run", cwd=here).code == 2
    path.rename(here / "elsewhere")
    succeed("clean", "r", cwd=here)


def test_a_run_of_many_submissions_holds_nothing_foreign(here: Path, checkpoint: Path) -> None:
    """Names that only kills, NFS and Slurm leave, and a single-node command's logs."""
    root, task = run(here), run(here) / "tasks" / "1" / "0"
    for name in ("squeue.json", "squeue.12", "limits.json", "tasks-0.sbatch", "merge.sbatch", "jobs.jsonl"):
        (root / "submissions" / "1" / name).touch()
    (root / "submissions" / ".2.0af3").mkdir()
    (root / "submissions" / ".2.0af3" / "chunks.jsonl").touch()
    for name in ("exclude", "shells.jsonl", "0/0.0.flight.json", "0/.nfs0001", ".exclude.host.12.tmp"):
        (task / name).touch()
    (root / "merge" / "7.scratch").mkdir()
    (root / "merge" / "7.scratch" / "0.bucket").touch()
    (root / "logs").mkdir()
    for name in ("task-0.log", "12_3.log", "merge-13.log"):
        (root / "logs" / name).touch()
    assert foreign_in(RunPaths(root)) == []
    (root / "notes").touch()
    (root / "logs" / "a").mkdir()
    assert foreign_in(RunPaths(root)) == ["logs/a/", "notes"]


def test_every_name_of_the_layout_is_of_a_run(tmp_path: Path) -> None:
    """A new method of it has to be told to collect/foreign.py, or `clean` refuses every run that has it."""
    run = RunPaths(tmp_path / "r")
    sent, attempt = run.submission(1), run.attempt(1, 0, 0)
    made = {
        RunPaths: {
            "merge_claim": run.merge_claim(1),
            "merge_done": run.merge_done(1),
            "merge_scratch": run.merge_scratch(1),
            "excluded": run.excluded(1, 0),
            "shells": run.shells(1, 0),
            "partial_submission": run.partial_submission(2, "0f").root,
        },
        SubmissionPaths: {
            "asking": sent.asking(3),
            "claim": sent.claim(1, 2),
            "done": sent.done(1),
            "sbatch": sent.sbatch("merge"),
        },
        AttemptPaths: {},
        EnginePaths: {},
    }
    of_folders = {"submission", "attempt", "task", "engine"}
    """What these name has paths of its own."""
    for paths in (run, sent, attempt, attempt.engine(0, 0)):
        for name, value in vars(type(paths)).items():
            if isinstance(value, property):
                path: Path = getattr(paths, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch() if path.suffix or name in ("log", "heartbeat") else path.mkdir(exist_ok=True)
    for paths_type, examples in made.items():
        methods = {
            name
            for name, value in vars(paths_type).items()
            if inspect.isfunction(value)
            and not name.startswith("_")
            and value.__annotations__["return"] is not bool
        }
        assert methods - of_folders == examples.keys(), paths_type
        for name, path in examples.items():
            path.mkdir() if name in ("merge_scratch", "partial_submission") else path.touch()
    assert foreign_in(run) == []
