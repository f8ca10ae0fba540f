"""`submit` with limits on jobs that are queued or tasks that run: what it plans, sends and says."""

import os
from pathlib import Path

import pytest

from tests.cli.commands import Said, submit_words, succeed

LIMIT = 9


class Site:
    """Commands of Slurm that tell of `num_queued` queued jobs and of LIMIT that a user may have queued."""

    def __init__(self, folder: Path, words: list[str]) -> None:
        self.folder = folder
        self.words = words
        self.asks(num_queued=0)

    def asks(self, *, num_queued: int) -> None:
        texts = {
            "sacctmgr": f'case "$4" in associations) echo "|{LIMIT}|";; user) echo ours;; esac',
            "scontrol": 'printf "ClusterName = c1\\nAccountingStorageEnforce = associations,limits,qos\\n"',
            "squeue": f"seq {num_queued}",
        }
        for name, text in texts.items():
            path = self.folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"#!/bin/bash\n{text}\n")
            path.chmod(0o755)

    def submit(self, *more: str) -> Said:
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return succeed(*self.words, *more, cwd=self.folder, PATH=path)


@pytest.fixture
def site(checkpoint: Path, tmp_path: Path) -> Site:
    """`submit --dry-run` of the demo, with more work than any limit here allows tasks for."""
    words = [*submit_words(checkpoint, name="run"), "--cluster", "slurm", "--dry-run"]
    words += ["--set", "data.limit_items=null", "--set", "resources.time=3"]
    words += ["--num-samples", "4000", "--max-tokens", "1000"]
    return Site(tmp_path, words)


def num_tasks(said: Said) -> int:
    (last,) = {
        line.partition("%")[0] for line in said.out.splitlines() if line.startswith("#SBATCH --array=")
    }
    return int(last.removeprefix("#SBATCH --array=0-")) + 1


ROUNDS = ("--set", "resources.sbatch_on_nodes=false", "--set", "resources.max_rounds=2")


@pytest.mark.parametrize(
    ("more", "num_queued", "tasks"),
    [
        ((), 0, 8),  # and the merge job
        ((), 4, 4),
        (ROUNDS, 0, 2),  # 2 tasks and a merge job, three times
        (("--set", "resources.max_submit=6"), 0, 5),
        (("--set", "resources.max_submit=6"), 2, 3),
        (("--set", "resources.max_submit=6", *ROUNDS), 0, 1),
        (("--set", "resources.max_submit=12"), 0, 11),  # what is set is taken; Slurm is not asked
    ],
)
def test_a_limit_counts_every_queued_job_whoever_tells_it(
    site: Site, more: tuple[str, ...], num_queued: int, tasks: int
) -> None:
    site.asks(num_queued=num_queued)
    said = site.submit("--set", "resources.num_tasks=null", *more)  # quick_test has one
    assert num_tasks(said) == tasks
    limit = more[1].rpartition("=")[2] if "max_submit" in "".join(more) else str(LIMIT)
    whose = "max_submit" if "max_submit" in "".join(more) else "MaxSubmitJobs of your association"
    assert said.row("tasks").endswith(f"but {whose} {limit}, {num_queued} of them queued, allows {tasks}")
    assert not any("refuse" in note for note in said.notes)


def test_more_tasks_than_max_submit_allows_are_sent_as_asked_for_and_noted(site: Site) -> None:
    site.asks(num_queued=1)
    said = site.submit("--num-tasks", "6", "--set", "resources.max_submit=4")
    assert num_tasks(said) == 6 and said.row("tasks") == "6 tasks, as asked for"
    assert [note for note in said.notes if "max_submit" in note] == [
        "6 tasks are asked for, but max_submit 4, 1 of them queued, allows 2: Slurm may refuse them."
        " Lower --num-tasks, or raise resources.max_submit."
    ]


@pytest.mark.parametrize(
    ("tasks", "row"),
    [("1", "1 task, as asked for"), ("null", "but max_submit 4, 3 of them queued, allows 0")],
)
def test_a_full_queue_is_said_where_not_even_one_task_fits(site: Site, tasks: str, row: str) -> None:
    site.asks(num_queued=3)
    said = site.submit("--set", f"resources.num_tasks={tasks}", "--set", "resources.max_submit=4")
    assert num_tasks(said) == 1 and said.row("tasks").endswith(row)
    assert [note for note in said.notes if "max_submit" in note] == [
        "max_submit 4, 3 of them queued, has no room for a task and the merge job: Slurm may refuse them."
        " Wait until fewer jobs are queued, or raise resources.max_submit."
    ]


def test_as_many_tasks_as_max_submit_allows_are_not_noted(site: Site) -> None:
    assert (
        site.submit("--num-tasks", "6", "--set", "resources.max_submit=7").notes
        == site.submit("--num-tasks", "6", "--name", "other").notes
    )


def test_max_concurrent_is_shared_over_arrays_and_dry_run_shows_who_waits_for_whom(site: Site) -> None:
    words = ("--num-tasks", "30", "--set", "resources.max_array_size=10", "--max-concurrent")
    said = site.submit(*words, "5")
    arrays = ("0-9%2", "0-9%2", "0-9%1")
    assert [f"#SBATCH --array={array}" for array in arrays] == lines(said, "#SBATCH --array")
    after = [line.partition("--dependency=")[2] for line in lines(said, "--- ")]
    assert after == ["", "", "", "afterany:<tasks-0>:<tasks-1>:<tasks-2>"]
    said = site.submit(*words, "2", "--name", "chained")
    assert lines(said, "#SBATCH --array") == ["#SBATCH --array=0-9%1"] * 3
    after = [line.partition("--dependency=")[2] for line in lines(said, "--- ")]
    assert after == ["", "", "afterany:<tasks-0>", "afterany:<tasks-0>:<tasks-1>:<tasks-2>"]


def lines(said: Said, begin: str) -> list[str]:
    return [line for line in said.out.splitlines() if line.startswith(begin)]
