"""A file of references, read for the places of its lists: the same lists and refusals as of the whole."""

import hashlib
import json
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from launch.collect import reference_file
from launch.collect.reference_file import check_references, read_reference_file
from launch.errors import InputError

HOSTILE = (
    b'\n{ "a1" :\t["one", "tw\\"o\\\\", "\xe5\xbd\xb1 \\u5f71 \\ud83d\\ude00", "]},{"] ,\r\n "" : [ ] ,'
    b'"k\\"\\u00e9": ["\xe2\x80\xa8"], "a1": ["again", "[\\"x\\"]"]}\n \n'
)


def lists_of(path: Path) -> dict[str, list[str] | None]:
    file = read_reference_file(path)
    with file.open() as lists:
        return {user: lists.read(user) for user in file.spans}


def written(root: Path, data: bytes) -> Path:
    path = root / "references.json"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("data", [HOSTILE, b"{}", b" { \n } ", b'{"a":["' + b"\\\\" * 5_000 + b'"]}'])
def test_lists_are_those_of_the_whole_wherever_pieces_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, data: bytes
) -> None:
    monkeypatch.setattr(reference_file, "PIECE_BYTES", piece)
    path = written(tmp_path, data)
    assert lists_of(path) == orjson.loads(data)
    file = read_reference_file(path)
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    with file.open() as lists:
        assert lists.read("another") is None


@pytest.mark.parametrize("num_bytes", range(len(HOSTILE.strip())))
def test_a_file_that_ends_anywhere_before_its_end_is_no_json(tmp_path: Path, num_bytes: int) -> None:
    data = HOSTILE[: num_bytes + 1]
    with pytest.raises(orjson.JSONDecodeError) as whole:
        orjson.loads(data)
    with pytest.raises(InputError) as raised:
        read_reference_file(written(tmp_path, data))
    assert f"references.json:{whole.value.lineno}: no JSON; expected" in str(raised.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b'{"a": ["b"],}',
        b'{"a": ["b",]}',
        b'{,"a": ["b"]}',
        b'{"a" ["b"]}',
        b'{"a": ["b"]]',
        b'{"a": ["b" "c"]}',
        b'{"a": ["\\ud800"]}',
        b'{"\\x": ["b"]}',
        b'{"a": ["\xff"]}',
        b'{"\xff": ["b"]}',
        b'{"a": ["line\nend"]}',
        b'{"a": [NaN]}',
        b'{"a":\x0b["b"]}',
        b'\n\n{"a": ["b"]}\nx',
    ],
)
def test_what_is_no_json_is_refused_at_its_line(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError) as whole:
        orjson.loads(data)
    with pytest.raises(InputError, match=rf"\.json:{whole.value.lineno}: no JSON; .* Mend the file\."):
        read_reference_file(written(tmp_path, data))


@pytest.mark.parametrize(
    "data",
    [
        *(b"[]", b"1", b'{"a": {}}', b'{"a": [["b"]]}', b'{"a": ["b", null]}', b'{"a": ["b"], "c": 1}'),
        b'{"a": 1, "a": ["the last of a name counts, and this is none"]}',
    ],
)
def test_json_of_another_shape_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match=r'references\.json: expected \{"user_hash": \[.* Mend the file\.'):
        read_reference_file(written(tmp_path, data))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.write_bytes(b'{"a": ["two"]}'), "was changed while it was read"),
        (lambda path: path.write_bytes(b"{"), "was changed while it was read"),
        (lambda path: path.unlink(), "not found; expected"),
    ],
)
def test_a_file_that_is_changed_between_is_refused(
    tmp_path: Path, change: Callable[[Path], object], said: str
) -> None:
    path = written(tmp_path, b'{"a": ["one"]}')
    file = read_reference_file(path)
    change(path)
    with pytest.raises(InputError, match=said), file.open() as lists:
        lists.read("a")


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Callable[[bytes], Path]]:
    """A pipe from which bytes can be read once."""
    path, writers = tmp_path / "references.json", []

    def fill(data: bytes) -> Path:
        os.mkfifo(path)
        writers.append(threading.Thread(target=path.write_bytes, args=(data,)))
        writers[0].start()
        return path

    yield fill
    writers[0].join()


def test_a_pipe_is_read_once(pipe: Callable[[bytes], Path]) -> None:
    assert lists_of(pipe(HOSTILE)) == orjson.loads(HOSTILE)


def test_what_comes_out_of_a_pipe_is_refused_as_of_a_file(pipe: Callable[[bytes], Path]) -> None:
    with pytest.raises(InputError, match=r"references\.json:2: no JSON"):
        read_reference_file(pipe(b'{"a":\n1'))


def test_memory_does_not_grow_with_the_texts(tmp_path: Path) -> None:
    text = "x" * 10_000
    path = written(tmp_path, json.dumps({f"u{number}": [text] for number in range(3_000)}).encode())
    assert path.stat().st_size > 30_000_000
    tracemalloc.start()
    try:
        assert check_references(path) == path
        file = read_reference_file(path)
        with file.open() as lists:
            assert all(lists.read(user) == [text] for user in file.spans)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
