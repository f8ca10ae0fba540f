"""The loop of an engine process: what is done ahead and beside changes no byte, and the order is kept."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.worker_loop import fresh_copy, results_of, work_through
from launch.rundir.layout import RunPaths
from launch.rundir.plan import read_index
from launch.scenarios.records import Generation, Request
from launch.worker import reader
from launch.worker.engines.protocol import EngineSetup
from launch.worker.engines.stub import StubEngine
from tests.runs import make_run


class WindowedStub(StubEngine):
    """The stub with a window of its own, which ends a window's requests in one step; keeps their order."""

    def __init__(self, setup: EngineSetup, window: int) -> None:
        super().__init__(setup, frozenset(), 0.0, 0.0, None)
        self.facts = replace(self.facts, max_num_seqs=max(1, window // 2))
        self._own_window = window
        self.added: list[int] = []
        self.most = 0

    @property
    def window(self) -> int:
        return self._own_window

    def add(self, request: Request) -> None:
        super().add(request)
        self.added.append(request.number)
        self.most = max(self.most, self.num_unfinished)

    def step(self) -> list[Generation]:
        return [
            generation for _ in range(self.num_unfinished) for generation in super(WindowedStub, self).step()
        ]


@pytest.fixture
def planned(tmp_path: Path) -> RunPaths:
    return make_run(tmp_path, "Chameleons", {"sampling.num_samples": 3})


def work(planned: RunPaths, number: int, window: int) -> tuple[WindowedStub, list[bytes]]:
    """One task of a copy; the engine, and the result lines sorted."""
    run, engines = fresh_copy(planned, number), []

    def open_engine(setup: EngineSetup) -> WindowedStub:
        engines.append(WindowedStub(setup, window))
        return engines[0]

    counts = work_through(run, open_engine).counts
    lines = sorted(line for path in results_of(run) for line in path.read_bytes().splitlines())
    assert counts.done == len(lines) == 92
    return engines[0], lines


def test_no_window_and_no_reading_ahead_changes_a_byte(
    planned: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide, lines = work(planned, 1, 400)
    monkeypatch.setattr(reader, "READY_AT_START", 1)
    monkeypatch.setattr(reader, "MIN_READ_AHEAD", 1)
    narrow, one_by_one = work(planned, 2, 1)
    assert lines == one_by_one
    assert narrow.most == 1 < wide.most


def test_items_of_a_user_are_neighbours_and_the_costliest_users_come_first(planned: RunPaths) -> None:
    engine, _ = work(planned, 1, 400)
    index = list(read_index(planned))
    owner = {entry.first_item + place: entry for entry in index for place in range(entry.num_items)}
    met = [owner[number].position for number in engine.added]
    changes = [met[place] for place in range(len(met)) if place == 0 or met[place] != met[place - 1]]
    parts = len(changes) / len(set(changes))
    assert parts < 1.5, "only a user who is a large part of the shard is cut, at chunks"
    first, last = owner[engine.added[0]], owner[engine.added[-1]]
    assert sum(first.prompt_tokens) >= sum(last.prompt_tokens)
