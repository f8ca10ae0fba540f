"""Finds a Hugging Face hub id in the cache on this machine's disks; nothing is downloaded.

huggingface_hub comes with tokenizers and reads its own cache. It takes 0.2 s to import, and only an id needs
it.
"""

import re
from pathlib import Path

from launch.errors import CheckpointError

NAME = r"\w(?:[\w.-]{0,94}\w)?"
HUB_ID = re.compile(rf"(?P<repo>{NAME}/{NAME})(?:@(?P<revision>\S+))?", re.ASCII)
NEVER_IN_A_NAME = re.compile(r"--|\.\.|\.git$")
CACHE_VARIABLES = "HF_HUB_CACHE, HF_HOME"


def is_hub_id(text: str) -> bool:
    """Whether it is written like `org/name` or `org/name@revision`, by the rules of huggingface_hub.

    `models/models--org--name`, a directory of its cache, is none: it raises HFValidationError for that.
    """
    asked = HUB_ID.fullmatch(text)
    return asked is not None and not NEVER_IN_A_NAME.search(asked["repo"])


def find_snapshot(hub_id: str, cache: Path | None = None) -> Path | None:
    """The snapshot directory of `hub_id` in `cache` (hub_cache() unless given); None when it is not there.

    A revision is a branch, a tag or a whole commit; without one it is `main`. What the snapshot holds is not
    looked at.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = HUB_ID.fullmatch(hub_id)
    assert asked is not None, f"{hub_id} is no hub id"
    try:
        found = snapshot_download(
            asked["repo"], revision=asked["revision"], cache_dir=cache or hub_cache(), local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None
    return Path(found).absolute()


def hub_cache() -> Path:
    """The cache that HF_HUB_CACHE, HF_HOME or XDG_CACHE_HOME name, else ~/.cache/huggingface/hub."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def not_in_cache(hub_id: str) -> CheckpointError:
    """The error for what is neither a directory nor in the cache."""
    asked = HUB_ID.fullmatch(hub_id)
    assert asked is not None, f"{hub_id} is no hub id"
    revision = f" --revision {asked['revision']}" if asked["revision"] else ""
    return CheckpointError(
        f"{hub_id}: there is no such directory. If it is a Hugging Face hub id, download it first:"
        f" `hf download {asked['repo']}{revision}`; nodes do not reach the hub. Looked in"
        f" {hub_cache()} ({CACHE_VARIABLES})."
    )
