"""A published run takes another form by a merge, which keeps it; nothing else of the run changes."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from launch.cli.publishing import merge_when_free
from launch.collect import user_files
from launch.collect.verify import verify_published
from launch.config.schema import UserFiles
from launch.rundir.layout import RunPaths
from launch.rundir.records import list_submissions, load_submission
from tests.cli.commands import Said, submit_words, succeed, vllm_launch
from tests.cli.refusals import refusal
from tests.collect.builders import change_publish, make_generations, plan_run, published, write_results

pytestmark = pytest.mark.process

AGAIN = r"^users       users\.zip: (.*) files; `(vllm-launch .*)` has them apart$"


@pytest.fixture
def run(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    """A run of 4 users, all generated, which are too many for a file each."""
    monkeypatch.setattr(user_files, "MAX_FILES", 3)
    run = plan_run(tmp_path / "a place", checkpoint)
    write_results(run, make_generations(run))
    return run


def merged(run: RunPaths, *words: str | Path) -> Said:
    return succeed("merge", run.root, *words, cwd=run.root.parent)


def form(run: RunPaths) -> set[str]:
    """What is published of single users; whole."""
    assert verify_published(published(run)).is_whole
    return {path.name for path in published(run).iterdir() if path.name.startswith("users")}


def record(run: RunPaths) -> bytes:
    return run.submission(1).submission_yaml.read_bytes()


def test_what_a_merge_advises_can_be_done_and_stays(run: RunPaths) -> None:
    said = re.search(AGAIN, merged(run).out, re.MULTILINE)
    assert said is not None and said[1] == "4" and form(run) == {"users.zip"}
    _, *words = shlex.split(said[2])
    again = succeed(*words, cwd=run.root.parent)
    assert again.row("publish") == "user_files files: kept for later merges"
    assert form(run) == {"users"} and "users.zip" not in again.out
    later = merged(run)
    assert "nothing new since" in later.out and form(run) == {"users"}
    assert merge_when_free(run) == 0 and form(run) == {"users"}, "the merge job knows it as well"
    for words in (["verify", run.root], ["verify", published(run)], ["score", published(run)]):
        succeed(*words, cwd=run.root)
    assert "publish     " not in merged(run, "--user-files", "files").out, "as it is"


@pytest.mark.parametrize("words", [["--user-files", "none"], ["--set", "publish.user_files=none"]])
def test_by_flag_and_by_its_full_name(run: RunPaths, words: list[str]) -> None:
    merged(run, *words)
    assert form(run) == set()
    merged(run, "--user_files", "auto")
    assert form(run) == {"users.zip"}


def test_a_form_asked_for_too_early_is_that_of_the_merge_that_publishes(
    tmp_path: Path, checkpoint: Path
) -> None:
    run = plan_run(tmp_path, checkpoint)
    write_results(run, make_generations(run)[1:])
    said = vllm_launch("merge", run.root, "--user-files", "archive", cwd=tmp_path)
    assert said.code == 3 and "1 of 12 items are missing" in said.err
    assert said.row("publish") == "user_files archive: kept for later merges"
    write_results(run, make_generations(run)[:1], task=1)
    merged(run)
    assert form(run) == {"users.zip"}


def test_a_later_submission_begins_with_it(tmp_path: Path, checkpoint: Path) -> None:
    succeed(*submit_words(checkpoint), "--limit-items", "3", "--dry-run", cwd=tmp_path)
    vllm_launch("merge", "r", "--user-files", "archive", cwd=tmp_path)
    succeed("resume", "r", cwd=tmp_path)
    run = RunPaths(tmp_path / "outputs" / "runs" / "r")
    assert load_submission(run, list_submissions(run)[-1]).publish.user_files is UserFiles.ARCHIVE
    assert (tmp_path / "outputs" / "leaderboards" / "r" / "users.zip").is_file()
    merged(run, "--user-files", "files")
    assert load_submission(run, 1).publish.user_files is UserFiles.ARCHIVE, "the newest one counts"


def test_what_may_lack(tmp_path: Path, checkpoint: Path) -> None:
    run = plan_run(tmp_path, checkpoint)
    write_results(run, make_generations(run, failed=[2])[1:])
    assert vllm_launch("merge", run.root, cwd=tmp_path).code == 3
    said = merged(run, "--allow-missing", "--max-failed-items", "1")
    assert "10 of 12 items done, 1 failed, 1 missing" in said.row("published")


def test_another_place(run: RunPaths, tmp_path: Path) -> None:
    merged(run)
    before, other = published(run), tmp_path / "other"
    said = merged(run, "--output-dir", other)
    assert published(run) == other and form(run) == {"users.zip"}
    assert said.row("publish") == f"output_dir {other}: kept for later merges"
    assert said.notes[0] == f"{before} stays as it was published"
    assert verify_published(before).is_whole


def test_references(run: RunPaths, tmp_path: Path) -> None:
    """They may be gone when only the form is to change."""
    file = tmp_path / "mine.json"
    file.write_text('{"u0": ["one", "two", "three"]}')
    merged(run, "--references", file)
    assert load_submission(run, 1).publish.references == file
    file.unlink()
    said = merged(run, "--user-files", "files")
    assert form(run) == {"users"} and any(note.startswith("no scores: ") for note in said.notes)


REFUSED = [
    (
        ["--set", "sampling.seed=7"],
        "--set sampling.seed=7: is part of the run's identity, which cannot change. Submit a new run.",
    ),
    (
        ["--set", "engine.max_num_seqs=7"],
        "--set engine.max_num_seqs=7: a merge generates nothing and takes settings of publish alone. Give"
        " it to `vllm-launch resume`.",
    ),
    (["--user-files", "zip"], "--user-files: publish.user_files: expected auto, files, archive or none"),
    (["--set", "publish.user_file=files"], "--set publish.user_file=files: publish.user_file: unknown"),
    (["--set", "files"], "--set files: expected section.key=value."),
    (["--user-files", "files", "--output-dir", "mine"], "HERE/mine: holds files that vllm-launch did not"),
    (
        ["--output-dir", "a place/runs/run/here"],
        "HERE/a place/runs/run/here: lies in the run's own directory",
    ),
    (["--references", "none.json"], "HERE/none.json: not found;"),
    (["--temperature", "0"], "no flag --temperature."),
]


@pytest.mark.parametrize(("words", "line"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_refused_changes_nothing(run: RunPaths, tmp_path: Path, words: list[str], line: str) -> None:
    merged(run)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    before = record(run)
    said = refusal(tmp_path, "merge", run.root, *words, prefix="vllm-launch")
    assert line in said
    assert record(run) == before


def test_a_run_that_was_never_submitted(run: RunPaths, tmp_path: Path) -> None:
    shutil.rmtree(run.submissions)
    said = refusal(tmp_path, "merge", run.root, "--user-files", "files")
    assert "holds no submission, though tasks of one have run" in said


def test_a_flag_of_a_form_that_the_run_has_already_writes_nothing(run: RunPaths) -> None:
    merged(run)
    change_publish(run, user_files=UserFiles.ARCHIVE)
    before = record(run)
    assert "publish     " not in merged(run, "--set", "publish.user_files=archive").out
    assert record(run) == before


def test_a_publication_that_was_moved_with_its_run_is_found(run: RunPaths, tmp_path: Path) -> None:
    before = published(run)
    merged(run)
    shutil.copytree(tmp_path / "a place", tmp_path / "an archive")
    moved = RunPaths(tmp_path / "an archive" / run.root.relative_to(tmp_path / "a place"))
    assert succeed("status", moved.root, cwd=tmp_path).notes == [], "the old place is there as well"
    shutil.rmtree(tmp_path / "a place")
    (note,) = succeed("status", moved.root, cwd=tmp_path).notes
    assert note.startswith(f"{before}: is not there, and {tmp_path / 'an archive' / 'published' / 'run'} ")
    said = vllm_launch("merge", moved.root, cwd=tmp_path)
    assert said.code == 2 and said.errors[0].startswith(f"vllm-launch: {note}") and not before.exists()
    _, *words = shlex.split(re.findall("`(.*?)`", note)[0])
    assert "nothing new since" in succeed(*words, cwd=tmp_path).out
    again = succeed("status", moved.root, cwd=tmp_path)
    assert again.notes == [] and "Published, complete: " in again.out
    merged(moved, "--output-dir", before)
    assert verify_published(before).is_whole
