"""Claims: who works on which chunk. A claim is a file made with O_EXCL; nothing is renamed or removed.

`<chunk>.<n>` holds the owner of the n-th claim; the highest n holds the chunk. Breaking a dead owner's claim
is making n+1. `<chunk>.done` says that all items of the chunk are settled and durable. The owner of a shard
takes its chunks from the front; who has none left helps the shard with most work open, from its back.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from launch.rundir.attempts import filesystem_now
from launch.rundir.chunks import ChunkLine
from launch.rundir.journal import storage_errors, write_all
from launch.rundir.layout import RunPaths, SubmissionPaths
from launch.rundir.records import SubmissionRecord

EMPTY_CLAIM_S = 60


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a claim: an engine start, and the job and host it runs in."""

    task: int
    attempt: int
    slot: int
    start: int
    job: str | None
    host: str
    pid: int


@dataclass(slots=True)
class Survey:
    """The names in a claims directory at one moment: highest claim per chunk, and the chunks done."""

    highest: dict[int, int] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Held:
    """A chunk just claimed, and those who held it before and may have settled some of its items."""

    chunk: ChunkLine
    earlier: tuple[Owner, ...]


def survey_claims(paths: SubmissionPaths) -> Survey:
    """Reads names only; one directory listing."""
    survey = Survey()
    for entry in os.scandir(paths.claims):
        chunk, _, suffix = entry.name.partition(".")
        if not chunk.isdecimal():
            continue
        if suffix == "done":
            survey.done.add(int(chunk))
        elif suffix.isdecimal():
            number = int(chunk)
            survey.highest[number] = max(int(suffix), survey.highest.get(number, 0))
    return survey


def is_all_done(run: RunPaths, sent: SubmissionRecord) -> bool:
    """Whether every chunk of a submission is done, by the names in its claims directory."""
    return len(survey_claims(run.submission(sent.submission)).done) >= sent.num_chunks


class ClaimBook:
    """The claims of one submission as one engine process sees and makes them."""

    def __init__(
        self,
        paths: SubmissionPaths,
        chunks: Sequence[ChunkLine],
        owner: Owner,
        is_alive: Callable[[Owner], bool],
    ) -> None:
        self._paths = paths
        self._chunks = chunks
        self._owner = owner
        self._is_alive = is_alive
        self._held: set[int] = set()
        self.has_unwritten = False
        """Whether the last `claim_next` met a claim that is still empty: a chunk that may yet be had."""

    @property
    def num_chunks(self) -> int:
        """Of the whole submission."""
        return len(self._chunks)

    def claim_next(self) -> Held | None:
        """Takes the next chunk: of the own shard from the front, else of the shard with most work left.

        None when every chunk is done or held by the living.
        """
        survey = survey_claims(self._paths)
        self.has_unwritten = False
        for chunk in self._candidates(survey):
            held = self._try(chunk, survey.highest.get(chunk.number, 0))
            if held is not None:
                self._held.add(chunk.number)
                return held
        return None

    def mark_done(self, chunk: int) -> None:
        """Says that all items of a chunk are settled and durable; the caller has fsynced their lines."""
        path = self._paths.done(chunk)
        with storage_errors(path):
            path.touch()

    def _candidates(self, survey: Survey) -> Iterator[ChunkLine]:
        open_chunks = [
            chunk
            for chunk in self._chunks
            if chunk.number not in survey.done and chunk.number not in self._held
        ]
        own = [chunk for chunk in open_chunks if chunk.shard == self._owner.task]
        yield from own
        left: dict[int, float] = {}
        for chunk in open_chunks:
            if chunk.shard != self._owner.task and chunk.number not in survey.highest:
                left[chunk.shard] = left.get(chunk.shard, 0.0) + chunk.cost
        others = [chunk for chunk in open_chunks if chunk.shard != self._owner.task]
        others.sort(key=lambda chunk: (-left.get(chunk.shard, 0.0), chunk.shard, -chunk.number))
        yield from others

    def _try(self, chunk: ChunkLine, highest: int) -> Held | None:
        if highest:
            holder = self._read(chunk.number, highest)
            self.has_unwritten |= holder is None
            if holder is None or (holder != NOBODY and self._is_alive(holder)):
                return None
        if not self._make(self._paths.claim(chunk.number, highest + 1)):
            return None
        earlier = [self._read(chunk.number, number) for number in range(1, highest + 1)]
        return Held(chunk, tuple(owner for owner in earlier if owner is not None and owner != NOBODY))

    def _make(self, path: Path) -> bool:
        try:
            with storage_errors(path):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        try:
            with storage_errors(path):
                write_all(descriptor, orjson.dumps(asdict(self._owner)))
        finally:
            os.close(descriptor)
        return True

    def _read(self, chunk: int, number: int) -> Owner | None:
        """The owner of a claim; None while it is being written; nobody (pid 0) once empty for a minute."""
        path = self._paths.claim(chunk, number)
        text = path.read_bytes()
        try:
            return Owner(**orjson.loads(text))
        except orjson.JSONDecodeError:
            age = filesystem_now(self._paths.root) - path.stat().st_mtime
            return NOBODY if age > EMPTY_CLAIM_S else None


NOBODY = Owner(task=-1, attempt=-1, slot=-1, start=-1, job=None, host="", pid=0)
