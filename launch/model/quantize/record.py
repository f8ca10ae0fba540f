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


def read_record(checkpoint: Path) -> dict[str, Any]:
    """The record of a checkpoint that `quantize` made; CheckpointError when it is not readable."""
    return read_json_object(checkpoint / RECORD)
