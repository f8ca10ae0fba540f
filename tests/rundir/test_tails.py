"""The ends of files: whole lines, bounded, whatever lies before."""

from pathlib import Path

import pytest

from launch.rundir.journal import read_journal
from launch.rundir.tails import last_record, read_tail, tail_records


@pytest.mark.parametrize(
    ("data", "num_bytes", "tail"),
    [
        (b"", 10, b""),
        (b"one\ntwo\n", 100, b"one\ntwo\n"),
        (b"one\ntwo\n", 8, b"one\ntwo\n"),
        (b"one\ntwo\n", 7, b"two\n"),
        (b"one\ntwo\n", 4, b"two\n"),
        (b"one\ntwo", 3, b"two"),
        (b"one\ntwo", 5, b"two"),
        (b"x" * 50 + b"end\n", 7, b"xxxend\n"),
        (b"x" * 50 + b"end", 6, b"xxxend"),
    ],
)
def test_whole_lines_of_the_end(tmp_path: Path, data: bytes, num_bytes: int, tail: bytes) -> None:
    (tmp_path / "log").write_bytes(data)
    assert read_tail(tmp_path / "log", num_bytes) == tail


def test_what_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_tail(tmp_path / "none", 10) == b""
    assert read_tail(tmp_path, 10) == b""
    assert read_tail(tmp_path / "none" / "below", 10) == b""


def test_records_at_the_end_of_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b'{"n":1}\n[2]\n\x00\x00\n{"n":3}\nnull\n{"n":4}\n{"n":')
    assert tail_records(path, 1000) == [{"n": 1}, {"n": 3}, {"n": 4}]
    assert tail_records(path, 20) == [{"n": 4}]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", None),
        (b'{"time": 1', None),
        (b'{"time": 1}\n', 1),
        (b'{"time": 1}\n{"time": 2}\n{"time": 3', 2),
        (b'{"time": 1}\n{"time": "2"}\n[]\n' + bytes(50_000) + b"\n", 1),
        (b'{"time": 1}\n{"time": 2, "text": "' + b"x" * 70_000 + b'"}\n' + b"\n" * 20_000, 2),
    ],
)
def test_the_last_line_is_read_from_the_end(tmp_path: Path, content: bytes, found: int | None) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    row = last_record(path, time=int)
    assert (None if row is None else row["time"]) == found
    rows = list(read_journal(path, time=int))
    assert row == (rows[-1] if rows else None)
    assert last_record(tmp_path / "none.jsonl") is None
