"""What an attempt's own files say of whether it lives; launch.slurm.liveness judges.

Ages are measured by the clock of the file system, which the nodes share.
"""

from dataclasses import dataclass, replace

from launch.rundir.attempt_files import read_about
from launch.rundir.attempts import filesystem_now, last_beat, list_attempts
from launch.rundir.layout import AttemptPaths, RunPaths
from launch.rundir.process_mark import ProcessMark, read_mark


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """The job of an attempt: `<array>` and index as squeue has them, and the cluster that issued the id."""

    array: str
    index: int | None
    cluster: str | None

    @property
    def name(self) -> str:
        """`<array>_<index>`, as squeue writes it."""
        return self.array if self.index is None else f"{self.array}_{self.index}"


@dataclass(frozen=True, slots=True)
class Signs:
    """The signs of one attempt. Times are seconds by the file system's clock.

    `has_ended`: ended.json is there. `is_followed`: a later attempt of the task is. `is_gone_from_here`: it
    ran on this host and its process is no more. `beat` is its last sign of life, `beat_age_s` how old that
    is. `job` is None for what no array of ours runs. `owner` is the user whose directory it is. `mark` is its
    process, None before its attempt.json is written.
    """

    has_ended: bool
    is_followed: bool
    is_gone_from_here: bool
    beat: float
    beat_age_s: float
    job: SlurmJob | None
    owner: int
    host: str | None
    mark: ProcessMark | None = None

    @property
    def is_over(self) -> bool:
        """Whether the files alone prove that the attempt is no more."""
        return self.has_ended or self.is_followed or self.is_gone_from_here

    @property
    def now(self) -> float:
        """When the signs were read."""
        return self.beat + self.beat_age_s


def read_signs(run: RunPaths, submission: int, task: int, attempt: int, now: float | None = None) -> Signs:
    """The signs of an attempt; FileNotFoundError when there is none of that number.

    `now` is the file system's time, for whoever reads the signs of many: to ask for it makes a file.
    """
    paths = run.attempt(submission, task, attempt)
    about = read_about(paths)
    mark = read_mark(about)
    has_ended = paths.ended.exists()
    is_followed = _is_followed(run, submission, task, attempt)
    is_gone = mark is not None and mark.is_gone
    beat = _beat(paths, is_over=has_ended or is_followed or is_gone)
    return Signs(
        has_ended=has_ended,
        is_followed=is_followed,
        is_gone_from_here=is_gone,
        beat=beat,
        beat_age_s=max(0.0, (filesystem_now(run.root) if now is None else now) - beat),
        job=job_of(about["slurm"]),
        owner=paths.root.stat().st_uid,
        host=about["host"],
        mark=mark,
    )


def read_again(signs: Signs, run: RunPaths, at: tuple[int, int, int], now: float) -> Signs:
    """The signs of attempt `at`, (submission, task, attempt), whose earlier ones have its mark.

    Who it is stays as it was. Three files are looked for and none is opened: attempts are numbered without a
    gap, so the next one tells whether there are later ones.
    """
    submission, task, attempt = at
    paths = run.attempt(*at)
    has_ended = paths.ended.exists()
    is_followed = run.attempt(submission, task, attempt + 1).root.exists() and _is_followed(run, *at)
    is_gone = signs.mark is not None and signs.mark.is_gone
    beat = _beat(paths, is_over=has_ended or is_followed or is_gone)
    return replace(
        signs,
        has_ended=has_ended,
        is_followed=is_followed,
        is_gone_from_here=is_gone,
        beat=beat,
        beat_age_s=max(0.0, now - beat),
    )


def _is_followed(run: RunPaths, submission: int, task: int, attempt: int) -> bool:
    return any(later > attempt for later in list_attempts(run, submission, task))


def _beat(paths: AttemptPaths, *, is_over: bool) -> float:
    """`last_beat`; where its age decides nothing any more, a heartbeat that cannot be read is no error."""
    try:
        return last_beat(paths)
    except OSError:
        if not is_over:
            raise
        return paths.root.stat().st_mtime


def job_of(variables: dict[str, str]) -> SlurmJob | None:
    """The array task that Slurm's variables name; None where they name none."""
    array, index = variables.get("SLURM_ARRAY_JOB_ID"), variables.get("SLURM_ARRAY_TASK_ID")
    if array is None or index is None or not index.isdecimal():
        return None
    return SlurmJob(array, int(index), variables.get("SLURM_CLUSTER_NAME"))
