"""Words for messages of one line: the nearest name, a list, a value as it was found."""

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches

import orjson

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles, links
    r"|\x1b[PX^_][^\x1b]*\x1b\\"  # strings to a device
    r"|\x1b[ -/]*[0-~]"  # other escapes of two or three characters
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
_NOT_ASCII = re.compile(r"[^\x20-\x7e\n]")
YAML_NAMES = {None: "null", True: "true", False: "false"}


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name most like `name`, if any is."""
    by_folded = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(name.lower(), by_folded, n=1, cutoff=cutoff)
    return by_folded[close[0]] if close else None


def listed(names: Iterable[str], joint: str = "or") -> str:
    """`a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} {joint} {last}" if others else last


def found(value: object) -> str:
    """A value as YAML or a shell would have it, in one line and no longer than 60 characters."""
    text = YAML_NAMES[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def interval(low: float | None, high: float | None, decimals: int, otherwise: str = "no interval") -> str:
    """`-1.2 to 3.4`; something else where there is none."""
    if low is None or high is None:
        return otherwise
    return f"{low:,.{decimals}f} to {high:,.{decimals}f}"


def duration(seconds: float, decimals: int = 0) -> str:
    """`42 s`, `12 min`, `3 h 20 min`, `2 d 4 h`: rounded, two units at most, none of them 0.

    `decimals` are those of seconds, which are told below a minute and a half.
    """
    if seconds < 90:
        return f"{seconds:.{decimals}f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return _two_units(minutes, 60, "h", "min")
    return _two_units(round(minutes / 60), 24, "d", "h")


def _two_units(count: int, size: int, large: str, small: str) -> str:
    whole, rest = divmod(count, size)
    return f"{whole:,} {large} {rest} {small}" if rest else f"{whole:,} {large}"


def printable(text: str) -> str:
    """The text with `\\UXXXXXXXX` for every character that is not printable."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else f"\\U{ord(each):08X}" for each in text)


def spelled(text: str, keep: str = "") -> str:
    """The text with every character that is not printable as Python writes it, but for those of `keep`."""
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)


def log_line(text: str, limit: int = 1000) -> str:
    """One line of a log or of another's message as a terminal may have it, at most `limit` characters.

    Escape sequences (colours, titles, cursor: ECMA-48) are left out whole, of what a carriage return wrote
    over only the last is kept, as a terminal shows it, a tab is four blanks, and what is still not printable
    (a lone escape, NUL, marks that turn the direction of text) is shown by `printable`. A longer line is
    cut and says so.
    """
    head = text[: 8 * limit].rstrip("\r\n")  # what follows may be megabytes
    shown = printable(_ESCAPES.sub("", head).rpartition("\r")[2].replace("\t", "    "))
    if len(shown) <= limit and len(text) <= 8 * limit:
        return shown
    return f"{shown[:limit]}... (a line of over {limit:,} characters)"


def json_text(value: object) -> str:
    """JSON for a terminal or a program: what is not printable stands as `\\uXXXX` in its strings.

    So do the bytes of a path that is no UTF-8, as Python has them: `\\udcff`.
    """
    try:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except TypeError:  # orjson knows no half of a surrogate pair
        text = json.dumps(value, ensure_ascii=False, indent=2)
    return _NOT_ASCII.sub(lambda found: _escaped(found.group()), text)


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    return json.dumps(char)[1:-1]  # beyond the basic plane two escapes
