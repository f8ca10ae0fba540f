"""The first items of a run are judged once, over all its engines, and every engine heeds the answer."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch.config.schema import CanaryConfig
from launch.rundir.attempts import EngineStart
from launch.rundir.canary import CanaryRecord, read_canary
from launch.rundir.first_items import find_first, read_rows
from launch.rundir.layout import RunPaths
from launch.scenarios.records import Generation, Sample
from launch.worker.canary_watch import CanaryError, CanaryWatch, refuse_stopped
from tests.collect.builders import copy_run, make_generations, make_users, plan_run, write_results
from tests.models import make_tiny_llama

NUM_ITEMS = 40
NUM_JUDGED = 12


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    root = tmp_path_factory.mktemp("canary")
    checkpoint = make_tiny_llama(root / "model", num_layers=1, num_heads=2, num_kv_heads=1)
    return plan_run(root, checkpoint, make_users(8, 5), num_tasks=4)


@pytest.fixture
def run(planned: RunPaths, tmp_path: Path) -> RunPaths:
    return copy_run(planned, tmp_path)


def empty(generations: Sequence[Generation]) -> list[Generation]:
    nothing = (Sample("", "stop", 1), Sample(" ", "stop", 1))
    return [replace(each, samples=nothing) for each in generations]


class Engine:
    """The watch of one engine of `num_engines`, and what it told."""

    def __init__(
        self,
        run: RunPaths,
        task: int,
        num_done: int,
        *,
        num_engines: int = 4,
        submission: int = 1,
        **more: Any,
    ) -> None:
        config = CanaryConfig.model_validate({"num_items": NUM_JUDGED, "action": "stop", **more})
        self.told: list[str] = []
        self.num_done = num_done
        at = EngineStart(submission, task, 0, 0, 0)
        self.watch = CanaryWatch(run, at, config, num_engines, lambda: self.num_done, self.told.append)

    @property
    def is_stopped(self) -> bool:
        try:
            self.watch.check()
        except CanaryError:
            return True
        return False


def test_items_of_all_engines_count_together_and_all_of_them_stop(run: RunPaths) -> None:
    items = empty(make_generations(run))
    engines = [Engine(run, task, num_done=4) for task in range(3)]
    for task in range(2):
        write_results(run, items[task * 4 : task * 4 + 4], task=task)
    assert not engines[0].watch.look()  # 8 of 12
    write_results(run, items[8:12], task=2)
    assert engines[1].watch.look()
    (said,) = engines[1].told
    assert said == "of the first 12 items 100% of samples are empty (canary.max_empty_rate allows 20%)"
    assert [each.is_stopped for each in engines] == [False, True, False]  # the others have not looked yet
    assert engines[0].watch.look() and engines[2].watch.look()
    assert [each.is_stopped for each in engines] == [True, True, True]
    assert [each.told for each in engines] == [[], [said], []]
    assert judged(run).stops and judged(run).judged_by.startswith("submission 1, task 1,")


def test_an_engine_counts_only_when_it_has_done_its_share(run: RunPaths) -> None:
    write_results(run, make_generations(run)[:12], task=1)
    engine = Engine(run, 0, num_done=2)  # of 4 engines: 3 items each
    assert not engine.watch.look()
    engine.num_done = 3
    assert engine.watch.look() and not engine.told
    record = judged(run)
    assert (record.num_items, record.found, record.stops) == (NUM_JUDGED, (), False)


def judged(run: RunPaths) -> CanaryRecord:
    record = read_canary(run)
    assert record is not None
    return record


def test_it_counts_again_when_the_rest_may_be_there(run: RunPaths) -> None:
    items = make_generations(run)
    write_results(run, items[:6], task=0)
    engine = Engine(run, 0, num_done=6, num_engines=2)
    assert not engine.watch.look()
    write_results(run, items[6:12], task=1)
    assert not engine.watch.look()  # one engine had settled something: it waits for the other 6 of its own
    engine.num_done = 12
    assert engine.watch.look()


def test_a_warning_stops_nothing_and_a_later_submission_goes_on_unjudged(run: RunPaths) -> None:
    items = empty(make_generations(run))
    write_results(run, items[:12])
    warned = Engine(run, 0, num_done=12, action="warn")
    assert warned.watch.look() and warned.told and not warned.is_stopped
    refuse_stopped(run, 1)
    later = Engine(run, 0, num_done=0, submission=2)
    assert later.watch.look() and not later.told and not later.is_stopped


def test_a_stop_is_for_the_submission_that_was_judged(run: RunPaths) -> None:
    write_results(run, empty(make_generations(run))[:12])
    assert Engine(run, 0, num_done=12).watch.look()
    with pytest.raises(CanaryError, match=r"^of the first 12 items 100% .* goes on and judges no more"):
        refuse_stopped(run, 1)
    refuse_stopped(run, 2)
    resumed = Engine(run, 0, num_done=0, submission=2)
    assert resumed.watch.look() and not resumed.is_stopped


def test_what_was_there_before_a_resume_is_judged_at_once(run: RunPaths) -> None:
    write_results(run, empty(make_generations(run))[:20])
    resumed = Engine(run, 0, num_done=0, submission=2)
    assert resumed.watch.look() and resumed.is_stopped
    assert judged(run).num_items == NUM_JUDGED


def test_nothing_is_stopped_when_nothing_is_left(run: RunPaths) -> None:
    write_results(run, empty(make_generations(run)))
    engine = Engine(run, 0, num_done=NUM_ITEMS)
    assert engine.watch.look() and engine.told and not engine.is_stopped


def test_failed_items_are_none_of_them(run: RunPaths) -> None:
    items = make_generations(run, failed=range(6))
    write_results(run, items[:14])
    engine = Engine(run, 0, num_done=14)
    assert not engine.watch.look()
    assert (len(find_first(run, 99).places), find_first(run, 99).num_settled) == (8, 14)


def test_a_line_that_is_not_there_yet_waits(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    start = write_results(run, make_generations(run)[:12])
    path = start.paths(run).results
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    engine = Engine(run, 0, num_done=12)
    assert not engine.watch.look() and read_canary(run) is None
    path.write_bytes(whole)
    monkeypatch.setattr("launch.worker.canary_watch.find_first", None)
    assert not engine.watch.look(), "the commits of the whole run are not read again at once"
    monkeypatch.undo()
    engine.num_done = 24
    assert engine.watch.look() and judged(run).num_items == NUM_JUDGED


@pytest.mark.parametrize(("num_lost", "num_judged"), [(1, NUM_JUDGED - 1), (NUM_JUDGED - 1, None)])
def test_a_line_that_is_lost_for_good_is_done_without(
    run: RunPaths, num_lost: int, num_judged: int | None
) -> None:
    items = empty(make_generations(run))
    lost = write_results(run, items[:num_lost], task=0)
    path = lost.paths(run).results
    path.write_bytes(bytes(path.stat().st_size))
    write_results(run, items[num_lost:20], task=1)
    engine = Engine(run, 0, num_done=20)
    assert not engine.watch.look()
    write_results(run, items[20:24], task=2)
    engine.num_done = 32
    assert engine.watch.look() is (num_judged is not None)
    assert engine.is_stopped is (num_judged is not None), "one text tells nothing of a run"
    if num_judged is not None:
        assert judged(run).num_items == num_judged


def test_the_first_are_those_that_were_committed_first(run: RunPaths) -> None:
    items = make_generations(run)
    write_results(run, items[:3], task=1)
    write_results(run, items[3:6], task=0)
    write_results(run, items[2:4], task=2)  # once more, later
    found = find_first(run, 4)
    assert [item.number for _, item in found.places] == [0, 1, 2, 3]
    assert [start.task for start, _ in found.places] == [1, 1, 1, 0]
    assert (found.num_settled, found.num_engines) == (6, 3)
    keys = [row["key"] for row in read_rows(run, found.places)]
    assert sorted(keys) == sorted(each.key for each in items[:4])


def test_an_engines_commits_that_cannot_be_read_are_done_without(run: RunPaths) -> None:
    """A link to itself stands for a server that answers EIO or ESTALE."""
    items = empty(make_generations(run))
    bad = write_results(run, items[:4], task=0).paths(run)
    bad.commits.unlink()
    bad.commits.symlink_to(bad.commits.name)
    write_results(run, items[4:12], task=1)
    engine = Engine(run, 1, num_done=8)
    assert not engine.watch.look() and not engine.is_stopped
    (said,) = engine.told
    assert str(bad.commits) in said
    write_results(run, items[12:20], task=2)
    engine.num_done = 20
    assert engine.watch.look() and engine.is_stopped and judged(run).num_items == NUM_JUDGED
    assert len(engine.told) == 2


def test_results_that_cannot_be_read_are_lost_lines(run: RunPaths) -> None:
    items = empty(make_generations(run))
    unread, unopened = (write_results(run, items[task : task + 1], task=task).paths(run) for task in range(2))
    write_results(run, items[2:NUM_JUDGED], task=2)
    found = find_first(run, NUM_JUDGED)
    for bad in (unread, unopened):
        bad.results.unlink()
    unread.results.mkdir()  # is opened as a file is, and cannot be read
    unopened.results.symlink_to(unopened.results.name)
    assert (len(found.places), len(list(read_rows(run, found.places)))) == (NUM_JUDGED, NUM_JUDGED - 2)


@pytest.mark.process
def test_a_watch_that_could_not_look_says_so_once_and_looks_again(run: RunPaths) -> None:
    write_results(run, empty(make_generations(run))[:12])
    run.canary.symlink_to(run.canary.name)
    engine = Engine(run, 0, num_done=12)
    engine.watch.start()
    deadline = time.monotonic() + 60
    while not engine.told:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(1.2)  # a second look
    engine.watch.check()
    assert len(engine.told) == 1 and str(run.canary) in engine.told[0]
    run.canary.unlink()
    while not engine.is_stopped:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    engine.watch.close()


def test_the_thread_ends_when_the_run_is_judged_and_hands_on_what_stopped_it(run: RunPaths) -> None:
    write_results(run, empty(make_generations(run))[:12])
    engine = Engine(run, 0, num_done=12)
    engine.watch.start()
    engine.watch.close()
    assert engine.is_stopped
    run.canary.unlink()
    run.plan_json.unlink()
    other = Engine(run, 0, num_done=12)
    other.watch.start()
    other.watch.close()
    with pytest.raises(Exception, match=r"plan\.json: not found"):
        other.watch.check()
