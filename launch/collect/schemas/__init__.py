"""JSON Schemas of the published files, of those made later, and of what `compare --json` says.

That of a .jsonl file is of one line.
"""

from functools import cache
from pathlib import Path
from typing import Any

import orjson

NAMES = (
    "test_leaderboard",
    "user",
    "generations",
    "provenance",
    "inference_summary",
    "manifest",
    "scores",
    "item_scores",
    "comparison",
    "leaderboard",
    "timeline",
)


@cache
def read_schema(name: str) -> dict[str, Any]:
    """The schema of a file by its stem, `user` for those below users/, or `comparison`."""
    schema: dict[str, Any] = orjson.loads(Path(__file__).with_name(f"{name}.schema.json").read_bytes())
    return schema
