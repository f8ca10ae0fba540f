"""The JSON Schemas of leaderboard.json and timeline.json, out of their models; `make schema` writes them."""

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from launch.collect import schemas
from launch.collect.leaderboard.record import Leaderboard
from launch.collect.run_page.timeline_record import Timeline

MODELS: dict[str, tuple[type[BaseModel], str]] = {
    "leaderboard": (
        Leaderboard,
        "every published run of a folder, and which of them are ranked beside which",
    ),
    "timeline": (Timeline, "what a run page shows that only the run directory has"),
}


def path_of(name: str) -> Path:
    """Where the schema of a file lies, by the file's stem."""
    return Path(schemas.__file__).with_name(f"{name}.schema.json")


def schema_text(name: str) -> str:
    """What the file holds; a test keeps it so."""
    model, means = MODELS[name]
    schema = model.model_json_schema(mode="serialization")
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | schema | {"title": f"{name}.json: {means}"}, indent=2) + "\n"


def main() -> int:
    """Writes the files."""
    for name in MODELS:
        path_of(name).write_text(schema_text(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
