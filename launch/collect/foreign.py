"""What lies in a run directory and is not of its layout: somebody's own files, another run's results.

Names are judged alone; what they hold is for a merge or a verification to check.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launch.rundir.layout import RunPaths

NUMBER = r"(0|[1-9][0-9]*)"
PASSING = re.compile(r"\.nfs.*|\.now\..*|\..+\.tmp")
"""What NFS, a look at the file system's clock and a file that was being replaced may leave."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The names of a directory of ours: a pattern for its files, and one for each kind of folder in it."""

    files: str = ""
    folders: Mapping[str, "Folder"] = field(default_factory=dict)


ANYTHING = Folder()
"""Not looked into."""
ATTEMPT = Folder(
    r"attempt\.json|events\.jsonl|gpu\.jsonl|heartbeat|ended\.json"
    rf"|{NUMBER}\.{NUMBER}\.(engine\.json|results\.jsonl|commits\.jsonl|flight\.json|log)"
)
TASK = Folder(r"exclude|shells\.jsonl", {NUMBER: ATTEMPT})
SUBMISSION = Folder(
    r"submission\.yaml|chunks\.jsonl|jobs\.jsonl|rounds\.jsonl|sender\.json|driver\.json|limits\.json"
    rf"|squeue\.json|squeue\.{NUMBER}|.+\.sbatch",
    {"claims": Folder(rf"{NUMBER}\.({NUMBER}|done)")},
)
RUN = Folder(
    r"run\.yaml|maker\.json|canary\.json",
    {
        "templates": Folder(r".+\.j2"),
        "plan": Folder(r"users\.jsonl|history\.jsonl|index\.jsonl|plan\.json"),
        "submissions": Folder("", {NUMBER: SUBMISSION, rf"\.{NUMBER}\.[0-9a-f]+": ANYTHING}),
        "tasks": Folder("", {NUMBER: Folder("", {NUMBER: TASK})}),
        "merge": Folder(
            rf"{NUMBER}(\.done)?|lives\.json|damaged\.jsonl|published\.json",
            {rf"{NUMBER}\.scratch": ANYTHING},
        ),
        "logs": Folder(rf"(task-{NUMBER}|merge-{NUMBER}|{NUMBER}_{NUMBER})\.log"),
    },
)
"""Every name of rundir/layout.py; a directory of a submission that was cut, or of a merge, may hold any."""


def foreign_in(run: RunPaths) -> list[str]:
    """Names that are not of the run's layout, in order; one that ends in a slash stands for all below it."""
    return sorted(_foreign_below(run.root, "", RUN))


def _foreign_below(root: Path, below: str, layout: Folder) -> Iterator[str]:
    with os.scandir(root / below) as entries:
        for entry in entries:
            name = f"{below}{entry.name}"
            if not entry.is_dir(follow_symlinks=False):
                known = re.fullmatch(layout.files, entry.name) or PASSING.fullmatch(entry.name)
                yield from () if known else [name]
                continue
            inner = next(
                (each for key, each in layout.folders.items() if re.fullmatch(key, entry.name)), None
            )
            if inner is None:
                yield f"{name}/"
            elif inner is not ANYTHING:
                yield from _foreign_below(root, f"{name}/", inner)
