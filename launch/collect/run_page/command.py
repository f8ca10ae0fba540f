"""The command that asks for the same again: every setting of a run's identity, whatever presets say now."""

import json
import shlex
from typing import Any

import orjson

from launch.config.load import parse_value
from launch.config.trees import leaf_values
from launch.errors import ConfigError
from launch.rundir.records import RunRecord

SECTIONS = ("model", "data", "prompt", "sampling")


def submit_command(record: RunRecord) -> str:
    """A line for a shell; engine and resources are those of preset and cluster when it is used."""
    words = ["vllm-launch", "submit", "--preset", record.preset]
    for section in SECTIONS:
        for name, value in leaf_values(section, getattr(record, section).model_dump(mode="json")):
            words += ["--set", f"{name}={_as_yaml(value)}"]
    return shlex.join(words)


def _as_yaml(value: Any) -> str:
    """A text as it is where YAML reads it as that text; JSON otherwise, which is YAML too.

    A page shows what is not printable by number, so such characters are escaped here.
    """
    if isinstance(value, str):
        try:
            if value.isprintable() and value and parse_value(value, "") == value:
                return value
        except ConfigError:
            pass
    text = orjson.dumps(value).decode()
    return text if text.isprintable() else json.dumps(value)
