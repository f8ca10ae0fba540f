"""Who is ranked beside whom."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.collect.leaderboard.boards import with_boards
from launch.collect.leaderboard.reading import read_entry
from launch.collect.leaderboard.record import Entry
from launch.rundir.records import Subset
from tests.collect.leaderboard.publications import Publications

CHRF, MAE = "dialogue.chrf_mean", "movie_rating.mae_mean"


@pytest.fixture(scope="module")
def entry(publications: Publications, tmp_path_factory: pytest.TempPathFactory) -> Entry:
    """A full run."""
    directory = publications.write(tmp_path_factory.mktemp("boards") / "run")
    found = read_entry(directory, directory.parent)
    assert found is not None
    return found


def scored(entry: Entry, name: str, key: str, value: float | None, **changes: Any) -> Entry:
    """The entry with another name and value of a score; None takes it away."""
    item_type, _, score = key.rpartition(".")
    assert entry.scores is not None
    scores = dict(entry.scores[item_type].scores)
    if value is None:
        scores.pop(score)
    else:
        scores[score] = scores[score].model_copy(update={"value": value})
    of_type = entry.scores[item_type].model_copy(update={"scores": scores})
    changed = {"directory": name, "scores": {**entry.scores, item_type: of_type}, **changes}
    return entry.model_copy(update=changed)


def ranks(entries: list[Entry], key: str) -> dict[str, int | None]:
    return {each.directory: each.ranks.get(key) for each in with_boards(entries)[0]}


def test_the_highest_or_the_lowest_is_first_and_equals_share_a_rank(entry: Entry) -> None:
    values = {"a": 2.0, "b": 9.0, "c": 2.0, "d": 1.0, "e": None}
    for key, expected in ((CHRF, (2, 1, 2, 4, None)), (MAE, (2, 4, 2, 1, None))):
        entries = [scored(entry, name, key, value) for name, value in values.items()]
        assert tuple(ranks(entries, key).values()) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"stub": True},
        {"complete": False},
        {"subset": Subset(num_users=1, num_items=1, of_users=2, of_items=2)},
    ],
    ids=["stub", "partial", "limited"],
)
def test_what_is_not_full_is_on_no_board_and_changes_no_rank(entry: Entry, changes: dict[str, Any]) -> None:
    full = [scored(entry, "a", CHRF, 1.0), scored(entry, "b", CHRF, 2.0)]
    entries, boards = with_boards([*full, scored(entry, "best", CHRF, 99.0, **changes)])
    assert ranks([*full, scored(entry, "best", CHRF, 99.0, **changes)], CHRF) == {
        "a": 2,
        "b": 1,
        "best": None,
    }
    assert entries[-1].board is None and entries[-1].ranks == {}
    assert [board.directories for board in boards] == [("a", "b")]


@pytest.mark.parametrize(
    "changes", [{"scenario_digest": "f" * 64}, {"dataset": "other"}, {"references": None, "scores": None}]
)
def test_another_scenario_or_other_references_are_another_board(
    entry: Entry, changes: dict[str, Any]
) -> None:
    entries, boards = with_boards([entry, entry.model_copy(update={"directory": "z", **changes})])
    assert len(boards) == 2 and {each.board for each in entries} == {0, 1}
    assert set(ranks(list(entries), CHRF).values()) <= {1, None}


def test_other_reference_files_are_other_boards(entry: Entry) -> None:
    used = entry.references
    assert used is not None
    files = [used.model_copy(update={"source": "file", "sha256": digest * 64}) for digest in "ab"]
    entries = [
        entry.model_copy(update={"directory": str(place), "references": each})
        for place, each in enumerate([used, *files, files[0]])
    ]
    assert sorted(board.directories for board in with_boards(entries)[1]) == [("0",), ("1", "3"), ("2",)]


def test_what_was_computed_in_another_way_is_not_ranked_among_the_rest(entry: Entry) -> None:
    """Tokens of another version of sacrebleu, say; the other scores still are."""
    others = entry.signatures | {"chrf": "another"}
    entries = [scored(entry, name, CHRF, 1.0) for name in "ab"] + [
        scored(entry, "c", CHRF, 5.0, signatures=others)
    ]
    assert ranks(entries, CHRF) == {"a": 1, "b": 1, "c": None}
    assert ranks(entries, "dialogue.bleu") == {"a": 1, "b": 1, "c": 1}


def test_only_what_judges_ranks_and_the_main_scores_come_first(entry: Entry) -> None:
    _, (board,) = with_boards([entry])
    keys = [each.key for each in board.rankings]
    assert keys[0] == CHRF and keys.index("dialogue.bleu") < keys.index("dialogue.rouge_l_mean")
    assert not any("best" in key or "distinct" in key or "tokens" in key for key in keys)
    assert {each.key: each.better for each in board.rankings}[MAE] == "lower"


@given(values=st.lists(st.floats(0, 100) | st.none(), min_size=1, max_size=8), order=st.randoms())
def test_ranks_count_who_is_better_in_any_order(entry: Entry, values: list[float | None], order: Any) -> None:
    entries = [scored(entry, str(place), CHRF, value) for place, value in enumerate(values)]
    order.shuffle(entries)
    found = ranks(entries, CHRF)
    for place, value in enumerate(values):
        known = [other for other in values if other is not None]
        expected = None if value is None else 1 + sum(other > value for other in known)
        assert found[str(place)] == expected
