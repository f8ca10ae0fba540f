"""Scoring holds no reference but those of the user at hand: its memory, and files that change under it."""

import gc
import json
import tracemalloc
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from launch.cli.scoring import score_into
from launch.collect import digested_file
from launch.collect.manifest import ITEM_SCORES_FILE, LEADERBOARD_FILE, SCORES_FILE, SCORES_SCRATCH
from launch.collect.published import Published, open_published
from launch.collect.reference_texts import REFERENCES_FILE, known_references
from launch.collect.scoring.score import Options
from launch.errors import InputError, RunError
from tests.collect.comparing import publish, say
from tests.scenarios.builders import user

ALONE = Options(processes=1)
FOUR = say(lambda item, place: "4")
ITEMS_PER_USER, CHARACTERS = 10, 8_000
MAX_BYTES_AN_ITEM = 1_000
"""An item's key, its place in generations.jsonl, its share of a user's sums: an eighth of its reference."""


def long_references(num_users: int, *, with_own: bool) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Users whose ratings are explained at length, and the same references as a file has them."""
    lists = {
        f"u{number}": [
            f"{place % 5 + 1}. {number}.{place} ".ljust(CHARACTERS, "x") for place in range(ITEMS_PER_USER)
        ]
        for number in range(num_users)
    }
    users = [
        user(
            name,
            movie_rating=[{"context": [], **({"continuation": text} if with_own else {})} for text in texts],
        )
        for name, texts in lists.items()
    ]
    return users, lists


def peak_of_scoring(directory: Path, file: Path | None) -> int:
    """The most bytes that reading references and scoring held, beyond what was there before."""
    published = open_published(directory)
    gc.collect()
    tracemalloc.start()
    try:
        score_into(published, known_references(published, file), ALONE)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("with_own", [True, False])
def test_memory_does_not_grow_by_the_references(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, with_own: bool
) -> None:
    monkeypatch.setattr(digested_file, "BLOCK_BYTES", 1 << 14)  # a block of lines takes as much in any run
    peaks = {}
    for num_users in (40, 40, 120):  # the first for what is imported and cached once
        users, lists = long_references(num_users, with_own=with_own)
        file = write_lists(tmp_path / f"references-{num_users}.json", lists)
        name = f"{len(peaks)}-of-{num_users}"
        directory = publish(tmp_path, checkpoint, FOUR, users=users, name=name)
        peaks[num_users] = peak_of_scoring(directory, None if with_own else file)
    grown = (peaks[120] - peaks[40]) / (80 * ITEMS_PER_USER)
    assert grown < MAX_BYTES_AN_ITEM, f"{grown:,.0f} bytes an item"


def write_lists(path: Path, lists: dict[str, list[str]]) -> Path:
    """The users in another order than the run's."""
    path.write_text(json.dumps(dict(reversed(lists.items()))))
    return path


@pytest.mark.process
@pytest.mark.parametrize("processes", [1, 2])
def test_a_file_gives_the_scores_that_the_items_own_references_give(
    tmp_path: Path, checkpoint: Path, processes: int
) -> None:
    """Where the items have some of their own, or none, and over processes, too."""
    own, lists = long_references(20, with_own=True)
    some, none = deepcopy(own), long_references(20, with_own=False)[0]
    for each in some[::2]:
        for item in each["task"]["task_behavior_collections"][0]["data"][1::3]:
            del item["continuation"]
    found = set()
    for name, users in (("own", own), ("some", some), ("none", none)):
        directory = publish(tmp_path, checkpoint, FOUR, users=users, name=name)
        if name != "own":
            write_lists(tmp_path / f"scenario-{name}" / REFERENCES_FILE, lists)
        published = open_published(directory)
        record = score_into(published, known_references(published), Options(processes=processes))
        found.add((record.types["movie_rating"].model_dump_json(), record.item_scores.sha256))
        assert record.types["movie_rating"].num_references == 200
    assert len(found) == 1


def other_users(published: Published, file: Path) -> None:
    path = published.path / LEADERBOARD_FILE
    path.write_text(json.dumps(list(reversed(json.loads(path.read_text())))))


def other_text(published: Published, file: Path) -> None:
    file.write_text(file.read_text().replace("3. 1.2", "4. 1.2"))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (other_users, RunError, r"test_leaderboard\.json:1: its items are not those of generations\.jsonl"),
        (other_text, InputError, r"references\.json: was changed while it was read"),
        (lambda published, file: file.unlink(), InputError, r"references\.json: not found"),
    ],
)
def test_what_is_changed_before_it_is_read_again_costs_the_scores(
    tmp_path: Path,
    checkpoint: Path,
    change: Callable[[Published, Path], object],
    error: type[Exception],
    said: str,
) -> None:
    users, lists = long_references(3, with_own=False)
    file = write_lists(tmp_path / "references.json", lists)
    published = open_published(publish(tmp_path, checkpoint, FOUR, users=users))
    references = known_references(published, file)
    change(published, file)
    with pytest.raises(error, match=said):
        score_into(published, references, ALONE)
    left = {path.name for path in published.path.iterdir()}
    assert not left & {SCORES_FILE, ITEM_SCORES_FILE}
    assert not [name for name in left if name.startswith(SCORES_SCRATCH)]
