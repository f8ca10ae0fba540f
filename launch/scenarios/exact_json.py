"""JSON as the standard library reads and writes it, by orjson wherever that gives the same.

A record keeps what its file held: integers of any size, and doubles as Python writes them. orjson reads long
integers as doubles and writes 1e-7 where Python writes 1e-07; all else it writes alike, several times faster.
So a text that orjson reads and writes back byte for byte is left to it, with everything that is made of its
parts and of strings and small integers; any other goes through the standard library.
"""

import json
from collections.abc import Callable
from typing import Any

import orjson

Dump = Callable[[Any], bytes]


def load_exactly(text: bytes) -> tuple[Any, Dump]:
    """The value of a text that `dump_exactly` wrote, and what writes such a value as `dump_exactly` does."""
    try:
        value = orjson.loads(text)
        if orjson.dumps(value) == text:
            return value, orjson.dumps
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # nested deeper than orjson goes
        pass
    return json.loads(text), dump_exactly


def dump_exactly(value: Any) -> bytes:
    """Compact JSON in UTF-8, by the standard library alone; ValueError for what is no JSON (NaN)."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
