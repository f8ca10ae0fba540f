"""The first items of a run, kept in bounded memory, are those that sorting all of them gives."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launch.rundir import first_items
from launch.rundir.attempts import EngineStart
from launch.rundir.first_items import Place, find_first
from launch.rundir.journal import json_line
from launch.rundir.layout import RunPaths
from launch.rundir.plan import load_counts
from launch.rundir.results import Committed, commit_line

NUM_ITEMS = 40
COMMITS = st.lists(
    st.tuples(
        st.integers(0, 9), st.lists(st.tuples(st.integers(0, NUM_ITEMS - 1), st.booleans()), max_size=9)
    ),
    max_size=8,
)


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    """As many items as are needed, and lets go of late ones early."""
    run = RunPaths(tmp_path / "run")
    run.plan_json.parent.mkdir(parents=True)
    digests = dict.fromkeys(("users_sha256", "history_sha256", "index_sha256"), "")
    run.plan_json.write_bytes(json_line({"num_users": 1, "num_items": NUM_ITEMS, **digests}))
    monkeypatch.setattr(first_items, "MANY", 1)
    return run


def write(run: RunPaths, files: list[list[tuple[int, list[tuple[int, bool]]]]]) -> list[Place]:
    """Commit lines of one attempt a file; every place in them."""
    places: list[Place] = []
    for attempt, lines in enumerate(files):
        start = EngineStart(1, 0, attempt, 0, 0)
        start.paths(run).results.parent.mkdir(parents=True, exist_ok=True)
        start.paths(run).results.touch()
        text, offset = b"", 0
        for time, items in lines:
            rows = []
            for number, failed in items:
                rows.append(Committed(number, offset, 10, 7, 1, 1, failed, float(time)))
                offset += 10
            text += json_line(commit_line(time, rows))
            places += [(start, row) for row in rows]
        start.paths(run).commits.write_bytes(text)
    return places


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(files=st.lists(COMMITS, min_size=3, max_size=3), limit=st.integers(1, 6))
def test_as_if_all_were_sorted(
    planned: RunPaths, files: list[list[tuple[int, list[tuple[int, bool]]]]], limit: int
) -> None:
    places = write(planned, files)
    ordered = sorted(places, key=lambda place: (place[1].time, place[0], place[1].offset))
    first: dict[int, Place] = {}
    for place in ordered:
        if not place[1].failed:
            first.setdefault(place[1].number, place)
    found = find_first(planned, limit)
    assert list(found.places) == list(first.values())[:limit]
    assert found.num_settled == len({item.number for _, item in places})
    assert found.num_engines == len({start for start, _ in places})
    assert load_counts(planned).num_items == NUM_ITEMS
