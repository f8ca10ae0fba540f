"""Profiles and personalities as lines that a model reads well: nested objects become an indented list.

Deterministic: the order is the record's own. Left out: null, true, false, empty text, empty lists and
objects.
"""

from collections.abc import Iterator, Mapping
from typing import Any

INDENT = "  "


def readable(value: object) -> str:
    """An object or list as lines `- name: value`, nested ones indented; underscores in names become spaces.

    {"score": 65, "description": "calm"} is written `65 (calm)`; numbers with at most two decimals.
    """
    return "\n".join(_lines(value, 0))


def _lines(value: object, depth: int) -> Iterator[str]:
    indent = INDENT * depth
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _named_lines(str(name).replace("_", " ").strip(), part, depth)
    elif isinstance(value, list):
        for part in value:
            text = _short(part)
            if text:
                yield f"{indent}- {text}"
            elif text is None:
                yield from _lines(part, depth)
    elif text := _short(value):
        yield f"{indent}{text}"


def _named_lines(name: str, part: object, depth: int) -> Iterator[str]:
    indent = INDENT * depth
    text = _short(part)
    if text:
        yield f"{indent}- {name}: {text}"
    elif text is None and (nested := list(_lines(part, depth + 1))):
        yield f"{indent}- {name}:"
        yield from nested


def _short(value: object) -> str | None:
    """What fits behind a name; "" for nothing to say; None for what needs lines of its own."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 1e9 else repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping) and "score" in value and set(value) <= {"score", "description"}:
        return _scored(value)
    if isinstance(value, list):
        parts = [_short(part) for part in value]
        if None not in parts:
            return ", ".join(part for part in parts if part)
    return None


def _scored(value: Mapping[str, Any]) -> str | None:
    score, description = _short(value["score"]), _short(value.get("description"))
    if score is None or description is None:
        return None
    return f"{score} ({description})" if score and description else score or description
