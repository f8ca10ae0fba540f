"""JSON Schemas of preset and cluster files, for editors: configs/schema.json, configs/clusters/schema.json.

`python -m launch.config.json_schema` writes them; with --check it only says whether they are up to date.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from launch.config.schema import ResourcesConfig, RunConfig
from launch.config.shipped import shipped, shown
from launch.errors import ExitCode

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DESCRIPTION = {"type": "string", "minLength": 1, "description": "One line of meaning."}
EXTENDS = {"type": "string", "minLength": 1, "description": "A preset's name, or a file beside this one."}


def schema_texts() -> dict[Path, str]:
    """The text of each schema file, by path."""
    preset = _schema(RunConfig, "A preset of vllm-launch", {"extends": EXTENDS})
    cluster = _schema(ResourcesConfig, "A cluster file of vllm-launch: the section resources", {})
    return {
        shipped("configs", "schema.json"): _text(preset),
        shipped("configs", "clusters", "schema.json"): _text(cluster),
    }


def main(arguments: list[str]) -> int:
    """Writes the files, or with --check exits 3 when one differs."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m launch.config.json_schema [--check]", file=sys.stderr)
        return ExitCode.USER
    stale = [path for path, text in schema_texts().items() if not path.is_file() or path.read_text() != text]
    if arguments:
        for path in stale:
            print(f"{shown(path)}: out of date. Run python -m launch.config.json_schema.", file=sys.stderr)
        return ExitCode.INCOMPLETE if stale else ExitCode.OK
    for path in stale:
        path.write_text(schema_texts()[path])
        print(f"wrote {shown(path)}")
    return ExitCode.OK


def _schema(model: type[BaseModel], title: str, own: dict[str, Any]) -> dict[str, Any]:
    schema = model.model_json_schema()
    schema["$defs"] = {name: _without_titles(each) for name, each in schema.get("$defs", {}).items()}
    properties = {"description": DESCRIPTION} | own | _without_titles(schema)["properties"]
    return {"$schema": DIALECT} | schema | {"title": title, "properties": properties}


def _without_titles(schema: dict[str, Any]) -> dict[str, Any]:
    """Without pydantic's titles, and without the defaults of whole sections, which are their keys' own."""
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
        if isinstance(field.get("default"), dict) and "$ref" in field:
            field.pop("default")
    return schema


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
