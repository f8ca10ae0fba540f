"""The files of claims, made with O_EXCL; nothing is renamed or removed.

`<chunk>.<n>` holds the owner of the n-th claim; the highest n holds the chunk. Breaking a dead owner's claim
is making n+1. `<chunk>.done` says that all items of the chunk are settled and durable.

Claims only keep two from the same work. When some or all of them are deleted, chunks are claimed anew, their
items are generated a second time at worst, and a merge decides between the two by its fixed order.
"""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from launch.rundir.attempts import filesystem_now
from launch.rundir.journal import FieldTypes, has_fields, read_whole, write_all
from launch.rundir.layout import RunPaths, SubmissionPaths, number_of
from launch.rundir.records import SubmissionRecord
from launch.rundir.storage_errors import storage_errors

EMPTY_CLAIM_S = 60
MAX_CLAIMS = 10_000
"""Of one chunk; a file of a higher number is not ours."""
_OWNER_FIELDS: FieldTypes = {"task": int, "attempt": int, "slot": int, "start": int, "host": str, "pid": int}


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


NOBODY = Owner(task=-1, attempt=-1, slot=-1, start=-1, job=None, host="", pid=0)


@dataclass(slots=True)
class Survey:
    """The names in a claims directory at one moment: highest claim per chunk, and the chunks done."""

    highest: dict[int, int] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)


def survey_claims(paths: SubmissionPaths) -> Survey:
    """Reads names only; one directory listing. Names that are no claims are passed over."""
    survey = Survey()
    try:
        names = os.listdir(paths.claims)
    except FileNotFoundError:  # deleted: whoever claims next makes it again
        return survey
    for name in names:
        before, _, suffix = name.partition(".")
        chunk, claim = number_of(before), number_of(suffix)
        if chunk is None:
            continue
        if suffix == "done":
            survey.done.add(chunk)
        elif claim is not None and claim <= MAX_CLAIMS:
            survey.highest[chunk] = max(claim, survey.highest.get(chunk, 0))
    return survey


def is_all_done(run: RunPaths, sent: SubmissionRecord) -> bool:
    """Whether every chunk of a submission is done, by the names in its claims directory."""
    return survey_claims(run.submission(sent.submission)).done.issuperset(range(sent.num_chunks))


def make_claim(paths: SubmissionPaths, chunk: int, number: int, owner: Owner) -> bool:
    """Makes the `number`-th claim on a chunk; False when somebody else has made it."""
    path = paths.claim(chunk, number)
    try:
        with storage_errors(path):
            descriptor = _create(path, os.O_EXCL)
    except FileExistsError:
        return False
    try:
        with storage_errors(path):
            write_all(descriptor, orjson.dumps(asdict(owner)))
    finally:
        os.close(descriptor)
    return True


def mark_done(paths: SubmissionPaths, chunk: int) -> None:
    """Says that all items of a chunk are settled and durable; the caller has fsynced their lines."""
    path = paths.done(chunk)
    with storage_errors(path):
        os.close(_create(path, 0))


def read_claim(paths: SubmissionPaths, chunk: int, number: int) -> Owner | None:
    """The owner of a claim; None while it is being written; nobody (pid 0) once empty for a minute.

    What is not an owner's words was not written by us, or not to its end: the same as empty. OSError for
    one that cannot be read now: an ill server, or it was deleted since, or is not to be seen here yet.
    """
    path = paths.claim(chunk, number)
    try:
        owner = _parse_owner(read_whole(path))
        age = filesystem_now(paths.root) - path.stat().st_mtime if owner is None else 0.0
    except IsADirectoryError:
        return NOBODY
    return NOBODY if age > EMPTY_CLAIM_S else owner


def _create(path: Path, flags: int) -> int:
    """A descriptor of a file in claims/, which is made again if it was deleted."""
    flags |= os.O_WRONLY | os.O_CREAT
    try:
        return os.open(path, flags, 0o644)
    except FileNotFoundError:
        path.parent.mkdir(exist_ok=True)
        return os.open(path, flags, 0o644)


def _parse_owner(text: bytes) -> Owner | None:
    try:
        value = orjson.loads(text)
        if isinstance(value, dict) and has_fields(value, _OWNER_FIELDS):
            return Owner(**value)
    except (orjson.JSONDecodeError, TypeError):  # TypeError: fields that are not ours
        return None
    return None
