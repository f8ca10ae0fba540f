"""A user's items get their history without what they ask for, and it is looked for once."""

from pathlib import Path
from typing import Any

import pytest

from launch.rundir.chunks import read_chunks
from launch.rundir.plan import HistoryEntries, PlannedUser
from launch.scenarios import history
from launch.scenarios.records import Cuts, Item, Request
from launch.worker.chunk_requests import ChunkRequests
from tests.runs import make_run
from tests.scenarios.builders import dialogue_item, turn, user, write


def test_no_item_meets_its_own_answer_and_a_users_history_is_looked_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [dialogue_item(turn("BEN", f"well {number}?"), continuation=None) for number in range(3)]
    known = [{**asked[1], "continuation": "THE ANSWER"}, dialogue_item(continuation="older")]
    scenario = tmp_path / "scenario"
    scenario.mkdir()
    write(scenario / "test_leaderboard.json", [user("a", dialogue=asked)])
    write(scenario / "train.json", [user("a", dialogue=known)])
    settings = {"data.scenario_path": str(scenario), "prompt.ablation_config": "history_and_context"}
    run = make_run(tmp_path, settings=settings)
    looked: list[Any] = []
    leave_out = history.leave_out_test_items

    def counted(entries: HistoryEntries, record: Any) -> Any:
        looked.append(entries)
        return leave_out(entries, record)

    monkeypatch.setattr("launch.worker.chunk_requests.leave_out_test_items", counted)
    given: dict[str, list[str]] = {}

    def make(_: PlannedUser, item: Item, entries: HistoryEntries) -> Request:
        given[item.key] = [entry["continuation"] for entry in entries]
        return Request(item.number, item.key, item.digest, (1,), 7, Cuts())

    requests = ChunkRequests(run, make)
    chunks = read_chunks(run.submission(1))
    assert len([made for chunk in chunks for made in requests.each(chunk, ())]) == 3
    assert list(given.values()) == [["older"]] * 3
    assert [len(entries) for entries in looked] == [2] * len(chunks)
