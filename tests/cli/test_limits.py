"""--limit-users and --limit-items: the same subset each time, and marked wherever it is shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import Said, submit_words, succeed

pytestmark = pytest.mark.process

LIMITS = ["--limit-users", "5", "--limit-items", "7"]
WHOLE = "data.limit_items=null"  # quick_test has a limit of its own


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("limits")


@pytest.fixture(scope="module")
def said(here: Path, checkpoint: Path) -> Said:
    """A published subset of the demo."""
    return succeed(*submit_words(checkpoint), *LIMITS, cwd=here)


def planned(here: Path, name: str) -> list[tuple[str, Any]]:
    """(user_hash, places) of a run's items."""
    lines = (here / "outputs" / "runs" / name / "plan" / "index.jsonl").read_text().splitlines()
    return [(row["user_hash"], row["places"]) for row in map(json.loads, lines)]


def test_the_same_subset_each_time(here: Path, said: Said, checkpoint: Path):
    words = [
        *submit_words(checkpoint, name="again"),
        *LIMITS,
        "--dry-run",
        "--seed",
        "7",
        "--num-samples",
        "2",
    ]
    succeed(*words, cwd=here)
    assert planned(here, "again") == planned(here, "r")
    assert sum(len(places) for _, places in planned(here, "r")) == 7


def test_it_is_said(here: Path, said: Said):
    (note,) = [line for line in said.notes if line.startswith("limited to ")]
    assert note == f"limited to 7 of 92 items ({len(planned(here, 'r'))} of 18 users)"
    assert said.row("submission").startswith("1: 7 items")
    assert "limited  to 7 of 92 items" in succeed("status", "r", cwd=here).out
    assert note in succeed("resume", "again", "--dry-run", cwd=here).notes


@pytest.mark.parametrize("name", ["manifest.json", "inference_summary.json"])
def test_it_is_marked_in_what_is_published(here: Path, said: Said, name: str):
    value = json.loads((here / "outputs" / "leaderboards" / "r" / name).read_text())
    users = len(planned(here, "r"))
    assert value["subset"] == {"num_users": users, "num_items": 7, "of_users": 18, "of_items": 92}
    assert value["num_items"] == 7


def test_every_published_file_says_so_and_so_do_the_commands(here: Path, said: Said):
    published = here / "outputs" / "leaderboards" / "r"
    users = json.loads((published / "test_leaderboard.json").read_text())
    users += [json.loads(path.read_text()) for path in (published / "users").iterdir()]
    lines = (published / "provenance.jsonl").read_bytes().splitlines()
    marked = [*users, *map(json.loads, lines)]
    assert {(each["limited"]["num_items"], each["limited"]["of_items"]) for each in marked} == {(7, 92)}
    assert all(each["stub"] is True for each in marked)
    end = "; limited to 7 of 92 items; texts of the stub engine, not of a model"
    assert said.row("published") == f"{published}: 7 of 7 items done{end}"
    assert succeed("merge", "r", cwd=here).row("published").endswith(end)
    assert succeed("verify", published, cwd=here).out.splitlines()[-1].endswith(f"files as published{end}")


def test_it_is_part_of_the_identity(here: Path, said: Said, checkpoint: Path):
    succeed(*submit_words(checkpoint, name="more"), "--limit-items", "8", "--dry-run", cwd=here)
    digests = set()
    for name in ("r", "more"):
        text = (here / "outputs" / "runs" / name / "run.yaml").read_text()
        digests.add(next(line for line in text.splitlines() if line.startswith("identity_digest")))
    assert len(digests) == 2


def test_a_limit_that_cuts_nothing_marks_nothing(here: Path, checkpoint: Path):
    said = succeed(*submit_words(checkpoint, name="whole"), "--limit-users", "18", "--set", WHOLE, cwd=here)
    assert said.row("published").endswith(": 92 of 92 items done; texts of the stub engine, not of a model")
    assert not [line for line in said.notes if line.startswith("limited to ")]
