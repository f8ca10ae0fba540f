"""Files and journals stay whole whatever cuts the writing."""

import errno
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.errors import StorageError, StorageTroubleError
from launch.rundir.journal import Journal, read_journal, read_json, read_on, write_bytes, write_json
from tests.cli.disks import tiny_disk


def test_a_replaced_file_is_whole_and_leaves_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"text": "鞦韆 \u2028 \"'"})
    write_json(path, {"text": "second"})
    assert read_json(path) == {"text": "second"}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_leftover_temporary_does_not_block_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.with_name(f".a.json.{socket.gethostname()}.{os.getpid()}.tmp").write_bytes(
        b"left by a kill, longer than what comes"
    )
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_full_disk_is_told_from_a_real_one() -> None:
    journal = Journal(Path("/dev/full"))
    with pytest.raises(StorageError, match="disk is full"):
        journal.append({"a": 1})


def test_another_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bytes(tmp_path / "absent" / "x", b"")


@given(st.lists(st.dictionaries(st.text(), st.integers(-(2**40), 2**40) | st.text()), min_size=1), st.data())
def test_a_journal_cut_anywhere_keeps_every_whole_line(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("j") / "j.jsonl"
    journal = Journal(path)
    ends = []
    for row in rows:
        journal.append(row)
        ends.append(path.stat().st_size)
    journal.close()
    cut = data.draw(st.integers(0, ends[-1]))
    os.truncate(path, cut)
    assert list(read_journal(path)) == rows[: sum(end <= cut for end in ends)]
    whole = sum(end - 1 <= cut for end in ends)  # a line cut before its newline is whole once one follows
    again = Journal(path)
    again.append({"after": "the cut"})
    again.close()
    assert list(read_journal(path)) == [*rows[:whole], {"after": "the cut"}]


def test_no_file_is_an_empty_journal(tmp_path: Path) -> None:
    assert list(read_journal(tmp_path / "none")) == []
    assert read_json(tmp_path / "none") is None


def test_lines_of_another_form_and_zeros_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"time":1,"name":"x"}\n' + bytes(512) + b'\n{"time":"1","name":"y"}\n[]\n{"time":2.5,"name":"z"}\n'
    )
    assert [row["name"] for row in read_journal(path, time=(int, float), name=str)] == ["x", "z"]
    assert len(list(read_journal(path))) == 3
    rows, offset = read_on(path, 22)
    assert [row["name"] for row in rows] == ["y", "z"] and offset == path.stat().st_size


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_file_that_was_replaced_while_it_was_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """NFS says ESTALE of a file that it took away from under its reader."""
    path = tmp_path / "a.json"
    write_json(path, {"new": 1})
    read, left = Path.read_bytes, [None] * times

    def stale(self: Path) -> bytes:
        if left:
            left.pop()
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", stale)
    if times < 3:
        assert read_json(path) == {"new": 1}
    else:
        with pytest.raises(OSError, match="Stale"):
            read_json(path)


def test_a_line_after_a_torn_one_of_the_same_process_is_kept(tmp_path: Path) -> None:
    """A disk fills up in the middle of a line, and somebody frees space."""
    with tiny_disk(tmp_path / "disk", 16) as disk:
        journal = Journal(disk.root / "a.jsonl")
        disk.fill(4)
        journal.append({"n": 0, "pad": "y" * 1500})
        journal.append({"n": 1, "pad": "y" * 1500})
        with pytest.raises(StorageError, match="disk is full"):
            journal.append({"n": 2, "pad": "y" * 9000})
        assert not journal.path.read_bytes().endswith(b"\n"), "the last line is torn"
        disk.clear()
        for number in (100, 101):
            journal.append({"n": number})
        journal.close()
        assert [row["n"] for row in read_journal(journal.path)] == [0, 1, 100, 101]


def test_an_input_output_error_of_a_journal_is_trouble_that_may_pass(tmp_path: Path) -> None:
    """/proc/self/mem can be opened, and writing where nothing is mapped is EIO."""
    path = tmp_path / "mem"
    path.symlink_to("/proc/self/mem")
    journal = Journal(path)
    with pytest.raises(StorageTroubleError, match=r"mem: cannot write: the file system reports an input"):
        journal.append({"a": 1})
    journal.close()
