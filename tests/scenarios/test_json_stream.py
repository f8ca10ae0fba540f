"""The list reader: constant memory, the right line, and no malformed file that it takes for a good one."""

import gzip
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.errors import InputError
from launch.scenarios import json_stream
from launch.scenarios.json_stream import stream_objects

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)
)
OBJECTS = st.lists(st.dictionaries(TEXT, VALUES, max_size=4), max_size=6)


def read(path: Path) -> list[dict[str, Any]]:
    return [element.value for element in stream_objects(path)]


@settings(max_examples=40)
@given(objects=OBJECTS, indent=st.sampled_from([None, 1]), ascii_only=st.booleans(), piece=st.integers(1, 40))
def test_reads_what_json_reads_at_any_piece_size(
    objects: list[Any], indent: int | None, ascii_only: bool, piece: int
) -> None:
    text = json.dumps(objects, indent=indent, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "PIECE_BYTES", piece)
        reader = json_stream._Reader(Path("f.json"), io.BytesIO(text.encode()))
        assert [element.value for element in reader.elements()] == objects


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    path.write_bytes(b"\xef\xbb\xbf [{} ,\n {}]\n")
    assert [(element.position, element.line) for element in stream_objects(path)] == [(0, 1), (1, 2)]


def test_numbers_of_any_size_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    path.write_text('[{"int": 123456789012345678901234567890, "float": 4.833333333333333}]')
    assert read(path) == [{"int": 123456789012345678901234567890, "float": 4.833333333333333}]


BAD = {
    "empty file": (b"", ":1: expected a list", "an empty file"),
    "one object": (b'{"user_hash": "a"}', ":1: expected a list", "found an object"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid", ":1: a Git-LFS pointer", "git lfs pull"),
    "element is no object": (b'[\n{},\n"text"]', ":3: expected a user", "user 2"),
    "not json": (b'[{},\n{"a": 1,\n "b": }]', ":3: user 2 is not JSON", "expecting value"),
    "python literal": (b"[{'a': 1}]", ":1: user 1 is not JSON", "near"),
    "truncated": (b'[{"a": 1},\n{"a": "long', ":2: the file ends inside user 2", "begins at line 2"),
    "cut between users": (b'[{"a": 1}\n', ":2: the file ends after 1 users", "without ]"),
    "cut after a comma": (b'[{"a": 1},\n', ":2: the file ends after 1 users", "without ]"),
    "trailing comma": (b'[{"a": 1},\n]', ":2: a comma before the end", "Remove it"),
    "no comma": (b'[{"a": 1}\n{"a": 1}]', ":2: expected a comma", "'{'"),
    "two lists": (b"[{}]\n[{}]", ":2: text after the end", "one list"),
    "nan": (b'[{"a": NaN}]', ":1: user 1 holds NaN", "JSON does not have"),
    "infinity": (b'[{"a": -Infinity}]', ":1: user 1 holds -Infinity", "JSON does not have"),
    "huge float": (b'[{"a": 1e999}]', ":1: user 1 holds the number 1e999", "too large"),
    "huge integer": (b'[{"a": ' + b"9" * 5000 + b"}]", ":1: user 1 holds an integer", "as text"),
    "lone surrogate": (b'[{"a": "\\ud800"}]', ":1: user 1 holds half of a surrogate pair", "no character"),
    "upper-case surrogate": (b'[{"a": "\\uDEAD!"}]', ":1: user 1 holds half of a surrogate", "no character"),
    "nan in a later line": (
        b'[{"a": "NaN",\n"b": "\\"NaN",\n"c": [1,\nNaN]}]',
        ":4: user 1 holds NaN",
        "JSON does not have",
    ),
    "huge float in a later line": (b'[{"a": "1e999",\n"b": 1e999}]', ":2: user 1 holds the number", "large"),
    "lone surrogate in a later line": (
        b'[{"a": "\\\\ud800 \\ud83d\\ude00",\n"b": "\\n\\ud800"}]',
        ":2: user 1 holds half of a surrogate pair",
        "no character",
    ),
    "gzip": (gzip.compress(b"[]"), ": a gzip file, not JSON", "Unpack it"),
    "deep": (
        b'[{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
        ":1: user 1 is nested too deeply",
        "Flatten",
    ),
    "raw newline in text": (b'[{"a": "x\ny"}]', ":1: user 1 is not JSON", "invalid control character"),
    "latin-1": (b'[{"a": 1},\n{"a": "caf\xe9"}]', ":2: not UTF-8 (byte 0xe9)", "UTF-8"),
    "utf-16": ("[]".encode("utf-16"), ":1: not UTF-8 (byte 0xff)", "Save the file as UTF-8"),
    "cut inside a character": ('[{"a": "é'.encode()[:-1], ":1: not UTF-8", "UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("piece", [3, 1 << 20])
def test_bad_files_are_one_clear_line(
    name: str, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, where, what = BAD[name]
    path = tmp_path / "test_leaderboard.json"
    path.write_bytes(content)
    monkeypatch.setattr(json_stream, "PIECE_BYTES", piece)
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}{where}"), message
    assert what in message
    assert "\n" not in message


def test_surrogate_pairs_are_characters(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    path.write_bytes(b'[{"a": "\\ud83d\\ude00"}]')
    assert read(path) == [{"a": "\U0001f600"}]


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not found; expected a JSON list of users"):
        read(tmp_path / "none.json")


def test_a_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"):
        read(tmp_path)


class CountingFile(io.BytesIO):
    """Bytes that say how many of them were read."""

    num_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.num_read += len(data)
        return data


@pytest.mark.parametrize("bad", [b'{"a": 1 "b": 2}', b'{"a": tru}', b'{"a": "x', b"12"])
def test_an_early_error_does_not_read_the_whole_file(bad: bytes) -> None:
    """30 MiB follow the bad element; a few MiB at most may be read before it is reported."""
    filler = b',\n{"text": "' + b"x" * 900 + b'"}'
    handle = CountingFile(b"[" + bad + filler * (30 * 1024) + b"]")
    reader = json_stream._Reader(Path("f.json"), handle)
    with pytest.raises(InputError):
        list(reader.elements())
    assert handle.num_read <= 4 << 20


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    element = json.dumps({"text": "x" * 10_000})
    path = tmp_path / "users.json"
    with path.open("w") as handle:
        handle.write("[" + element)
        for _ in range(3_000):
            handle.write("," + element)
        handle.write("]")
    tracemalloc.start()
    try:
        assert sum(1 for _ in stream_objects(path)) == 3_001
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 30_000_000
    assert peak < 8 << 20


def test_an_element_larger_than_a_piece_is_read(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    large = {"text": "字" * (3 << 20)}
    path.write_text(json.dumps([large, {"b": 1}], ensure_ascii=False), encoding="utf-8")
    assert read(path) == [large, {"b": 1}]


def test_an_element_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_ELEMENT_CHARS", 1000)
    monkeypatch.setattr(json_stream, "PIECE_BYTES", 100)
    path = tmp_path / "users.json"
    path.write_text('[{"a": "' + "x" * 100_000)
    with pytest.raises(InputError, match="larger than 256 Mi characters"):
        read(path)
