"""Words for messages of one line: the nearest name, a list, a value as it was found."""

from collections.abc import Iterable
from difflib import get_close_matches

YAML_NAMES = {None: "null", True: "true", False: "false"}


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
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


def printable(text: str) -> str:
    """The text with `\\UXXXXXXXX` for every character that is not printable."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else f"\\U{ord(each):08X}" for each in text)
