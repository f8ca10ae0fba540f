"""Places that cannot be written to or that hold something else: refused before anything is written."""

import json
import os
from pathlib import Path

import pytest

from tests.cli.commands import finish, start, submit_words, succeed
from tests.cli.disks import read_only, tiny_disk
from tests.cli.refusals import contents, refusal

pytestmark = pytest.mark.process

# Root may write everywhere, unless it gives that up.
GIVE_UP = "-dac_override,-dac_read_search"
AS_ANYBODY = ["setpriv", f"--bounding-set={GIVE_UP}", f"--inh-caps={GIVE_UP}"] if os.geteuid() == 0 else []


@pytest.fixture
def words(checkpoint: Path, scenario: Path) -> list[str]:
    return submit_words(checkpoint, scenario)


def test_a_file_where_runs_should_go(tmp_path: Path, words: list[str]):
    (tmp_path / "file").write_text("mine")
    for runs_dir in ("file", "file/runs"):
        assert refusal(tmp_path, *words, "--runs-dir", runs_dir) == (
            f"HERE/{runs_dir}/r: cannot write: a part of the path is a file, not a directory."
            " Choose another directory."
        )


def test_a_file_system_that_takes_no_directories(tmp_path: Path, words: list[str]):
    said = refusal(tmp_path, *words, "--runs-dir", "/proc/runs")
    assert said == "/proc/runs: no directory can be made there. Choose another one."


def test_a_packed_environment_that_is_not_there(tmp_path: Path, words: list[str]):
    said = "resources.environment: nope.tar: no such file. Give the packed environment, or leave it out."
    assert refusal(tmp_path, *words, "--environment", "nope.tar") == said
    succeed(*words, "--environment", "nope.tar", "--cluster", "slurm", "--dry-run", cwd=tmp_path)
    assert refusal(tmp_path, "resume", "r", "--cluster", "none", "--environment", "nope.tar") == said


def test_a_file_where_results_should_go(tmp_path: Path, words: list[str]):
    (tmp_path / "file").write_text("mine")
    for output_dir in ("file", "file/results"):
        assert refusal(tmp_path, *words, "--output-dir", output_dir) == (
            "HERE/file: is not a directory. Choose another --output_dir."
        )
    assert (tmp_path / "file").read_text() == "mine"


def test_a_link_that_leads_to_itself(tmp_path: Path, words: list[str]):
    (tmp_path / "loop").symlink_to("loop")
    for output_dir in ("loop", "loop/results"):
        assert refusal(tmp_path, *words, "--output-dir", output_dir) == (
            "HERE/loop: is not a directory. Choose another --output_dir."
        )
    said = refusal(tmp_path, *words, "--runs-dir", "loop/runs")
    assert said.endswith(": too many levels of symbolic links. Check the path and its permissions.")


def test_a_foreign_directory_that_is_not_empty(tmp_path: Path, words: list[str]):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("mine")
    assert refusal(tmp_path, *words, "--output_dir", "thesis") == (
        "HERE/thesis: holds files that vllm-launch did not publish; nothing was touched. Choose another"
        " --output_dir, or move them away."
    )
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "mine"


@pytest.mark.parametrize("place", ["outputs/runs/r", "outputs/runs/r/results", "way/runs/r/results"])
def test_the_runs_own_directory(tmp_path: Path, words: list[str], place: str):
    (tmp_path / "way").symlink_to("outputs")
    assert refusal(tmp_path, *words, "--output-dir", place) == (
        f"HERE/{place.replace('way', 'outputs')}: lies in the run's own directory, which is not for results."
        " Choose another --output_dir."
    )
    succeed(*words, "--dry-run", cwd=tmp_path)
    said = refusal(tmp_path, "resume", "r", "--output-dir", "outputs/runs/r/results")
    assert said.startswith("HERE/outputs/runs/r/results: lies in the run's own directory")


def test_the_directory_of_any_other_run(tmp_path: Path, words: list[str]):
    """`clean` would remove its results with that run."""
    succeed(*words, "--dry-run", cwd=tmp_path)
    for place in ("outputs/runs/r/pub", "outputs/runs/r/tasks/a/pub"):
        assert refusal(tmp_path, *words, "--name", "other", "--output-dir", place) == (
            f"HERE/{place}: lies in the directory of run r, which is not for results."
            " Choose another --output_dir."
        )
    (tmp_path / "run.yaml").touch()  # of something else
    succeed(*words, "--name", "other", "--output-dir", "results", "--dry-run", cwd=tmp_path)


def test_another_runs_published_directory(tmp_path: Path, words: list[str]):
    """Publishing replaces it whole; beside it is the usual place."""
    succeed(*words, "--output-dir", "board/r", cwd=tmp_path)
    for place in ("board/r/pub", "board/r/users/deep/pub"):
        assert refusal(tmp_path, *words, "--name", "other", "--output-dir", place) == (
            f"HERE/{place}: lies in the published directory of run r, which is replaced as a whole."
            " Choose another --output_dir."
        )
    (tmp_path / "board" / "manifest.json").write_text('{"manifest_version": 3}')  # anybody's
    succeed(*words, "--name", "other", "--output-dir", "board/other", "--dry-run", cwd=tmp_path)


def test_an_empty_directory_will_do(tmp_path: Path, words: list[str]):
    (tmp_path / "results").mkdir()
    said = succeed(*words, "--output-dir", "results", "--dry-run", cwd=tmp_path)
    assert said.row("results in") == str(tmp_path / "results")


def test_the_directory_of_another_run(tmp_path: Path, words: list[str]):
    succeed(*words, "--output-dir", "results", cwd=tmp_path)
    published = (tmp_path / "results" / "manifest.json").read_bytes()
    assert json.loads(published)["run_id"] == "r"
    expected = (
        "HERE/results: holds the results of run r; nothing was touched. Choose another --output_dir, or move"
        " it away."
    )
    assert refusal(tmp_path, *words, "--name", "other", "--output-dir", "results") == expected
    # A new run of the same name is another run, too.
    (tmp_path / "outputs" / "runs" / "r").rename(tmp_path / "outputs" / "runs" / "before")
    assert refusal(tmp_path, *words, "--output-dir", "results") == expected
    assert (tmp_path / "results" / "manifest.json").read_bytes() == published


def test_the_name_of_another_run(tmp_path: Path, words: list[str]):
    succeed(*words, "--dry-run", cwd=tmp_path)
    record = (tmp_path / "outputs" / "runs" / "r" / "run.yaml").read_bytes()
    assert refusal(tmp_path, *words, "--num-samples", "2") == (
        "HERE/outputs/runs/r: this run is there already. Continue it with `vllm-launch resume"
        " HERE/outputs/runs/r`, or choose another --name."
    )
    assert (tmp_path / "outputs" / "runs" / "r" / "run.yaml").read_bytes() == record


def test_a_directory_without_permission_to_write(tmp_path: Path, words: list[str]):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    for more, message in [
        (
            ["--runs-dir", "locked"],
            "locked/r: cannot write: writing is not allowed. Choose another directory.",
        ),
        (
            ["--output-dir", "locked/results"],
            "locked: cannot write: writing is not allowed. Choose another --output_dir.",
        ),
    ]:
        before = contents(tmp_path)
        said = finish(start(*words, *more, cwd=tmp_path, before=AS_ANYBODY))
        assert (said.code, said.out) == (2, "")
        assert said.errors == [f"vllm-launch: {tmp_path}/{message}"]
        assert contents(tmp_path) == before


def test_a_read_only_file_system(tmp_path: Path, words: list[str]):
    (tmp_path / "locked").mkdir()
    with read_only(tmp_path / "locked"):
        assert refusal(tmp_path, *words, "--runs-dir", "locked") == (
            "HERE/locked/r: cannot write: the file system is read-only. Choose another directory."
        )
        assert refusal(tmp_path, *words, "--output-dir", "locked/results") == (
            "HERE/locked: cannot write: writing is not allowed. Choose another --output_dir."
        )


def test_a_place_where_no_directory_can_be_made(tmp_path: Path, words: list[str]):
    """Seen before anything is generated, although the permissions of root allow it."""
    reason = "no directory can be made there" if os.geteuid() == 0 else "cannot write: writing is not allowed"
    for place in ("/proc/results", "/proc/a/results"):
        assert refusal(tmp_path, *words, "--output-dir", place) == (
            f"/proc: {reason}. Choose another --output_dir."
        )


def test_a_quota_of_files_that_is_used_up(tmp_path: Path, words: list[str]):
    with tiny_disk(tmp_path / "disk", 64, num_files=2) as disk:
        (disk.root / "last").touch()
        full = "HERE/disk: cannot write: the disk is full. Free space or choose another directory."
        assert refusal(tmp_path, *words, "--output-dir", "disk/results") == full
        succeed(*words, "--dry-run", cwd=tmp_path)
        assert refusal(tmp_path, "resume", "r", "--output-dir", "disk/results") == full


@pytest.mark.parametrize("option", ["--runs-dir", "--output-dir", "--scenario-path", "--preset"])
def test_a_name_that_is_too_long(tmp_path: Path, words: list[str], option: str):
    said = refusal(tmp_path, *words, option, "x" * 300 + "/p.yaml")
    assert "name" in said and "too long" in said


def test_a_name_that_is_too_long_while_it_is_written(tmp_path: Path, words: list[str]):
    """NAME.partial<n>-RUN comes first, when everything is generated."""
    most = 255 - len(".partial999999-r")
    for name in ("x" * (most + 1), "影" * 82):
        assert refusal(tmp_path, *words, "--output-dir", name) == (
            f"HERE/{name}: cannot write: the name is too long. Choose another --output_dir."
        )
    succeed(*words, "--output-dir", "x" * most, cwd=tmp_path)
    assert (tmp_path / ("x" * most) / "manifest.json").is_file()


@pytest.mark.parametrize("name", ["run.yaml", "submissions/1/submission.yaml", "plan/users.jsonl"])
def test_a_run_that_may_not_be_read(tmp_path: Path, words: list[str], name: str):
    """Another user's run, or one whose group was taken away."""
    succeed(*words, "--dry-run", cwd=tmp_path)
    run = tmp_path / "outputs" / "runs" / "r"
    (run / name).chmod(0)
    said = finish(start("resume", "r", cwd=tmp_path, before=AS_ANYBODY))
    assert said.code == (3 if name.startswith("plan") else 2)
    assert f"{run / name}: reading is not allowed. Ask its owner for permission." in said.errors[0]
    assert all("Traceback" not in line for line in said.errors)


def test_neighbours_that_may_not_be_looked_into(tmp_path: Path, words: list[str]):
    """Directories of other users beside one's own, or lost+found."""
    for name in ("runs", "leaderboards"):
        (tmp_path / "outputs" / name / "other").mkdir(parents=True, mode=0)
    said = finish(start(*words, cwd=tmp_path, before=AS_ANYBODY))
    assert (said.code, said.errors, said.notes[1:]) == (0, [], [])
    assert said.row("page").endswith("leaderboards/r/run.html")
    listed = finish(start("list", cwd=tmp_path, before=AS_ANYBODY))
    assert (listed.code, listed.err) == (0, "")
    assert "published" in listed.out
    where = "outputs/runs/other/run.yaml"
    assert f"damaged: other: {where}: reading is not allowed. Ask its owner for permission." in listed.out
    reported = finish(start("report", cwd=tmp_path, before=AS_ANYBODY))
    assert (reported.code, reported.errors) == (0, [])
    assert reported.notes[-1] == "other: cannot be read: Permission denied."
    assert reported.row("leaderboard").endswith("1 run, 0 ranked, 1 left out")
