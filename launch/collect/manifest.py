"""manifest.json of a published directory: whose results, whether complete, and every file's digest."""

from pathlib import Path
from typing import Literal

import orjson
from pydantic import Field, ValidationError

import launch
from launch.config.schema import Section
from launch.config.wording import printable
from launch.errors import RunError
from launch.rundir.journal import read_whole
from launch.rundir.records import CodeVersion, Subset

MANIFEST = "manifest.json"
LEADERBOARD_FILE = "test_leaderboard.json"
GENERATIONS_FILE = "generations.jsonl"
PROVENANCE_FILE = "provenance.jsonl"
SUMMARY_FILE = "inference_summary.json"
SCORES_FILE = "scores.json"
ITEM_SCORES_FILE = "item_scores.jsonl"
SCORES_SCRATCH = ".item_scores.jsonl."
"""Made after publication (collect/scoring/record.py), so no manifest names these."""
RUN_PAGE_FILE = "run.html"
TIMELINE_FILE = "timeline.json"
PLOTLY_FILE = "plotly.min.js"
"""Made after publication as well (collect/run_page/); the last lies in the folder above where it may."""
FORMAT = "vllm-launch/1"


class FileDigest(Section):
    """One published file."""

    sha256: str
    bytes: int
    lines: int = Field(description="Lines; of users.zip its members, which have one each.")


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
    sources_digest: str = Field(
        description="Over the run, names and sizes of the result files that were merged."
    )
    num_users: int
    num_items: int
    num_done: int
    num_failed: int
    num_missing: int
    failed_items: tuple[FailedItem, ...] = Field(strict=False)
    missing_items: tuple[str, ...] = Field(strict=False)
    files: dict[str, FileDigest]


def unlisted(output_dir: Path, manifest: Manifest) -> list[str]:
    """Files below a published directory that its manifest does not name, in order of name.

    Scores and the run's page come later and are ours. A link is a file, wherever it leads, unless it stands
    for a directory of ours. NFS keeps a removed file that is still open as .nfs<number>; that is nobody's.
    """
    below = (path for path in output_dir.rglob("*") if path.is_symlink() or not path.is_dir())
    found = {str(path.relative_to(output_dir)) for path in below}
    later = (SCORES_FILE, ITEM_SCORES_FILE, RUN_PAGE_FILE, TIMELINE_FILE, PLOTLY_FILE)
    folders = (name.rpartition("/")[0] for name in manifest.files)
    ours = {*manifest.files, *folders, MANIFEST, *later}
    scratch = (SCORES_SCRATCH, *(f".{name}." for name in later))
    others = (name for name in found - ours if not name.startswith(scratch))
    return sorted(name for name in others if not name.rpartition("/")[2].startswith(".nfs"))


def read_published(output_dir: Path) -> Manifest | None:
    """The manifest of a published directory; None when it holds none, RunError when it is not readable."""
    path = output_dir / MANIFEST
    try:
        value = orjson.loads(read_whole(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (orjson.JSONDecodeError, IsADirectoryError):
        raise RunError(
            f"{path}: no JSON; it was changed after publishing. Move the directory away."
        ) from None
    form = value.get("format") if isinstance(value, dict) else None
    if isinstance(form, str) and form != FORMAT:
        raise RunError(
            f"{path}: is of format {printable(form)}; vllm-launch {launch.__version__} knows {FORMAT}. Use"
            " the vllm-launch that published it, or move the directory away."
        )
    try:
        return Manifest.model_validate(value)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise RunError(
            f"{path}: {where or 'manifest'}: {error.errors()[0]['msg']}; it was changed after publishing, or"
            " is another version's. Move the directory away."
        ) from None
