"""Reads a JSON list of objects one by one, in constant memory, and says on which line what is wrong.

A scenario file may be larger than the memory of a login node, so it is never read as a whole: text comes in
pieces of 1 MiB, and one element at a time is decoded from it. A malformed element is told from one that
merely goes on in the next piece by where the decoder stopped, so it is reported at once and not after the
whole file.
"""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import isinf
from pathlib import Path
from typing import Any, BinaryIO

from launch.errors import InputError

PIECE_BYTES = 1 << 20
MAX_ELEMENT_CHARS = 1 << 28
SHOWN_HEAD = 40
LONGEST_TOKEN = 16  # an escaped surrogate pair or -Infinity: how far from the end a cut is noticed
CUT_TOKEN = re.compile(r"[\w.+\\-]*\s*")  # the beginning of a literal, number or escape, or nothing
GZIP = b"\x1f\x8b"
TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[-+.\w]+', re.DOTALL)  # a text, a literal or a number
ESCAPE = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F])|\\.", re.DOTALL)
WHITESPACE = " \t\r\n"
PLAIN_FROM, PLAIN_BELOW = 1e-4, 1e16


@dataclass(frozen=True, slots=True)
class Element:
    """An element of the list: its place from 0, the line from 1 on which it begins, and itself as read.

    `plain_floats`: orjson writes its floats as json does (see `_Reader._parse_float`).
    """

    position: int
    line: int
    value: dict[str, Any]
    plain_floats: bool = False


class _Refused(ValueError):
    """A number that JSON cannot hold or that would not survive being written again: its `token`."""

    def __init__(self, token: str, what: str) -> None:
        super().__init__(what)
        self.token = token


def stream_objects(path: Path) -> Iterator[Element]:
    """The objects of the list in `path` (UTF-8, byte order mark accepted), in order.

    Memory: one element and one piece. Raises InputError with file:line when the file is missing, is no list
    of objects, ends too early, or holds a number that JSON does not have (NaN, Infinity, 1e999). Of a key
    that an object has twice, the last value counts, as everywhere in Python.
    """
    try:
        handle = path.open("rb")
    except OSError as error:
        why = "not found" if isinstance(error, FileNotFoundError) else str(error.strerror).lower()
        raise InputError(f"{path}: {why}; expected a JSON list of users. Check data.scenario_path.") from None
    with handle:
        yield from _Reader(path, handle).elements()


class _Reader:
    """A window on the text of one file: `_text[_at:]` is what is still to be decoded."""

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        self._path = path
        self._handle = handle
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._json = json.JSONDecoder(parse_float=self._parse_float, parse_constant=_refuse_constant)
        self._plain_floats = True  # in the element at hand
        self._text = ""
        self._at = 0
        self._line = 1  # of _text[_counted]
        self._counted = 0
        self._ended = False
        self._position = 0

    def elements(self) -> Iterator[Element]:
        if self._skip_blank() != "[":
            raise self._no_list()
        self._at += 1
        mark = self._skip_blank()
        while mark != "]":
            if mark != "{":
                raise self._unexpected(mark, "a user, an object {...}")
            line = self._line_at(self._at)
            value = self._decode_element()
            yield Element(self._position, line, value, self._plain_floats)
            self._position += 1
            mark = self._skip_blank()
            if mark == ",":
                self._at += 1
                mark = self._skip_blank()
                if mark == "]":
                    raise self._error("a comma before the end of the list. Remove it.")
            elif mark != "]":
                raise self._unexpected(mark, "a comma or the end of the list")
        self._at += 1
        if self._skip_blank():
            raise self._error("text after the end of the list. Keep one list in the file.")

    def _decode_element(self) -> dict[str, Any]:
        while True:
            self._plain_floats = True
            try:
                value, end = self._json.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._ended or not self._may_be_cut(error):
                    raise self._malformed(error) from None
                self._read_on()
            except _Refused as error:
                raise self._error(f"{self._name()} {error}", self._place_of(error.token)) from None
            except RecursionError:
                raise self._error(f"{self._name()} is nested too deeply. Flatten it.") from None
            except ValueError:  # int() refuses more than sys.get_int_max_str_digits() digits
                raise self._error(
                    f"{self._name()} holds an integer of thousands of digits. Write it as text."
                ) from None
            else:
                if self._may_hold_surrogates(end) and not _is_unicode(value):
                    raise self._error(
                        f"{self._name()} holds half of a surrogate pair (\\ud800 to \\udfff), no character."
                        " Export the text again.",
                        self._lone_surrogate(end),
                    )
                self._at = end
                result: dict[str, Any] = value
                return result

    def _parse_float(self, text: str) -> float:
        """A double. Python writes those without an exponent up to 1e16 and down to 1e-4, as orjson does."""
        value = float(text)
        if not PLAIN_FROM <= abs(value) < PLAIN_BELOW and value != 0:
            if isinf(value):
                raise _Refused(
                    text, f"holds the number {text[:20]}, too large for a double. Write it as text."
                )
            self._plain_floats = False
        return value

    def _place_of(self, token: str) -> int:
        """Where the element at hand first has a number or literal, which the decoder does not say."""
        places = (match.start() for match in TOKEN.finditer(self._text, self._at) if match[0] == token)
        return next(places, self._at)

    def _lone_surrogate(self, end: int) -> int:
        """Where the element at hand, up to `end`, first has half of a pair."""
        escapes = ESCAPE.finditer(self._text, self._at, end)
        return next((match.start() for match in escapes if match[1]), self._at)

    def _may_hold_surrogates(self, end: int) -> bool:
        """Only an escape such as \\ud83d can make one: a file in UTF-8 has none."""
        text, at = self._text, self._at
        first = text.find("\\", at, end)  # one character: the fastest search there is
        return first >= 0 and (text.find("\\ud", first, end) >= 0 or text.find("\\uD", first, end) >= 0)

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the decoder stopped only because the rest of the element is not read yet."""
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - LONGEST_TOKEN

    def _malformed(self, error: json.JSONDecodeError) -> InputError:
        cut = error.msg.startswith("Unterminated string") or CUT_TOKEN.fullmatch(self._text, error.pos)
        if self._ended and cut:
            begun = self._line_at(self._at)
            return self._error(
                f"the file ends inside {self._name()}, which begins at line {begun}. Copy the whole file.",
                len(self._text),
            )
        near = self._text[max(error.pos - 10, 0) : error.pos + 20]
        what = f"{error.msg[:1].lower()}{error.msg[1:]}"
        return self._error(f"{self._name()} is not JSON: {what} near {near!r}. Mend the line.", error.pos)

    def _read_on(self) -> None:
        """Reads as much again as the window holds, so that a large element is decoded few times."""
        kept = len(self._text) - self._at
        if kept > MAX_ELEMENT_CHARS:
            raise self._error(f"{self._name()} is larger than 256 Mi characters. Split it.")
        self._count_lines(self._at)
        data = self._handle.read(max(PIECE_BYTES, kept))
        self._ended = not data
        try:
            more = self._decode.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            if error.start == 1 and error.object.startswith(GZIP):
                raise InputError(f"{self._path}: a gzip file, not JSON. Unpack it (zcat).") from None
            good = error.object[: error.start].count(b"\n")
            line = self._line + self._text.count("\n", self._counted) + good
            raise InputError(
                f"{self._path}:{line}: not UTF-8 (byte 0x{error.object[error.start]:02x})."
                " Save the file as UTF-8."
            ) from None
        self._text = self._text[self._at :] + more
        self._at = self._counted = 0

    def _skip_blank(self) -> str:
        """Moves to the next character that is not whitespace and returns it; "" at the end of the file."""
        while True:
            text, at = self._text, self._at
            while at < len(text) and text[at] in WHITESPACE:
                at += 1
            self._at = at
            if at < len(text):
                return text[at]
            if self._ended:
                return ""
            self._read_on()

    def _count_lines(self, where: int) -> None:
        self._line += self._text.count("\n", self._counted, where)
        self._counted = where

    def _line_at(self, where: int) -> int:
        if where >= self._counted:
            self._count_lines(where)
            return self._line
        return self._line - self._text.count("\n", where, self._counted)

    def _name(self) -> str:
        return f"user {self._position + 1}"

    def _error(self, what: str, where: int | None = None) -> InputError:
        line = self._line_at(self._at if where is None else where)
        return InputError(f"{self._path}:{line}: {what}")

    def _unexpected(self, mark: str, expected: str) -> InputError:
        if not mark:
            return self._error(f"the file ends after {self._position} users, without ]. Copy the whole file.")
        return self._error(f"expected {expected}, found {mark!r} ({self._name()}). Mend the line.")

    def _no_list(self) -> InputError:
        while len(self._text) < self._at + SHOWN_HEAD and not self._ended:
            self._read_on()
        head = self._text[self._at : self._at + SHOWN_HEAD]
        if head.startswith("version https://git-lfs"):
            return self._error("a Git-LFS pointer, not the data. Run `git lfs pull` where it was cloned.")
        found = "an object" if head.startswith("{") else repr(head[:20]) if head else "an empty file"
        return self._error(f"expected a list [...] of users, found {found}.")


def _is_unicode(value: dict[str, Any]) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_constant(text: str) -> float:
    raise _Refused(text, f"holds {text}, which JSON does not have. Write null or a number.")
