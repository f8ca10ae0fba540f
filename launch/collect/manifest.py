"""manifest.json of a published directory: whose results, whether complete, and every file's digest."""

from pathlib import Path
from typing import Literal

import orjson
from pydantic import Field, ValidationError

from launch.config.schema import Section
from launch.errors import RunError
from launch.rundir.records import CodeVersion, Subset

MANIFEST = "manifest.json"


class FileDigest(Section):
    """One published file."""

    sha256: str
    bytes: int
    lines: int


class FailedItem(Section):
    """An item that failed for good: published with empty `continuations`."""

    key: str
    failure_class: str
    message: str


class Manifest(Section):
    """manifest.json, written last: a directory without it was never published."""

    format: Literal["vllm-launch/1"] = "vllm-launch/1"
    run_id: str
    published: str = Field(description="Time, UTC.")
    complete: bool = Field(description="Whether every item has its samples.")
    engine: str
    stub: bool = Field(description="Whether the texts come from the stub engine and not from a model.")
    subset: Subset | None = Field(description="How --limit-users and --limit-items cut the scenario.")
    identity_digest: str
    settings_digest: str
    checkpoint_digest: str
    scenario_digest: str
    code: CodeVersion
    sources_digest: str = Field(description="Over names and sizes of the result files that were merged.")
    num_users: int
    num_items: int
    num_done: int
    num_failed: int
    num_missing: int
    failed_items: tuple[FailedItem, ...] = Field(strict=False)
    missing_items: tuple[str, ...] = Field(strict=False)
    files: dict[str, FileDigest]


def read_published(output_dir: Path) -> Manifest | None:
    """The manifest of a published directory; None when it holds none, RunError when it is not readable."""
    path = output_dir / MANIFEST
    try:
        value = orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except orjson.JSONDecodeError:
        raise RunError(
            f"{path}: no JSON; it was changed after publishing. Move the directory away."
        ) from None
    try:
        return Manifest.model_validate(value)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise RunError(
            f"{path}: {where}: {error.errors()[0]['msg']}; it is no manifest of this version of"
            " vllm-launch. Move the directory away."
        ) from None
