"""One answer of squeue for everyone who works on a submission: squeue.json, asked for at most every 30 s.

Whoever wants Slurm's word and finds an answer younger than 30 s uses it. Else one process makes `squeue.<n>`
with O_EXCL, n being one more than the answer's number, and asks; the others go on with the old answer. The
file of a process that died while it asked is passed over after a minute: the next makes n+1, as with claims,
and no file in use is ever removed. An error counts as an answer. Times are the file system's clock.

Which controller answers, and how its clock is set, goes on from answer to answer: launch.slurm.controller.
"""

import contextlib
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from launch.errors import SchedulerError, StorageError
from launch.rundir.attempts import filesystem_now
from launch.rundir.journal import NUMBER, has_fields, read_journal, read_json, write_json
from launch.rundir.layout import SubmissionPaths
from launch.rundir.storage_errors import storage_errors
from launch.slurm.commands import list_queue
from launch.slurm.controller import Controller, recognise

SHARED_FOR_S = 30.0
ASK_TIMEOUT_S = 30.0
ASKER_DEAD_S = 60.0


@dataclass(frozen=True, slots=True)
class JobRow:
    """What squeue says of a job or array task: words as Slurm has them, times in seconds since the epoch."""

    job: str
    index: int | None
    state: str
    end_time: float | None
    reason: str = ""


@dataclass(frozen=True)
class QueueAnswer:
    """What the controller of `cluster` said of `jobs` when `user` asked, or the `error` instead of that.

    `ahead_s` and `clients` are those of launch.slurm.controller; with an error they, and the cluster, are as
    they were in the answer before.
    """

    number: int
    asked: float
    host: str
    user: int
    cluster: str | None
    jobs: tuple[str, ...]
    error: str | None
    rows: tuple[JobRow, ...]
    ahead_s: float | None = None
    clients: Mapping[str, str] = field(default_factory=dict)

    @property
    def controller(self) -> Controller:
        """What is known of the controller."""
        return Controller(self.cluster, self.ahead_s, self.clients)

    def row(self, job: str, index: int | None) -> JobRow | None:
        """The row of a job or array task, if it is listed."""
        return self._by_task.get((job, index))

    @cached_property
    def _by_task(self) -> Mapping[tuple[str, int | None], JobRow]:
        """The first row of each: every owner of a claim is looked up, and there may be 1,000."""
        return {(row.job, row.index): row for row in reversed(self.rows)}


def has_squeue() -> bool:
    """Whether there is a squeue to be asked: not in many containers, not on a machine without Slurm."""
    return shutil.which("squeue") is not None


def load_answer(paths: SubmissionPaths) -> QueueAnswer | None:
    """The newest answer, however old; None when there is none, or one in another version's words."""
    value: dict[str, Any] | None = read_json(paths.queue)
    if value is None:
        return None
    try:
        rows = tuple(JobRow(*row) for row in value["rows"])
        answer = QueueAnswer(**{**value, "jobs": tuple(value["jobs"]), "rows": rows})
    except (KeyError, TypeError):
        return None
    is_sound = has_fields(value, {"number": int, "asked": NUMBER, "user": int})
    words = [word for row in rows for word in (row.state, row.reason)]
    is_sound = is_sound and all(isinstance(word, str) for word in words)
    times = [answer.ahead_s, *(row.end_time for row in rows)]
    is_sound = is_sound and all(isinstance(value, float | None) for value in times)
    return answer if is_sound and isinstance(answer.clients, dict) else None


def share_answer(
    paths: SubmissionPaths, jobs: Iterable[str] = (), *, timeout_s: float = ASK_TIMEOUT_S
) -> QueueAnswer | None:
    """The answer of the last 30 s, asked for where nobody has; an older one, or None, while another asks.

    Asked are the jobs of the submission and `jobs` (ids of arrays), which a cut sending may not have noted
    down.
    """
    answer = load_answer(paths)
    with contextlib.suppress(StorageError, OSError):  # a disk in trouble: the answer only advises
        if is_fresh(answer, filesystem_now(paths.root)) or not has_squeue():
            return answer
        number = _take_turn(paths, answer)
        if number is not None:
            return _ask(paths, number, jobs, timeout_s)
    return answer


def is_fresh(answer: QueueAnswer | None, now: float) -> bool:
    """Whether an answer is so young that nobody asks; `now` is the file system's."""
    return answer is not None and abs(now - answer.asked) < SHARED_FOR_S  # a clock may be set back


def is_being_asked(paths: SubmissionPaths, now: float) -> bool:
    """Whether someone asks who is not held to have died."""
    for path, _ in _turns(paths):
        with contextlib.suppress(FileNotFoundError):  # it has just been answered
            if now - path.stat().st_mtime < ASKER_DEAD_S:
                return True
    return False


def save_answer(paths: SubmissionPaths, answer: QueueAnswer) -> None:
    """Writes squeue.json, rows as lists."""
    rows = [[row.job, row.index, row.state, row.end_time, row.reason] for row in answer.rows]
    write_json(paths.queue, {**asdict(answer), "rows": rows})


def _take_turn(paths: SubmissionPaths, answer: QueueAnswer | None) -> int | None:
    """The number of the answer that this process is to bring; None while another is at it."""
    number = 1 if answer is None else answer.number + 1
    for path, taken in _turns(paths):
        if taken < number:
            continue
        try:
            if filesystem_now(paths.root) - path.stat().st_mtime < ASKER_DEAD_S:
                return None
        except FileNotFoundError:  # it has just been answered
            return None
        number = taken + 1
    try:
        with storage_errors(paths.asking(number)):
            os.close(os.open(paths.asking(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return None
    return number


def _turns(paths: SubmissionPaths) -> Iterator[tuple[Path, int]]:
    """The files of those who ask, or died asking, by number."""
    found = (path.name.removeprefix("squeue.") for path in paths.root.glob("squeue.*"))
    for number in sorted(int(name) for name in found if name.isdecimal()):
        yield paths.asking(number), number


def _ask(paths: SubmissionPaths, number: int, jobs: Iterable[str], timeout_s: float) -> QueueAnswer | None:
    turn = paths.asking(number)
    asked = turn.stat().st_mtime
    newest = load_answer(paths)
    if newest is not None and (newest.number >= number or is_fresh(newest, asked)):
        turn.unlink()  # someone was quicker between our reading and our turn
        return newest
    ids = {str(row["job_id"]) for row in read_journal(paths.jobs) if row.get("job_id")} | set(jobs)
    answer = _ask_squeue(sorted(ids), number, asked, timeout_s)
    known = Controller() if newest is None else newest.controller
    if answer.error is None:  # one who does not answer is asked nothing more
        known = recognise(known, paths.root, timeout_s)
    answer = replace(answer, **asdict(known))
    save_answer(paths, answer)
    for path, earlier in _turns(paths):
        if earlier <= number:
            path.unlink(missing_ok=True)
    return answer


def _ask_squeue(ids: Sequence[str], number: int, asked: float, timeout_s: float) -> QueueAnswer:
    """The rows of jobs, or the error, without a word of whose they are."""
    rows: list[JobRow] = []
    error = None
    try:
        for row in list_queue(job_ids=ids, timeout_s=timeout_s):
            rows.append(JobRow(row.job_id, row.array_task, row.state, row.end_time, row.reason))
    except SchedulerError as refused:
        error = str(refused)
    return QueueAnswer(number, asked, socket.gethostname(), os.getuid(), None, tuple(ids), error, tuple(rows))
