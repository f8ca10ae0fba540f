"""status of an array of 1,000 tasks: real processes, within 2 s, and one call of squeue for them all."""

import os
import re
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from launch.rundir.layout import RunPaths
from launch.slurm.shared_queue import SHARED_FOR_S
from tests.cli.commands import Said, finish, start
from tests.collect.large_run import half_done, in_memory, names_called, older, write_fake_slurm

pytestmark = pytest.mark.process
NUM_TASKS = 1000
MAX_CPU_S = 2.0


@dataclass(frozen=True)
class Large:
    """The run, and a place where its cluster's commands are first on the PATH."""

    run: RunPaths
    calls: Path

    def launch(self, *words: str, **environment: str) -> Said:
        path = f"{self.calls.parent}:{os.environ['PATH']}"
        said = finish(start(*words, cwd=self.run.root.parent, PATH=path, COLUMNS="80", **environment))
        assert said.code == 0, said.err
        return said


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Iterator[Large]:
    with in_memory(tmp_path_factory.mktemp("large")) as root:
        run = half_done(root, checkpoint, NUM_TASKS, 4)
        yield Large(run, write_fake_slurm(root / "bin", NUM_TASKS))


def cpu_of_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def answers(large: Large) -> dict[str, Said]:
    """What is said one after the other."""
    words = {"first": (), "again": (), "all": ("--all",), "json": ("--json",)}
    return {name: large.launch("status", "large", *more) for name, more in words.items()}


def test_a_page_says_what_matters(answers: dict[str, Said]) -> None:
    lines = answers["again"].out.splitlines()
    assert len(lines) < 60 and max(len(line.rstrip()) for line in lines[:-1]) <= 80
    text = " ".join(answers["again"].out.split())
    assert "1,900 of 4,000 done (47.5 %)" in text
    assert "50 waiting, 850 running, 50 ended, 50 failed; merge job PENDING (Dependency: waits" in text
    assert "QOSMaxGRESPerUser" in text and "allows 8 GPUs" in text
    assert "and 833 running; --all shows every task" in text
    assert "3,400 GPUs of 850 running tasks: 90 % busy" in text
    assert "task 7, as 49 more: slot 0: out of memory" in text


def test_all_tasks_and_all_fields(answers: dict[str, Said]) -> None:
    rows = re.findall(r"^ *\d+ +(running|waiting|failed|ended)", answers["all"].out, re.MULTILINE)
    assert len(rows) == NUM_TASKS
    value = orjson.loads(answers["json"].out)
    assert len(value["submissions"][0]["tasks"]) == NUM_TASKS
    assert value["pace"]["items_per_min"] == pytest.approx(380, rel=0.2)
    assert value["failures"][0]["num_tasks"] == 50


def test_within_two_seconds(large: Large) -> None:
    took = []
    for _ in range(2):
        before = cpu_of_children_s()
        large.launch("status", "large")
        took.append(cpu_of_children_s() - before)
    assert min(took) < MAX_CPU_S, took


@pytest.mark.usefixtures("answers")
def test_squeue_is_called_once_in_thirty_seconds_and_scontrol_once(large: Large) -> None:
    calls, began = names_called(large.calls).count("squeue"), time.monotonic()
    older(large.run, SHARED_FOR_S)
    for _ in range(3):
        large.launch("status", "large")
    assert names_called(large.calls).count("squeue") <= calls + 1 + (time.monotonic() - began) // 30
    assert names_called(large.calls).count("scontrol") == 1


@pytest.mark.parametrize("name", ["first", "all", "json"])
def test_nothing_that_a_terminal_obeys(answers: dict[str, Said], name: str) -> None:
    said = answers[name]
    assert (said.out + said.err).replace("\n", "").isprintable()
    assert "node" in said.out
