"""quantization_recipe.json: how a quantised checkpoint was made, enough to make it again."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import launch
from launch.model.checkpoint import Checkpoint
from launch.model.quantize.schemes import Scheme
from launch.model.weights import read_json_object

RECORD = "quantization_recipe.json"


def describe(original: Checkpoint, scheme: Scheme, versions: Mapping[str, str]) -> dict[str, Any]:
    """What is known before the recipe runs; it adds group size, modifier, layers, device and seconds."""
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "vllm_launch": launch.__version__,
        "scheme": scheme.value,
        "meaning": scheme.meaning,
        "versions": dict(versions),
        "source": {"path": str(original.path), "digest": original.digest},
    }


def made_otherwise(before: Mapping[str, Any], now: Mapping[str, Any], group_size: int | None) -> str | None:
    """How a checkpoint was made, in a few words, if not as is asked for now; else None.

    `now` is as `describe` has it, with `calibration`; `group_size` None leaves it to the recipe.
    """
    asked = {"scheme": now["scheme"], "source": now["source"]["digest"], "calibration": _prompts(now)}
    made = {"scheme": before.get("scheme"), "source": _source(before), "calibration": _prompts(before)}
    if group_size is not None:
        asked["group size"], made["group size"] = group_size, before.get("group_size")
    named = {"source": "another original", "calibration": "other calibration prompts"}
    for name, value in asked.items():
        if made[name] != value:
            return f"from {named[name]}" if name in named else f"with {name} {made[name]}, asked for {value}"
    return None


def _source(record: Mapping[str, Any]) -> str | None:
    source = record.get("source")
    return source.get("digest") if isinstance(source, dict) else None


def _prompts(record: Mapping[str, Any]) -> str | None:
    calibration = record.get("calibration")
    return calibration.get("digest") if isinstance(calibration, dict) else None


def read_record(checkpoint: Path) -> dict[str, Any]:
    """The record of a checkpoint that `quantize` made; CheckpointError when it is not readable."""
    return read_json_object(checkpoint / RECORD)
