"""What warm starts leave of themselves: few files, whole ones, and only this user's own are believed."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.planning.rates import EarlierStarts
from launch.worker.startup.cache_store import CacheStore
from launch.worker.startup.cache_tree import list_files
from launch.worker.startup.start_records import (
    FORMAT,
    LONGEST_S,
    MAX_RECORDS,
    WARM_STATES,
    earlier_starts,
    leave_start,
    read_starts,
)
from tests.worker.startup.trees import FILES, KEY, contents, make_tree, start

NUM_PROCESSES, NUM_EACH = 8, 13
WRITE = """
import sys
from pathlib import Path
from launch.worker.startup.start_records import leave_start
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    leave_start(Path(sys.argv[1]), "seeded", 10 + number)
"""
GOOD = {"format": FORMAT, "state": "warm", "start_s": 30.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where nothing is yet."""
    return tmp_path / "user-0" / "graphs-1"


def fill(folder: Path, *seconds: float) -> Path:
    """As many warm starts; the folder."""
    for number, start_s in enumerate(seconds):
        leave_start(folder, WARM_STATES[number % len(WARM_STATES)], start_s)
    return folder


def test_what_warm_starts_took_is_read_again(folder: Path) -> None:
    assert earlier_starts([folder]) is None
    assert earlier_starts([fill(folder, 61.2)]) == EarlierStarts((61.2,))
    found = earlier_starts([fill(folder, 300.0, 60.1234)])
    assert found is not None and sorted(found.seconds) == [60.123, 61.2, 300.0]
    assert folder.stat().st_mode & 0o077 == 0


def test_records_of_several_folders_count_together(folder: Path, tmp_path: Path) -> None:
    """As those of nodes with other drivers do on a login node."""
    other = fill(tmp_path / "other", 3.0, 4.0)
    found = earlier_starts([fill(folder, 1.0), other, tmp_path / "nonesuch"])
    assert found is not None and sorted(found.seconds) == [1.0, 3.0, 4.0]


@pytest.mark.parametrize("state", ["cold", "compiles", "unlocked", "unusable"])
def test_a_start_that_found_nothing_compiled_counts_for_none(folder: Path, state: str) -> None:
    leave_start(folder, state, 135.0)
    assert not folder.exists()
    fill(folder, 1.0, 2.0, 3.0)
    for path in folder.iterdir():
        path.write_text(json.dumps({**GOOD, "state": state}))
    assert read_starts(folder) == []


def test_a_hundred_starts_leave_a_few_files(folder: Path) -> None:
    fill(folder, *range(1, 101))
    assert len(list(folder.iterdir())) == len(read_starts(folder)) == MAX_RECORDS
    assert 100.0 in read_starts(folder)


def test_tasks_that_write_at_once_leave_whole_records(folder: Path) -> None:
    writers = [start(WRITE, folder, NUM_EACH) for _ in range(NUM_PROCESSES)]
    assert [writer.stdout.readline() for writer in writers if writer.stdout] == ["ready\n"] * NUM_PROCESSES
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert (writer.returncode, errors) == (0, "")
    assert len(list(folder.iterdir())) == MAX_RECORDS
    found = read_starts(folder)
    assert len(found) == MAX_RECORDS and set(found) <= {10.0 + number for number in range(NUM_EACH)}


NOT_JSON = ("", "{", "\0" * 40, '{"format": 1, "state": "warm", "start_s": NaN}', '{"start_s": 1e999}')
NO_RECORDS = (
    [],
    3,
    None,
    {},
    {"format": FORMAT},
    {**GOOD, "format": FORMAT + 1},
    {**GOOD, "state": ["warm"]},
)
NO_SECONDS = (0, -1.0, LONGEST_S + 1, 10**18, "30", None, True, [30.0])


@pytest.mark.parametrize(
    "text",
    [
        *NOT_JSON,
        *(json.dumps(each) for each in NO_RECORDS),
        *(json.dumps({**GOOD, "start_s": each}) for each in NO_SECONDS),
    ],
)
def test_what_is_no_record_is_passed_over(folder: Path, text: str) -> None:
    fill(folder, 1.0, 2.0, 3.0)
    next(folder.iterdir()).write_text(text)
    found = earlier_starts([folder])
    assert found is not None and sorted(found.seconds) == sorted(read_starts(folder))
    assert len(found.seconds) == 2


def give_away(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: it gives a file to another user")
    os.chown(path, 12345, 12345)


def let_others_write(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o020)


def link(path: Path) -> None:
    moved = path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(moved)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [give_away, let_others_write, link, replace_by_folder])
def test_a_record_that_another_user_may_have_made_is_passed_over(
    folder: Path, spoil: Callable[[Path], None]
) -> None:
    fill(folder, 1.0, 2.0, 3.0)
    spoil(next(folder.iterdir()))
    assert len(read_starts(folder)) == 2


@pytest.mark.parametrize("spoil", [give_away, let_others_write, link])
def test_nothing_is_read_of_a_folder_that_others_may_write(
    folder: Path, spoil: Callable[[Path], None]
) -> None:
    fill(folder, 1.0, 2.0, 3.0)
    spoil(folder)
    assert earlier_starts([folder]) is None


def test_what_killed_writers_left_goes_and_what_is_being_written_stays(folder: Path) -> None:
    fill(folder, 1.0)
    (path,) = folder.iterdir()
    old, young = (folder / f".{path.name}.host.{pid}.tmp" for pid in (1, 2))
    for partial in (old, young):
        partial.write_text("{")
    before = path.stat().st_mtime - 4000
    os.utime(old, (before, before))
    fill(folder, 2.0)
    assert not old.exists() and young.exists()
    assert sorted(read_starts(folder)) == [1.0, 2.0]


def test_records_are_no_part_of_what_nodes_are_seeded_with(tmp_path: Path) -> None:
    """Neither those on the node nor those beside the generations."""
    local = fill(make_tree(tmp_path / "local"), 1.0, 2.0)
    assert set(list_files(local)) == set(FILES)
    store = CacheStore(tmp_path / "shared", KEY)
    store.write_back(local)
    fill(store.folder, 3.0)
    (tmp_path / "other").mkdir()
    assert store.seed(tmp_path / "other") is not None
    assert set(contents(tmp_path / "other")) == set(FILES)
    assert store.write_back(local) == "generation 1 has it all"
