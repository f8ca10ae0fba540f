"""Dead or alive: the one rule by which a claim may be broken and a run be sent again.

Files decide first, then Slurm's word where it can be had, then the age of the heartbeat. An unknown job id
means that a job is over only if the controller that issued it was asked; what nobody can tell stays unknown,
and only --assume-dead makes it dead.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from launch.config.wording import log_line
from launch.rundir.attempts import (
    HEARTBEAT_DEAD_S,
    HEARTBEAT_FRESH_S,
    filesystem_now,
    list_attempts,
    list_tasks,
)
from launch.rundir.layout import RunPaths
from launch.rundir.signs import Signs, SlurmJob, read_again, read_signs
from launch.slurm.shared_queue import QueueAnswer, has_squeue, share_answer
from launch.slurm.states import JobPhase, job_phase

LOOK_AGAIN_S = 5.0


class Life(StrEnum):
    """What can be said of an attempt."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


class Word(StrEnum):
    """What Slurm says of the job of an attempt."""

    RUNNING = "running"
    GONE = "gone"
    NOTHING = "nothing"


def judge_life(signs: Signs, answer: QueueAnswer | None, *, can_ask: bool) -> Life:
    """The rule. `answer` is the newest of squeue, if there is one; `can_ask`: there is a squeue here.

    1. ended.json, a later attempt, or a process known to be gone from this host: dead.
    2. Slurm's word (slurm_word): its job is over or waits to start anew: dead; it runs: alive.
    3. No word: alive while its heartbeat is younger than 2 minutes, else unknown. Where there is no squeue at
       all, and for what no array of ours runs, the heartbeat alone decides: dead at 15 minutes.
    """
    if signs.is_over:
        return Life.DEAD
    word = Word.NOTHING if signs.job is None else slurm_word(signs, signs.job, answer)
    if word is Word.GONE:
        return Life.DEAD
    if word is Word.RUNNING or signs.beat_age_s < HEARTBEAT_FRESH_S:
        return Life.ALIVE
    if signs.job is not None and can_ask:
        return Life.UNKNOWN
    return Life.ALIVE if signs.beat_age_s < HEARTBEAT_DEAD_S else Life.DEAD


def slurm_word(signs: Signs, job: SlurmJob, answer: QueueAnswer | None) -> Word:
    """What an answer says of a job: nothing unless the controller that issued the id was asked about it.

    Slurm may hide other users' jobs, so the user must be the same, or root. A job is gone when it has ended,
    when it waits (a requeue: the process of the attempt is no more), or when it is not listed any more; but
    an answer asked for before the last heartbeat is no proof of an end, and one over 2 minutes old none of
    life.
    """
    if answer is None or answer.error is not None or job.array not in answer.jobs:
        return Word.NOTHING
    if job.cluster is None or job.cluster != answer.cluster or answer.user not in (0, signs.owner):
        return Word.NOTHING
    row = answer.row(job.array, job.index)
    if row is not None and job_phase(row.state) is JobPhase.RUNNING:
        return Word.RUNNING if signs.now - answer.asked < HEARTBEAT_FRESH_S else Word.NOTHING
    return Word.GONE if answer.asked > signs.beat else Word.NOTHING


@dataclass(frozen=True, slots=True)
class AttemptLife:
    """The last attempt of a task and what can be said of it."""

    submission: int
    task: int
    attempt: int
    life: Life
    signs: Signs

    @property
    def name(self) -> str:
        """For a sentence: `task 3 (job 12_3 on n1)`."""
        where = [f"job {self.signs.job.name}"] if self.signs.job else []
        where += [f"on {log_line(self.signs.host, 100)}"] if self.signs.host else []
        return f"task {self.task} ({' '.join(where)})" if where else f"task {self.task}"


class Lives:
    """Who of a submission lives, for one who asks often: what was found holds for 5 s, a death for good."""

    def __init__(
        self, run: RunPaths, submission: int, *, on_slurm: bool, own_jobs: Iterable[str] = ()
    ) -> None:
        self._run = run
        self._submission = submission
        self._on_slurm = on_slurm
        self._jobs = set(own_jobs)
        self._answer: QueueAnswer | None = None
        self._asked = -LOOK_AGAIN_S
        self._can_ask = False  # as of the same moment
        self._signs: dict[tuple[int, int], Signs] = {}
        self._found: dict[tuple[int, int], tuple[float, Life]] = {}
        self._absent: dict[tuple[int, int], float] = {}
        self._clock: tuple[float, float] | None = None

    def of(self, task: int, attempt: int) -> Life:
        """Whether an attempt lives; one whose directory stays absent for two minutes does not."""
        looked, life = self._found.get((task, attempt), (0.0, Life.UNKNOWN))
        now = time.monotonic()
        if life is not Life.DEAD and (not looked or now - looked > LOOK_AGAIN_S):
            life = self._judge(task, attempt)
            self._found[task, attempt] = (now, life)
        return life

    def _judge(self, task: int, attempt: int) -> Life:
        try:
            signs = self._read_signs(task, attempt)
        except FileNotFoundError:  # deleted, or made a moment ago elsewhere and not to be seen here yet
            since = self._absent.setdefault((task, attempt), time.monotonic())
            return Life.DEAD if time.monotonic() - since > HEARTBEAT_FRESH_S else Life.UNKNOWN
        if signs.is_over or not self._on_slurm:
            return judge_life(signs, None, can_ask=False)
        answer = self._share_answer(signs.job)
        return judge_life(signs, answer, can_ask=self._can_ask)

    def _read_signs(self, task: int, attempt: int) -> Signs:
        """What stays as it is is read once: 1,000 owners may be looked at."""
        at, now = (self._submission, task, attempt), self._filesystem_now()
        before = self._signs.get((task, attempt))
        signs = read_again(before, self._run, at, now) if before else read_signs(self._run, *at, now)
        if signs.mark is not None:
            self._signs[task, attempt] = signs
        return signs

    def _filesystem_now(self) -> float:
        """The file system's time, asked for once in 5 s: that makes a file, and there may be 1,000 owners."""
        now = time.monotonic()
        if self._clock is None or now - self._clock[1] >= LOOK_AGAIN_S:
            self._clock = filesystem_now(self._run.root), now
        told, asked = self._clock
        return told + now - asked

    def _share_answer(self, job: SlurmJob | None) -> QueueAnswer | None:
        """One reading of the shared answer serves for all the owners that one look at the claims meets."""
        is_new = job is not None and job.array not in self._jobs
        if job is not None:
            self._jobs.add(job.array)
        if is_new or time.monotonic() - self._asked >= LOOK_AGAIN_S:
            self._answer = share_answer(self._run.submission(self._submission), self._jobs)
            self._can_ask = has_squeue()
            self._asked = time.monotonic()
        return self._answer


def last_lives(
    run: RunPaths, submission: int, answer: QueueAnswer | None, *, can_ask: bool
) -> list[AttemptLife]:
    """The last attempt of every task that has begun, in order of tasks."""
    lives = []
    now = filesystem_now(run.root)
    for task in list_tasks(run, submission):
        attempts = list_attempts(run, submission, task)
        if attempts:
            signs = read_signs(run, submission, task, attempts[-1], now)
            life = judge_life(signs, answer, can_ask=can_ask)
            lives.append(AttemptLife(submission, task, attempts[-1], life, signs))
    return lives
