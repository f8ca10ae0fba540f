"""What a run's first items may look like, and where and how its results are published."""

from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field

from launch.config.sections.base import AsPath, Number, Section


class CanaryAction(StrEnum):
    """What happens when the first items of a run do not look right."""

    NONE = "none"
    WARN = "warn"
    STOP = "stop"


Share = Annotated[Number, Field(ge=0, le=1)]


class CanaryConfig(Section):
    """May change on resume: what the first items of a run may look like; a limit that is null is none."""

    action: Annotated[CanaryAction, Field(strict=False)] = Field(
        default=CanaryAction.WARN, description="none, warn, or stop: what a rate over its limit brings."
    )
    num_items: Annotated[int, Field(ge=1)] = Field(
        default=200, description="Items that are judged, the first that all engines of a run finish together."
    )
    max_empty_rate: Share | None = Field(default=0.2, description="Of samples without text.")
    max_cut_rate: Share | None = Field(default=0.98, description="Of samples that end at max_tokens.")
    max_duplicate_rate: Share | None = Field(
        default=0.9, description="Of samples whose text an earlier one has, over all items."
    )
    max_trimmed_rate: Share | None = Field(
        default=0.5, description="Of items whose prompt lost history or context to fit."
    )


class UserFiles(StrEnum):
    """How the files of single users are published."""

    AUTO = "auto"
    FILES = "files"
    ARCHIVE = "archive"
    NONE = "none"


def _user_files(value: object) -> object:
    """`true` and `false`, as presets and submissions had it before: a file a user, or nothing."""
    if isinstance(value, bool):
        return UserFiles.FILES if value else UserFiles.NONE
    return value


AsUserFiles = Annotated[UserFiles, Field(strict=False), BeforeValidator(_user_files)]


class PublishConfig(Section):
    """May change on resume: where and how results are published."""

    output_dir: AsPath | None = Field(
        default=None, description="The published directory; outputs/leaderboards/<run name> unless set."
    )
    max_failed_items: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Publish although up to this many items failed; they are marked in every file."
    )
    allow_missing: bool = Field(
        default=False, description="Publish although items are missing; they are marked in every file."
    )
    references: AsPath | None = Field(
        default=None,
        description="File of true continuations to score against; the scenario's own unless set.",
    )
    user_files: AsUserFiles = Field(
        default=UserFiles.AUTO,
        description="files: users/<name>.json; archive: users.zip; none; auto: files up to 1,000 users.",
    )
