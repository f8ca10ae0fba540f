"""The claim that keeps two merges of a run apart: files in merge/ made with O_EXCL, never removed.

`<n>` holds the n-th merger, the highest n holds the run; `<n>.done` says that it has let go. Whether a merger
lives is judged as for tasks (launch.slurm.liveness), its claim being its heartbeat; n+1 breaks a dead one's.
"""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from launch.errors import LaunchError, RunError, StorageError
from launch.rundir.attempts import HEARTBEAT_PERIOD_S, filesystem_now
from launch.rundir.claim_files import EMPTY_CLAIM_S
from launch.rundir.durable import fsync_names
from launch.rundir.journal import read_journal, read_json, write_all
from launch.rundir.layout import RunPaths, number_of
from launch.rundir.process_mark import ProcessMark, mark_process, read_mark
from launch.rundir.records import list_submissions
from launch.rundir.signs import Signs, SlurmJob
from launch.rundir.storage_errors import storage_errors
from launch.slurm.liveness import Life, judge_life
from launch.slurm.shared_queue import has_squeue, share_answer

LET_GO = 0
"""The time of a claim that was let go where no `<n>.done` could be made."""


class MergeBusyError(RunError):
    """Another merge holds the run, or may: a lost node's claim is told from a living one after 15 minutes."""


@dataclass(frozen=True, slots=True)
class Merger:
    """A merging process; `job` is the merge job of a submission that it runs in, `cluster` whose id it is."""

    process: ProcessMark
    job: str | None = None
    cluster: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As its claim holds it."""
        return {**self.process.as_json(), "job": self.job, "cluster": self.cluster}


def read_merger(path: Path) -> Merger | None:
    """Who made a claim; None for one that is empty, or that no merge wrote."""
    value = read_json(path) or {}
    process, job, cluster = read_mark(value), value.get("job"), value.get("cluster")
    if process is None or not isinstance(job, str | None) or not isinstance(cluster, str | None):
        return None
    return Merger(process, job, cluster)


class MergeClaim:
    """Held while the context is entered. MergeBusyError when a living merge holds the run.

    A merge of which nobody can tell whether it lives counts as living, unless it is to be assumed dead. When
    this one was taken for dead, the error that it met over it is told as that (`check`).
    """

    def __init__(self, run: RunPaths, *, assume_dead: bool = False) -> None:
        self._run = run
        self._assume_dead = assume_dead
        self._directory = run.merge
        self.number = 0
        self._beaten = 0.0

    def __enter__(self) -> "MergeClaim":
        with storage_errors(self._directory):
            try:
                self._directory.mkdir(exist_ok=True)
            except FileExistsError:
                raise RunError(
                    f"{self._directory}: is a file; merges keep their claims in a directory of that name."
                    " Move the file away."
                ) from None
        highest = self._highest()
        if highest and not self._run.merge_done(highest).exists():
            self._refuse_if_alive(highest)
        self._make(highest + 1)
        for leftover in self._directory.glob("*.scratch"):  # of merges that were killed
            if (number_of(leftover.stem) or 0) <= self.number:
                shutil.rmtree(leftover, ignore_errors=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with storage_errors(self._directory):
                self._run.merge_done(self.number).touch()
        except StorageError:  # a full disk: that takes no room
            os.utime(self._run.merge_claim(self.number), (LET_GO, LET_GO))
        if isinstance(error, OSError | LaunchError):  # files that the successor has taken away
            self.check()

    @property
    def scratch(self) -> Path:
        """A directory for this merge alone; not made."""
        return self._run.merge_scratch(self.number)

    def beat(self) -> None:
        """Says that this merge lives, and checks its claim; call it often, it acts every 30 s."""
        if time.monotonic() - self._beaten > HEARTBEAT_PERIOD_S:
            self._beaten = time.monotonic()
            os.utime(self._run.merge_claim(self.number))
            self.check()

    def check(self) -> None:
        """RunError when another merge has taken this one for dead."""
        if self._highest() != self.number:
            raise RunError(f"{self._directory}: another merge has taken over; this one stops. Run it again.")

    def _highest(self) -> int:
        numbers = map(number_of, os.listdir(self._directory))
        return max((number for number in numbers if number is not None), default=0)

    def _make(self, number: int) -> None:
        path = self._run.merge_claim(number)
        job = _merge_job(self._run)
        cluster = os.environ.get("SLURM_CLUSTER_NAME") if job else None
        owner = Merger(mark_process(), job, cluster)
        try:
            with storage_errors(path):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            raise _busy(self._directory, "which has just begun") from None
        try:
            with storage_errors(path):
                write_all(descriptor, orjson.dumps(owner.as_json()))
                fsync_names(path, self._run.root)  # no later claim may have its number, nor its directories
        except StorageError:
            path.unlink()  # an empty claim would hold up the next merge
            raise
        finally:
            os.close(descriptor)
        self.number = number

    def _refuse_if_alive(self, number: int) -> None:
        path = self._run.merge_claim(number)
        beat = path.stat().st_mtime
        if beat == LET_GO:
            return
        age = max(0.0, filesystem_now(self._directory) - beat)
        holder = read_merger(path)
        if holder is None:
            if age <= EMPTY_CLAIM_S:
                raise _busy(self._directory, "which has just begun")
            return
        who = f"process {holder.process.pid} on {holder.process.host}"
        if holder.process.is_here:  # however long it has said nothing
            raise _busy(self._directory, who, _what_to_do(holder.process))
        life = self._judge(holder, beat, age, path.stat().st_uid)
        if life is Life.ALIVE:
            raise _busy(self._directory, who)
        if life is Life.UNKNOWN and not self._assume_dead:
            raise RunError(
                f"{self._directory.parent}: nobody here can tell whether another merge is at work, {who} (job"
                f" {holder.job}). If you know that it is dead: `vllm-launch merge --assume-dead`."
            )

    def _judge(self, holder: Merger, beat: float, age_s: float, user: int) -> Life:
        job = None if holder.job is None else SlurmJob(holder.job, None, holder.cluster)
        signs = Signs(
            has_ended=False,
            is_followed=job is not None and job.array == _merge_job(self._run),  # by this, its next life
            is_gone_from_here=holder.process.is_gone,
            beat=beat,
            beat_age_s=age_s,
            job=job,
            owner=user,
            host=holder.process.host,
        )
        if job is None or signs.is_over:
            return judge_life(signs, None, can_ask=False)
        newest = self._run.submission(list_submissions(self._run)[-1])
        return judge_life(signs, share_answer(newest, [job.array]), can_ask=has_squeue())


def _merge_job(run: RunPaths) -> str | None:
    """The id of the job that this process runs in, if it is one that was sent for this run."""
    job = os.environ.get("SLURM_JOB_ID")
    sent = (row for number in list_submissions(run) for row in read_journal(run.submission(number).jobs))
    return job if job is not None and any(row.get("job_id") == job for row in sent) else None


def _what_to_do(process: ProcessMark) -> str:
    """About a merge that is known to live on this machine, stopped or not."""
    if process.is_stopped:
        return (
            f"It is stopped: let it go on (`fg` in its shell, or `kill -CONT {process.pid}`), or end it"
            f" (`kill -KILL {process.pid}`)."
        )
    return f"Wait for it to end, or end it (`kill {process.pid}`)."


def _busy(directory: Path, who: str, what_to_do: str = "Wait for it to end.") -> MergeBusyError:
    return MergeBusyError(f"{directory.parent}: another merge is at work, {who}. {what_to_do}")
