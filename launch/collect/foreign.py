"""What lies in a run directory and is not of its layout: somebody's own files, another run's results.

Names are judged alone; what they hold is for a merge or a verification to check.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from launch.rundir.layout import RunPaths

ANY_NUMBER, ANY_NAME, ANY_TOKEN = 1_234_567_890, "NAME", "TOKEN"
"""In a path of the layout: each stands for all that may be there."""
_PATTERNS = {str(ANY_NUMBER): "(?:0|[1-9][0-9]*)", ANY_NAME: r"[^/\n]+", ANY_TOKEN: "[0-9a-f]+"}
PASSING = re.compile(r"\.nfs.*|\.now\..*|\..+\.tmp")
"""What NFS, a look at the file system's clock and a file that was being replaced may leave."""


def foreign_in(run: RunPaths) -> list[str]:
    """Names that are not of the run's layout, in order; one that ends in a slash stands for all below it."""
    return sorted(_foreign_below(run.root, ""))


def _foreign_below(root: Path, below: str) -> Iterator[str]:
    with os.scandir(root / below) as entries:
        for entry in entries:
            name = f"{below}{entry.name}"
            if not entry.is_dir(follow_symlinks=False):
                if not FILES.fullmatch(name) and not PASSING.fullmatch(entry.name):
                    yield name
            elif FOLDERS.fullmatch(name):
                yield from _foreign_below(root, f"{name}/")
            elif not UNSEEN.fullmatch(name):
                yield f"{name}/"


def _paths_of(run: RunPaths) -> Iterator[Path]:
    """Every path of the layout, and what lies in the folders of which it names only themselves."""
    sent, attempt = run.submission(ANY_NUMBER), run.attempt(ANY_NUMBER, ANY_NUMBER, ANY_NUMBER)
    for paths in (run, sent, attempt, attempt.engine(ANY_NUMBER, ANY_NUMBER)):
        for name, value in vars(type(paths)).items():
            if isinstance(value, property):
                yield getattr(paths, name)
    yield from (sent.asking(ANY_NUMBER), sent.claim(ANY_NUMBER, ANY_NUMBER), sent.done(ANY_NUMBER))
    yield from (sent.sbatch(ANY_NAME), run.merge_claim(ANY_NUMBER), run.merge_done(ANY_NUMBER))
    yield from (run.excluded(ANY_NUMBER, ANY_NUMBER), run.shells(ANY_NUMBER, ANY_NUMBER))
    yield run.templates / f"{ANY_NAME}.j2"
    for log in (f"task-{ANY_NUMBER}", f"merge-{ANY_NUMBER}", f"{ANY_NUMBER}_{ANY_NUMBER}"):
        yield run.logs / f"{log}.log"


def _pattern(paths: Iterable[Path]) -> re.Pattern[str]:
    """Of these paths, with anything that may be there for what stands for it."""
    text = "|".join(re.escape(str(path)) for path in paths)
    for stand_in, pattern in _PATTERNS.items():
        text = text.replace(stand_in, pattern)
    return re.compile(text)


_RUN = RunPaths(Path())
_PATHS = set(_paths_of(_RUN))
_PARENTS = {folder for path in _PATHS for folder in path.parents}
FILES, FOLDERS = _pattern(_PATHS - _PARENTS), _pattern(_PARENTS)
UNSEEN = _pattern([_RUN.merge_scratch(ANY_NUMBER), _RUN.partial_submission(ANY_NUMBER, ANY_TOKEN).root])
"""Directories of a submission or a merge that was cut: they may hold any file of it."""
