"""A file {user_hash: [true continuation, ...]}, of which only the places of its lists are held.

The texts of a large run do not fit in memory beside everything else, and the file's users need not be in the
order of the run's, so the file is read once for the place of each list, and each list when it is asked for.
"""

import errno
import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from launch.errors import InputError

PIECE_BYTES = 1 << 20
_SHAPE = 'expected {"user_hash": ["true continuation", ...], ...}'
# Where texts and lists end. Whether they are JSON is for orjson to say, list by list.
_BLANK = rb"[ \t\r\n]*+"
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_LIST = rb"\[%b(?:%b%b(?:,%b%b%b)*+)?+\]" % (_BLANK, _TEXT, _BLANK, _BLANK, _TEXT, _BLANK)
_BEGIN = re.compile(rb"%b\{%b(?:(\})|(?=\"))" % (_BLANK, _BLANK))
_MEMBER = re.compile(rb"%b(%b)%b:%b(%b)%b([,}])" % (_BLANK, _TEXT, _BLANK, _BLANK, _LIST, _BLANK), re.DOTALL)
_END = re.compile(_BLANK)


@dataclass(frozen=True, slots=True)
class Span:
    """Where a list is in the file, in bytes, and the crc32 of these bytes."""

    offset: int
    length: int
    crc32: int


@dataclass(frozen=True, slots=True)
class ReferenceFile:
    """A file that was read through: its sha256, and where the list of each user_hash is.

    `piped` is what came out of a pipe, which can be read once: `--references <(zcat FILE)`.
    """

    path: Path
    sha256: str
    spans: dict[str, Span]
    piped: bytes | None = None

    @contextmanager
    def open(self) -> Iterator["ListReader"]:
        """Reads the lists of users while the context is open; InputError when the file is gone."""
        with _open(self.path) if self.piped is None else BytesIO(self.piped) as handle:
            yield ListReader(self, handle)


class ListReader:
    """Reads the lists of one file; only the one asked for is in memory."""

    def __init__(self, file: ReferenceFile, handle: BinaryIO) -> None:
        self._file = file
        self._handle = handle

    def read(self, user_hash: str) -> list[str] | None:
        """The list of a user, None without one; InputError when other bytes are there than at first."""
        span = self._file.spans.get(user_hash)
        if span is None:
            return None
        data = self._bytes_of(span)
        if zlib.crc32(data) != span.crc32:
            raise _changed(self._file.path)
        texts: list[str] = orjson.loads(data)
        return texts

    def _bytes_of(self, span: Span) -> bytes:
        try:
            self._handle.seek(span.offset)
            return self._handle.read(span.length)
        except OSError as error:  # NFS takes a file that was replaced from who has it open
            if error.errno != errno.ESTALE:
                raise
            raise _changed(self._file.path) from None


def read_reference_file(path: Path) -> ReferenceFile:
    """Reads a file through; InputError when it is not there, or of another shape.

    Memory: the list of one user and one piece of the file, and about 250 bytes a user. Of a user that the
    file has twice the last list counts, as everywhere in Python.
    """
    with _open(path) as handle:
        piped = None if handle.seekable() else handle.read()
        source = handle if piped is None else BytesIO(piped)
        window = _Window(source)
        try:
            spans = dict(_spans(window))
        except (_OtherShape, orjson.JSONDecodeError):
            raise _refusal(path, source) from None
    return ReferenceFile(path, window.sha256, spans, piped)


def check_references(path: Path | None) -> Path | None:
    """The whole path of a file of references; InputError when it is not there, or of another shape."""
    if path is None:
        return None
    path = path.expanduser().absolute()
    read_reference_file(path)
    return path


class _OtherShape(Exception):
    """The file goes on with something else than a list of texts of a user."""


class _Window:
    """The part of a file that is being looked at; all of it passes by once and is digested."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._digest = hashlib.sha256()
        self._data = b""
        self._offset = 0  # of `_data` in the file
        self._at = 0  # in `_data`

    @property
    def sha256(self) -> str:
        """Of what has passed by."""
        return self._digest.hexdigest()

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._data) and not self._read_on()

    def take(self, pattern: re.Pattern[bytes]) -> tuple[re.Match[bytes], int]:
        """What matches here, and where in the file `_data` begins; _OtherShape when nothing does."""
        while (match := pattern.match(self._data, self._at)) is None:
            if not self._read_on():
                raise _OtherShape
        self._at = match.end()
        return match, self._offset

    def _read_on(self) -> bool:
        """Reads as much again as is left to look at, so that a long list is looked at few times."""
        kept = self._data[self._at :]
        more = self._handle.read(max(PIECE_BYTES, len(kept)))
        self._digest.update(more)
        self._offset += self._at
        self._data, self._at = kept + more, 0
        return bool(more)


def _spans(window: _Window) -> Iterator[tuple[str, Span]]:
    """The users in the order of the file; JSONDecodeError for a text that is no JSON."""
    begin, _ = window.take(_BEGIN)
    is_open = begin[1] is None
    while is_open:
        member, offset = window.take(_MEMBER)
        data = member[2]
        orjson.loads(data)
        yield orjson.loads(member[1]), Span(offset + member.start(2), len(data), zlib.crc32(data))
        is_open = member[3] == b","
    while not window.is_at_end:
        if not window.take(_END)[0][0]:
            raise _OtherShape


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: not found; {_SHAPE}. Check --references.") from None
    with handle:
        yield handle


def _refusal(path: Path, handle: BinaryIO) -> InputError:
    """Why a file is none of references; it is read as a whole to say so, a name that it has twice as well."""
    handle.seek(0)
    data = handle.read()
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return InputError(f"{path}:{error.lineno}: no JSON; {_SHAPE}. Mend the file.")
    users: Any = json.loads(data, object_pairs_hook=tuple)
    if not isinstance(users, tuple) or not all(_is_list_of_texts(texts) for _, texts in users):
        return InputError(f"{path}: {_SHAPE}. Mend the file.")
    return _changed(path)


def _changed(path: Path) -> InputError:
    return InputError(f"{path}: was changed while it was read. Say the same again when nothing writes there.")


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
