"""What can be said of a sending before anything is sent."""

import json
from pathlib import Path

import pytest

from launch.errors import ConfigError
from launch.rundir.layout import RunPaths
from launch.slurm.sbatch import SbatchJob
from launch.slurm.submission import (
    check_setup,
    command_arguments,
    pattern_path,
    render_jobs,
    send_submission,
    sent_jobs,
    write_jobs,
)
from tests.slurm_room.sent_run import make_sent_run


def test_an_array_for_each_of_the_submission_and_merge_last(tmp_path: Path) -> None:
    jobs = render_jobs(make_sent_run(tmp_path, [(0, 3), (3, 3), (6, 1)]), 1)
    assert [(job.name, job.offset, job.size) for job in jobs] == [
        ("tasks-0", 0, 3),
        ("tasks-1", 3, 3),
        ("tasks-2", 6, 1),
        ("merge", 0, 0),
    ]
    assert len({job.job_name for job in jobs}) == 4


def array_and_after(job: SbatchJob) -> tuple[str, tuple[str, ...]]:
    (option,) = [line for line in job.text.splitlines() if line.startswith("#SBATCH --array=")] or [""]
    return option.removeprefix("#SBATCH --array="), job.after


def test_arrays_share_max_concurrent(tmp_path: Path) -> None:
    run = make_sent_run(tmp_path, [(0, 10), (10, 10), (20, 5)], resources={"max_concurrent": 5})
    jobs = render_jobs(run, 1)
    assert [array_and_after(job) for job in jobs] == [
        ("0-9%2", ()),
        ("0-9%2", ()),
        ("0-4%1", ()),
        ("", ("tasks-0", "tasks-1", "tasks-2")),
    ]


def test_arrays_that_exceed_max_concurrent_wait_for_all_before_them_in_their_lane(tmp_path: Path) -> None:
    arrays = [(0, 3), (3, 3), (6, 3), (9, 3), (12, 2)]
    jobs = render_jobs(make_sent_run(tmp_path, arrays, resources={"max_concurrent": 2}), 1)
    assert [array_and_after(job) for job in jobs] == [
        ("0-2%1", ()),
        ("0-2%1", ()),
        ("0-2%1", ("tasks-0",)),
        ("0-2%1", ("tasks-1",)),
        ("0-1%1", ("tasks-0", "tasks-2")),
        ("", ("tasks-0", "tasks-1", "tasks-2", "tasks-3", "tasks-4")),
    ]


@pytest.mark.parametrize(
    ("max_concurrent", "after"),
    [
        (None, [(), (), ("merge",), ("merge",), ("merge.r1",), ("merge.r1",)]),
        (
            1,
            [
                (),
                ("tasks-0",),
                ("merge", "tasks-0", "tasks-1"),
                ("merge", "tasks-0", "tasks-1", "tasks-0.r1"),
            ],
        ),
    ],
)
def test_follow_ups_wait_for_the_merge_job_and_keep_to_their_lane(
    tmp_path: Path, max_concurrent: int | None, after: list[tuple[str, ...]]
) -> None:
    resources = {"sbatch_on_nodes": False, "max_rounds": 2, "max_concurrent": max_concurrent}
    jobs = render_jobs(make_sent_run(tmp_path, [(0, 3), (3, 1)], resources=resources), 1)
    assert [job.after for job in jobs if job.size][: len(after)] == after
    assert [job.after for job in jobs if not job.size] == [
        ("tasks-0", "tasks-1"),
        ("tasks-0.r1", "tasks-1.r1"),
        ("tasks-0.r2", "tasks-1.r2"),
    ]


def test_the_text_is_kept_beside_the_submission(tmp_path: Path) -> None:
    run = make_sent_run(tmp_path)
    for job in write_jobs(run, 1):
        assert run.submission(1).sbatch(job.name).read_text() == job.text


def test_paths_are_on_the_command_line_as_sbatch_reads_them(hostile_dir: Path) -> None:
    run = make_sent_run(hostile_dir)
    array, merge = render_jobs(run, 1)
    logs = hostile_dir / "100%j"
    assert command_arguments(array, logs, run, []) == [
        f"--output={hostile_dir}/100%%j/%A_%a.log",
        f"--chdir={hostile_dir}/demo",
    ]
    assert command_arguments(merge, logs, run, ["5", "6"])[1:] == [
        f"--chdir={hostile_dir}/demo",
        "--dependency=afterany:5:6",
    ]


def test_a_backslash_in_the_place_of_the_logs_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    run = make_sent_run(tmp_path / "a\\b\nc")
    with pytest.raises(ConfigError, match=r"Slurm writes no log in a path with a backslash. Move") as caught:
        send_submission(run, 1, tmp_path / "a\\b\nc" / "logs")
    assert len(str(caught.value).splitlines()) == 1
    assert not run.submission(1).jobs.exists()


def test_other_characters_of_a_path_pass() -> None:
    assert pattern_path(Path("/a b/c'd\"e/100%/%j\n")) == "/a b/c'd\"e/100%%/%%j\n"


@pytest.mark.parametrize(
    "lines",
    [["module load 'cuda"], ["if true; then"], ["cat <<END", "x"], ["fi"], ["echo $(date"], ["f() {"]],
)
def test_setup_lines_that_would_swallow_the_rest_are_refused(tmp_path: Path, lines: list[str]) -> None:
    run = make_sent_run(tmp_path, resources={"setup": lines})
    with pytest.raises(
        ConfigError, match=r"^resources.setup: bash cannot read it: .* Write whole shell commands.$"
    ):
        write_jobs(run, 1)
    assert not run.submission(1).sbatch("tasks-0").exists()


def test_setup_lines_need_bash_and_none_do_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"^resources.setup: bash, .* was not found. Put bash on PATH.$"):
        check_setup(["module load cuda"])
    check_setup([])


def test_whole_setup_lines_pass() -> None:
    check_setup([])
    check_setup(
        ["for x in 1 2; do", "echo $x", "done", "module load 'a b' || exit 2", "shopt -s extglob", "ls !(a)"]
    )


def test_jobs_whose_ids_are_written_are_not_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    run = make_sent_run(tmp_path)
    assert sent_jobs(run.submission(1)) == []
    write_rows(run, [{"name": "tasks-0"}, {"name": "tasks-0", "job_id": "5"}])
    (job,) = sent_jobs(run.submission(1))
    assert (job.name, job.job_id, job.size) == ("tasks-0", "5", 2)


def write_rows(run: RunPaths, rows: list[dict[str, str]]) -> None:
    full = [{"job_name": "demo", "offset": 0, "size": 2} | row for row in rows]
    run.submission(1).jobs.write_text("".join(json.dumps(row) + "\n" for row in full))
