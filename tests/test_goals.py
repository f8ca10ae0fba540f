"""The page of measurements begins with what the raw records say."""

import pytest

from benchmarks.goals import GOALS, Goal, goals_table
from tests.runs import REPOSITORY


def test_the_page_holds_what_the_records_say() -> None:
    page = (REPOSITORY / "docs/performance.md").read_text(encoding="utf-8")
    assert goals_table() in page, "print it with python -m benchmarks.goals, and set it in"


@pytest.mark.parametrize(
    ("found", "is_most", "note", "state"),
    [
        ([2.0, 3.0], False, "", "reached"),
        ([1.9, 3.0], False, "", "reached by 1 of 2"),
        ([1.9], False, "", "missed"),
        ([2.0], True, "", "reached"),
        ([2.1, 1.0], True, "", "reached by 1 of 2"),
        ([2.1], True, "", "missed"),
        ([3.0], False, "of another kind", "not shown: of another kind"),
        ([], False, "no such GPU", "not measured: no such GPU"),
    ],
)
def test_nothing_is_called_reached_that_is_not(
    found: list[float], is_most: bool, note: str, state: str
) -> None:
    goal = Goal("speed", 2.0, lambda: found, is_most=is_most, note=note)
    assert goal.state(found) == state
    assert goal.cells()[-1] == state


def test_what_was_not_measured_says_why() -> None:
    assert all(goal.measure() or goal.note for goal in GOALS)
