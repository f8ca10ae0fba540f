"""`list`: a run's name is whole and in one line, to be copied and to be found by grep."""

import re
from pathlib import Path

import pytest

from tests.cli.commands import submit_words, succeed

NAME = "quick-test-Chameleons-20261130-152846-ca1630"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """A run with a long name, and one with a short one."""
    root = tmp_path_factory.mktemp("list")
    for name in (NAME, "r"):
        succeed(*submit_words(checkpoint, name=name), "--limit-items", "3", "--dry-run", cwd=root)
    return root


def listed(here: Path, columns: int | None) -> list[str]:
    """The lines, on a terminal of so many columns or in a pipe (None)."""
    terminal = {} if columns is None else {"FORCE_COLOR": "1", "COLUMNS": str(columns)}
    said = succeed("list", cwd=here, **({"COLUMNS": "40"} if columns is None else terminal))
    return re.sub(r"\x1b\[[\d;]*m", "", said.out).rstrip().split("\n")


def test_in_a_pipe_a_run_is_a_line(here: Path) -> None:
    head, _, *rows = (line.split() for line in listed(here, None) if line.strip())
    assert head == ["run", "preset", "dataset", "state", "items", "age"]
    assert sorted(row[0] for row in rows) == sorted([NAME, "r"])


@pytest.mark.parametrize(
    ("columns", "head"),
    [
        (200, ["run", "preset", "dataset", "state", "items", "age"]),
        (85, ["run", "preset", "state", "items", "age"]),
        (80, ["run", "state", "items", "age"]),
        (68, ["run", "state", "items"]),
    ],
)
def test_a_terminal_shows_names_whole_and_leaves_out_columns(
    here: Path, columns: int, head: list[str]
) -> None:
    lines = listed(here, columns)
    assert max(len(line.rstrip()) for line in lines) <= columns
    assert next(line.split() for line in lines if line.strip()) == head
    assert any(line.split()[0] == NAME for line in lines if line.strip())


def test_a_name_longer_than_the_terminal_is_not_cut(here: Path) -> None:
    assert any(line.split()[0] == NAME for line in listed(here, 30) if line.strip())
