"""What a killed process left while it made a run: `.<name>.<8 hex digits>` beside where the run would lie.

The maker's mark is in it until just before it is renamed, so that another process can tell.
"""

import re
import shutil
import time
from pathlib import Path

from launch.rundir.journal import read_json, write_json
from launch.rundir.layout import RunPaths
from launch.rundir.process_mark import mark_process, read_mark

OLD_S = 24 * 3600
"""Nothing is made for so long: whoever made it is dead, where no mark can be asked."""
_NAME = re.compile(r"\.[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.[0-9a-f]{8}")


def mark_maker(partial: RunPaths) -> None:
    """Says in a directory that this process makes a run in it."""
    write_json(partial.maker, mark_process().as_json())


def unmark_maker(partial: RunPaths) -> None:
    """Takes that out of the whole run."""
    partial.maker.unlink()


def remove_leftovers(folder: Path) -> None:
    """Removes from a directory of runs what dead processes left there, where it can; nothing else."""
    try:
        paths = list(folder.iterdir())
    except OSError:  # not there yet, or not to be read: refused where it matters
        return
    for path in paths:
        if _NAME.fullmatch(path.name) and _is_left(RunPaths(path)):
            shutil.rmtree(path, ignore_errors=True)


def _is_left(partial: RunPaths) -> bool:
    """Whether this is the beginning of a run whose maker is dead."""
    begun = {partial.maker, partial.templates, partial.users.parent, partial.run_yaml}
    try:
        found = {path for path in partial.root.iterdir() if path.suffix != ".tmp"}
        age_s = time.time() - partial.root.lstat().st_mtime
        maker = read_mark(read_json(partial.maker))
    except OSError:  # removed just now, no directory, or not for us to read
        return False
    if not found or not found <= begun:
        return False
    if maker is not None and maker.is_from_here:
        return maker.is_gone
    return age_s > OLD_S
