"""The disk is full at every write there is: nothing that was reported done is lost, and the run goes on.

The n-th call that needs room fails with ENOSPC, and all after it until space is freed, for all n.
"""

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.collect.merge import merge
from launch.collect.verify import verify_published
from launch.errors import IncompleteError, StorageError
from launch.rundir.attempts import EngineStart, open_attempt
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from launch.worker import writer as writer_module
from launch.worker.caution import Caution
from launch.worker.engine_process import work
from launch.worker.writer import ResultWriter
from tests.cli.commands import submit_words, vllm_launch
from tests.cli.damages import copy_of, everything
from tests.cli.refusals import contents
from tests.cli.test_damage_borne import go_on
from tests.local_submit import digests
from tests.runs import SCENARIOS
from tests.worker.build_run import build_run
from tests.worker.distorted.full_disk import FullDisk
from tests.worker.tasks import (
    ROOT,
    SilentChannel,
    finish,
    processes_with,
    run_task,
    start_task,
    wait_for_phase,
)

pytestmark = pytest.mark.process

WORLD = Path(__file__).with_name("distorted")
FULL = "cannot write: the disk is full. Free space or choose another directory."


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """A run of 3 items in one task, not begun."""
    return build_run(tmp_path_factory.mktemp("full"), num_users=3, items_per_user=1)


@pytest.fixture(scope="module")
def expected(base: RunPaths, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of what it publishes where there is room."""
    run = copy_of(base, tmp_path_factory.mktemp("room"))
    generate(run)
    return digests(merge(run).output_dir)


def generate(run: RunPaths) -> None:
    """One attempt of its task, as far as its engine process is concerned."""
    number, _ = open_attempt(run, 1, 0)
    work(run, EngineStart(1, 0, number, 0, 0), SilentChannel(), {}, Caution())  # type: ignore[arg-type]


def num_calls(root: Path, do: Callable[[], object]) -> int:
    """How many calls need room when there is enough."""
    with FullDisk(str(root)) as disk:
        do()
    return len(disk.calls)


@pytest.mark.parametrize(("once", "every"), [(False, 1), (True, 4)])
def test_while_a_task_generates(
    base: RunPaths,
    expected: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    once: bool,
    every: int,
) -> None:
    monkeypatch.setattr(writer_module, "GATHER_S", 0.0)  # many small batches instead of one
    monkeypatch.setenv("VLLM_LAUNCH_STUB_SECONDS_PER_ITEM", "0.01")
    writers: list[ResultWriter] = []
    init = ResultWriter.__init__

    def remembered(self: ResultWriter, *arguments: object) -> None:
        init(self, *arguments)  # type: ignore[arg-type]
        writers.append(self)

    monkeypatch.setattr(ResultWriter, "__init__", remembered)
    seen_between = set()
    run = copy_of(base, tmp_path / "room")
    total = num_calls(run.root, lambda: generate(run))
    assert total > 20
    for at in range(1, total + 1, every):
        run = copy_of(base, tmp_path / str(at))
        writers.clear()
        with FullDisk(str(run.root), at, once=once) as disk, pytest.raises(StorageError, match=FULL):
            generate(run)
        settled = survey_settled(run)
        seen_between.add(settled.num_done)
        assert settled.num_done >= sum(writer.num_done for writer in writers), disk.calls[at - 1]
        if settled.num_missing:
            with pytest.raises(IncompleteError):
                merge(run)
            go_on(run)
        assert digests(merge(run).output_dir) == expected, disk.calls[at - 1]
    assert seen_between == {0, 1, 2, 3} or once


def test_while_a_run_is_submitted(tmp_path: Path, base: RunPaths) -> None:
    """Nothing is left of a run that could not be written, and the same command works when there is room."""
    checkpoint = base.root.parent.parent / "checkpoint"
    words = [*submit_words(checkpoint, SCENARIOS / "Chameleons"), "--limit-items", "2", "--dry-run"]
    room = tmp_path / "room"
    room.mkdir()
    with FullDisk(str(room)) as disk:
        vllm_launch(*words, cwd=room)
    copies = [at for at, call in enumerate(disk.calls, start=1) if ".j2" in call][2:-2]  # one as the other
    chosen = sorted({*range(1, len(disk.calls) + 1)} - {*copies})
    assert len(chosen) > 30
    for at in chosen:
        here = tmp_path / str(at)
        here.mkdir()
        with FullDisk(str(here), at) as disk:
            said = vllm_launch(*words, cwd=here)
        assert (said.code, len(said.errors)) == (2, 1), f"{disk.calls[at - 1]}: {said.err}"
        assert said.errors[0].endswith(FULL), disk.calls[at - 1]
        assert contents(here) == set(), disk.calls[at - 1]
    assert vllm_launch(*words, cwd=here).code == 0


def test_while_a_run_is_sent_again(tmp_path: Path, base: RunPaths) -> None:
    run = copy_of(base, tmp_path / "room")
    total = num_calls(run.root, lambda: vllm_launch("resume", run.root, "--dry-run", cwd=tmp_path))
    assert total > 6
    for at in range(1, total + 1):
        run = copy_of(base, tmp_path / str(at))
        before = everything(run.root)
        with FullDisk(str(run.root), at) as disk:
            said = vllm_launch("resume", run.root, "--dry-run", cwd=tmp_path)
        assert (said.code, len(said.errors)) == (2, 1), f"{disk.calls[at - 1]}: {said.err}"
        assert said.errors[0].endswith(FULL), disk.calls[at - 1]
        assert everything(run.root) == before, disk.calls[at - 1]


def is_merged(run: RunPaths) -> bool:
    """Merges; False when the disk is too full for that, said in the words for it."""
    try:
        merge(run)
    except StorageError as error:
        return not str(error).endswith(FULL)
    return True


@pytest.mark.parametrize("again", [False, True])
def test_while_a_run_is_published(
    base: RunPaths, expected: dict[str, str], tmp_path: Path, again: bool
) -> None:
    """In place of nothing, or of an earlier publication: that one stays, whole."""
    whole = copy_of(base, tmp_path / "whole")
    generate(whole)
    if again:
        merge(whole)
        generate(whole)  # finds nothing to do, and its empty results are news
    shutil.copytree(tmp_path / "whole", tmp_path / "room")
    total = num_calls(tmp_path / "room", lambda: merge(RunPaths(tmp_path / "room" / "runs" / "run")))
    assert total > 20
    for at in range(1, total + 1):
        room = tmp_path / str(at)
        shutil.copytree(tmp_path / "whole", room)
        run, output_dir = RunPaths(room / "runs" / "run"), room / "leaderboards" / "run"
        before = everything(output_dir)
        with FullDisk(str(room), at) as disk:
            is_refused = not is_merged(run)
        call = disk.calls[at - 1]
        assert is_refused or call.endswith(".done"), call
        if not is_refused or "rename leaderboards/run" in disk.calls[: at - 1]:  # if perhaps not for ever
            assert verify_published(output_dir).is_whole
        else:
            assert everything(output_dir) == before and output_dir.exists() is again, call
        assert digests(merge(run).output_dir) == expected, call
        assert verify_published(output_dir).is_whole
        assert [path.name for path in output_dir.parent.iterdir()] == ["run"], call


def test_while_a_supervisor_works(base: RunPaths, expected: dict[str, str], tmp_path: Path) -> None:
    """Its own files: each kind of call at its first occurrence, and the last line of its events."""
    told = tried(copy_of(base, tmp_path / "room"), 1000)[1]
    kinds = [re.sub(r"\.[^./]+\.\d+\.tmp", ".tmp", call) for call in told]
    chosen = {kinds.index(kind) for kind in kinds}
    chosen.add(len(kinds) - 1 - kinds[::-1].index("write tasks/1/0/0/events.jsonl"))
    assert len(chosen) > 15
    for place in sorted(chosen):
        run = copy_of(base, tmp_path / str(place))
        (code, errors), _ = tried(run, place + 1)
        said = errors.splitlines()  # of what ends it, of events and of how it ended
        began = run.attempt(1, 0, 0).engine(0, 0).results.exists()
        assert (code, len(said) <= 3) == (0 if began else 2, True), f"{told[place]}: {errors}"
        assert all(line.endswith(FULL) for line in said), f"{told[place]}: {errors}"
        assert processes_with(str(run.root)) == []
        if began:
            assert survey_settled(run).num_missing == 0, f"{told[place]}: an engine that began was ended"
        else:
            go_on(run)
        assert digests(merge(run).output_dir) == expected, told[place]


def test_what_is_to_be_continued_is_although_its_end_cannot_be_written(tmp_path: Path) -> None:
    """Exit code 2 would keep Slurm's shell from its requeue, and the driver from another start."""
    run = build_run(tmp_path, num_users=10, items_per_user=10)
    process = start_task(run, VLLM_LAUNCH_STUB_SECONDS_PER_ITEM="0.3")
    wait_for_phase(run, "generating")
    run.attempt(1, 0, 0).ended.mkdir()
    process.send_signal(signal.SIGINT)
    code, errors = finish(process)
    assert code == 75 and "how the task ended is not kept: " in errors, errors
    assert run_task(run) == (0, "")
    assert survey_settled(run).num_missing == 0


def tried(run: RunPaths, at: int) -> tuple[tuple[int, str], list[str]]:
    """What a task says whose supervisor finds the disk full, and the calls that needed room."""
    log = run.root.parent / "calls.log"
    paths = os.pathsep.join([str(WORLD), str(ROOT)])
    settings = {"ROOT": str(run.root), "AT": str(at), "LOG": str(log)}
    said = run_task(
        run, PYTHONPATH=paths, **{f"DISTORTED_FULL_{name}": value for name, value in settings.items()}
    )
    return said, log.read_text().splitlines()
