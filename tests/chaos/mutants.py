"""vllm-launch without one of its checks, and the situation in which that check saves a publication."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launch.rundir.layout import RunPaths
from tests.chaos.checks import PublicationWatch, check_publication
from tests.collect.builders import make_generations, published, write_results
from tests.runs import REPOSITORY


@dataclass(frozen=True, slots=True)
class Mutant:
    """Texts of one module of `launch` and what they are replaced by; each occurs exactly once."""

    module: str
    replaced: tuple[tuple[str, str], ...]
    prepare: Callable[[RunPaths], None]
    """Brings a run into the situation: a part of its results, as kills may leave them."""


def copy_code(directory: Path, mutant: Mutant | None) -> Path:
    """A folder for PYTHONPATH: `launch` as it is, or as the mutant has it."""
    shutil.copytree(REPOSITORY / "launch", directory / "launch", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("configs", "templates"):
        (directory / name).symlink_to(REPOSITORY / name)
    if mutant is not None:
        path = directory / "launch" / mutant.module
        text = path.read_text()
        for before, after in mutant.replaced:
            assert text.count(before) == 1, f"{mutant.module}: {before!r} is there {text.count(before)} times"
            text = text.replace(before, after)
        path.write_text(text)
    return directory


def bring_through(run: RunPaths, code: Path, reference: Path) -> list[str]:
    """Merges with that code, as often as a user would; what the checks of a campaign find."""
    watch = PublicationWatch(run, published(run))
    merge(run, code)
    watch.look()
    write_results(run, make_generations(run), task=1)  # the next submission, which generates what is missing
    merge(run, code)
    watch.look()
    return watch.problems + check_publication(run, published(run), reference)


def merge(run: RunPaths, code: Path) -> None:
    """`vllm-launch merge` with that code; what it says is no matter, what it publishes is."""
    environment = {**os.environ, "PYTHONPATH": str(code)}
    words = [sys.executable, "-m", "launch.cli.app", "merge", str(run.root)]
    subprocess.run(words, cwd=code, env=environment, capture_output=True, check=False)


def _leave_torn_line(run: RunPaths) -> None:
    """A kill in the middle of a write: the last line has no end and no commit."""
    generations = make_generations(run)
    paths = write_results(run, generations[:-3]).paths(run)
    first = paths.results.read_bytes().splitlines(keepends=True)[0]
    with paths.results.open("ab") as results:
        results.write(first[: len(first) // 2])


def _leave_damaged_line(run: RunPaths) -> None:
    """Blocks of a file that a lost node never wrote: a committed line has other bytes."""
    paths = write_results(run, make_generations(run)).paths(run)
    data = paths.results.read_bytes()
    assert data.count(b"text 0.0") == 1
    paths.results.write_bytes(data.replace(b"text 0.0", b"test 0.0"))


def _leave_duplicates(run: RunPaths) -> None:
    """Two attempts generated the same items: the first was killed before it marked its chunk."""
    generations = make_generations(run)
    write_results(run, generations[:5], task=0)
    write_results(run, generations[3:], task=1)


def _leave_missing(run: RunPaths) -> None:
    """A merge comes while items are missing."""
    write_results(run, make_generations(run)[:5])


CHOOSE = "line, row = _choose(key, digest, lines, starts, check, findings)"
MUTANTS = {
    "no torn-line check": Mutant(
        "rundir/results.py",
        (
            ('if offset > end or not line.endswith(b"\\n"):', "if offset > end:"),
            (
                "    try:\n        row = orjson.loads(line)\n"
                "    except orjson.JSONDecodeError:\n        return None\n",
                "    row = orjson.loads(line)\n",
            ),
        ),
        _leave_torn_line,
    ),
    "no crc32 check": Mutant(
        "collect/verify.py",
        (("if zlib.crc32(line.data) != line.crc32:", "if not line.data:"),),
        _leave_damaged_line,
    ),
    "no duplicate check": Mutant(
        "collect/outcomes.py",
        (
            (
                CHOOSE,
                "each = [_choose(key, digest, [line], starts, check, findings) for line in lines]\n"
                "                outcomes += [Outcome(item, key, place, *one) for one in each[1:]]\n"
                "                line, row = each[0]",
            ),
        ),
        _leave_duplicates,
    ),
    "no missing check": Mutant(
        "collect/incomplete.py",
        (("missing = bool(tally.missing) and not publish.allow_missing", "missing = False"),),
        _leave_missing,
    ),
}
