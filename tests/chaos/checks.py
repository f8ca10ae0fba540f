"""What must hold of a run under fire, looked at from outside: a sentence for each problem."""

import threading
from collections import Counter
from pathlib import Path

import orjson

from launch.collect.manifest import MANIFEST
from launch.collect.verify import verify_published
from launch.errors import LaunchError
from launch.rundir.layout import RunPaths
from launch.rundir.plan import read_index

COMPARED = ("generations.jsonl", "test_leaderboard.json")
LOOK_PERIOD_S = 0.05


def planned_keys(run: RunPaths) -> list[str]:
    """The keys of a run's items, in order."""
    return [key for entry in read_index(run) for key in entry.keys]


def settled_keys(run: RunPaths) -> Counter[str]:
    """How often each key stands in a whole result line of any attempt."""
    found: Counter[str] = Counter()
    for path in run.tasks.glob("*/*/*/*.results.jsonl"):
        lines = path.read_bytes().split(b"\n")[:-1]
        found.update(orjson.loads(line)["key"] for line in lines)
    return found


def num_missing(run: RunPaths) -> int:
    """Items without a whole result line; those being written count as there."""
    return len(set(planned_keys(run)) - set(settled_keys(run)))


def check_publication(run: RunPaths, published: Path, reference: Path | None) -> list[str]:
    """Published whole, every planned item exactly once, and with the bytes of `reference`, if given."""
    if not (published / MANIFEST).is_file():
        return [f"{published.name}: nothing is published"]
    problems = check_whole(published)
    lines = (published / "generations.jsonl").read_bytes().splitlines()
    counts = Counter(orjson.loads(line)["key"] for line in lines)
    planned = planned_keys(run)
    problems += [f"{key}: is lost" for key in planned if key not in counts]
    problems += [f"{key}: is there {count} times" for key, count in counts.items() if count != 1]
    problems += [f"{key}: was never planned" for key in counts.keys() - set(planned)]
    if reference is not None:
        problems += [
            f"{name}: other bytes than an undisturbed run's"
            for name in COMPARED
            if (published / name).read_bytes() != (reference / name).read_bytes()
        ]
    return problems


def num_equal_texts(published: Path, reference: Path) -> int:
    """Items of a publication whose texts, and all else of their lines, are those of another one."""
    if not (published / MANIFEST).is_file():
        return 0
    both = [
        {
            orjson.loads(line)["key"]: line
            for line in (directory / "generations.jsonl").read_bytes().splitlines()
        }
        for directory in (published, reference)
    ]
    return sum(line == both[1].get(key) for key, line in both[0].items())


def check_whole(published: Path) -> list[str]:
    """What is in place is complete and every file is as its manifest says."""
    try:
        report = verify_published(published)
    except LaunchError as error:
        return [f"partial publication: {error}"]
    problems = [f"partial publication: {problem}" for problem in report.problems]
    manifest = report.manifest
    if not manifest.complete or manifest.num_missing or manifest.num_done != manifest.num_items:
        problems.append(f"partial publication: {manifest.num_done} of {manifest.num_items} items are done")
    return problems


class PublicationWatch:
    """Looks at the output directory 20 times a second: whenever it is there it must be whole."""

    def __init__(self, run: RunPaths, published: Path) -> None:
        self._run = run
        self._published = published
        self._seen: set[tuple[int, int]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.problems: list[str] = []

    def __enter__(self) -> "PublicationWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def num_seen(self) -> int:
        """Directories that were in place at some time."""
        return len(self._seen)

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_PERIOD_S):
            self.look()

    def look(self) -> None:
        """Checks what is in place now, each directory once."""
        before = self._identity()
        if before is None or before in self._seen:
            return
        problems = check_whole(self._published)
        if left := num_missing(self._run):
            problems.append(f"published while {left} items are missing")
        if self._identity() == before:  # else it was replaced while it was read
            self._seen.add(before)
            self.problems += problems

    def _identity(self) -> tuple[int, int] | None:
        try:
            entry = self._published.stat()
        except FileNotFoundError:
            return None
        return entry.st_ino, entry.st_mtime_ns
