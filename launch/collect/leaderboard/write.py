"""Writes the leaderboard of a folder, so that merges which publish beside each other lose nobody's run.

Each file is replaced whole. Whoever wrote looks again afterwards: where something was published meanwhile,
it writes once more. So the last writing is of a state that did not change until it was done, and what is
published later writes again itself.
"""

from collections.abc import Sequence
from pathlib import Path

import orjson

from launch.collect.leaderboard.boards import with_boards
from launch.collect.leaderboard.csv_table import as_csv
from launch.collect.leaderboard.folder import directories_in, read_directories, signs_of
from launch.collect.leaderboard.page import as_page
from launch.collect.leaderboard.record import FORMAT, INDEX, LEADERBOARD, TABLE, Leaderboard
from launch.errors import RunError
from launch.rundir.journal import read_json, write_bytes
from launch.rundir.storage_errors import storage_errors

MAX_ROUNDS = 20
GENERATOR = b'<meta name="generator" content="vllm-launch leaderboard">'
"""By this an index.html is known as ours."""


def write_leaderboard(folder: Path, directories: Sequence[Path] | None = None) -> Leaderboard:
    """Writes leaderboard.json, leaderboard.csv and index.html into `folder`; what stands in them.

    Of the published directories in the folder, or of `directories`. RunError when the folder has a file of
    one of these names that is not ours: nothing is written then.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _refuse_others_files(folder)
    for _ in range(MAX_ROUNDS):
        chosen = directories_in(folder) if directories is None else sorted(directories)
        signs = signs_of(chosen)
        leaderboard = make_leaderboard(chosen, folder)
        _write(folder, leaderboard)
        again = directories_in(folder) if directories is None else chosen
        if signs_of(again) == signs:
            break
    return leaderboard


def make_leaderboard(directories: Sequence[Path], folder: Path) -> Leaderboard:
    """The leaderboard of directories, as it would stand in `folder`; writes nothing."""
    found = read_directories(directories, folder)
    entries, boards = with_boards(found.entries)
    return Leaderboard(boards=boards, entries=entries, left_out=found.left_out)


def as_json(leaderboard: Leaderboard) -> bytes:
    """leaderboard.json."""
    value = leaderboard.model_dump(mode="json")
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _write(folder: Path, leaderboard: Leaderboard) -> None:
    files = {LEADERBOARD: as_json(leaderboard), TABLE: as_csv(leaderboard), INDEX: as_page(leaderboard)}
    for name, data in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != data:
            write_bytes(path, data)


def _refuse_others_files(folder: Path) -> None:
    """leaderboard.json says whose the three are: without it the others must not be there, or be ours."""
    record = read_json(folder / LEADERBOARD)
    is_ours = record is not None and record.get("format") == FORMAT
    with storage_errors(folder):
        for name in (LEADERBOARD, TABLE, INDEX):
            path = folder / name
            if path.exists() and not is_ours and not _is_our_page(path):
                raise RunError(
                    f"{path}: is not of vllm-launch's making; nothing was written. Move it away, or choose"
                    " another folder."
                )


def _is_our_page(path: Path) -> bool:
    return path.is_file() and GENERATOR in path.read_bytes()[:4096]
