"""What tasks reported and is not to be seen yet: a shared file system may show a file up to a minute late.

NFS clients keep listings and attributes for up to 60 s (acdirmax, acregmax). A merge that starts right after
the last task may then miss items that are safe on the disk: nothing wrong would be published, but they would
be generated again. So before items are called missing they are held against what was reported in the last
75 s: chunks marked done, counts in ended.json, and tasks that Slurm calls completed.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from launch.collect.queue_look import rows_by_task
from launch.errors import RunError
from launch.rundir.attempt_files import read_ended
from launch.rundir.attempts import filesystem_now, list_attempts, list_engine_starts, list_tasks
from launch.rundir.chunks import read_chunks
from launch.rundir.claim_files import survey_claims
from launch.rundir.identity import settings_digest
from launch.rundir.layout import RunPaths
from launch.rundir.plan import KeyIndex, load_counts
from launch.rundir.progress import MISSING, Settled
from launch.rundir.records import SubmissionRecord, list_submissions, load_run, load_submission
from launch.rundir.results import recover
from launch.slurm.commands import QueueRow

VISIBLE_S = 75.0
LOOK_AGAIN_S = 3.0
Attempt = tuple[int, int]
"""Task and attempt."""


def wait_until_seen(
    run: RunPaths, say: Callable[[str], object], rows: Sequence[QueueRow] = (), round_: int = 0
) -> None:
    """Returns when what was reported is to be seen, or after 75 s: at once when nothing contradicts.

    `say` is told once why it waits; `rows` are Slurm's word on the jobs up to `round_` of the newest
    submission.
    """
    until = time.monotonic() + VISIBLE_S
    is_told = False
    while (what := find_unseen(run, rows, round_)) is not None and time.monotonic() < until:
        if not is_told:
            say(f"{what}: not all of that is to be seen yet; looks again for up to {VISIBLE_S:.0f} s")
            is_told = True
        time.sleep(LOOK_AGAIN_S)


def find_unseen(run: RunPaths, rows: Sequence[QueueRow] = (), round_: int = 0) -> str | None:
    """Something that a task of the newest submission reported just now and that is not there, in words."""
    submissions = list_submissions(run)
    if not submissions:
        return None
    sent = load_submission(run, submissions[-1])
    settled = Settled(bytearray(load_counts(run).num_items))
    seen: Counter[Attempt] = Counter()
    keys, digest = KeyIndex(run), settings_digest(load_run(run))
    for start in list_engine_starts(run):
        for item in recover(run, start, keys, digest):  # damaged lines, too: they are to be seen
            settled.add(item)
            if start.submission == sent.submission:
                seen[start.task, start.attempt] += 1
    if not settled.num_missing:
        return None
    now = filesystem_now(run.root)
    for found in (
        _done(run, sent, settled, now),
        _ended(run, sent, seen, now),
        _completed(run, sent, rows, round_),
    ):
        if (what := next(found, None)) is not None:
            return what
    return None


def _done(run: RunPaths, sent: SubmissionRecord, settled: Settled, now: float) -> Iterator[str]:
    """Chunks whose items are all settled, as was reported."""
    paths = run.submission(sent.submission)
    done = survey_claims(paths).done
    try:
        chunks = read_chunks(paths, sent.chunks_sha256) if done else []
    except RunError:  # whoever needs them will say so
        return
    for chunk in chunks:
        is_short = any(settled.states[number] == MISSING for number in chunk.items)
        if is_short and chunk.number in done and _is_recent(paths.done(chunk.number), now):
            yield f"chunk {chunk.number} was reported done"


def _ended(run: RunPaths, sent: SubmissionRecord, seen: Counter[Attempt], now: float) -> Iterator[str]:
    """Attempts that settled more than is seen of them."""
    for task in list_tasks(run, sent.submission):
        for attempt in list_attempts(run, sent.submission, task):
            paths = run.attempt(sent.submission, task, attempt)
            counts = (read_ended(paths) or {}).get("counts")
            told = counts if isinstance(counts, dict) else {}
            numbers = [told.get(name) for name in ("done", "failed")]
            num_settled = sum(number for number in numbers if isinstance(number, int))
            if num_settled > seen[task, attempt] and _is_recent(paths.ended, now):
                yield f"task {task} reported {num_settled} items settled"


def _completed(run: RunPaths, sent: SubmissionRecord, rows: Sequence[QueueRow], round_: int) -> Iterator[str]:
    """Tasks that ended well for Slurm and have not said so themselves."""
    by_task = rows_by_task(run, sent.submission, rows, round_)[0] if rows else {}
    for task, row in sorted(by_task.items()):
        if row.state == "COMPLETED":
            attempts = list_attempts(run, sent.submission, task)
            last = run.attempt(sent.submission, task, attempts[-1]) if attempts else None
            if last is None or not last.ended.exists():
                yield f"Slurm says that task {task} has completed"


def _is_recent(path: Path, now: float) -> bool:
    try:
        return now - path.stat().st_mtime < VISIBLE_S
    except FileNotFoundError:  # listed, and not to be looked at yet
        return True
