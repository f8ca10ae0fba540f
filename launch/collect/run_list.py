"""The runs of a directory, a line each, newest first: from records, names and commits alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from launch.collect.manifest import read_published
from launch.collect.merge import output_dir_of
from launch.config.schema import Scheduler
from launch.config.wording import log_line
from launch.errors import LaunchError, RunError
from launch.rundir.attempts import clock_of, list_attempts, list_engine_starts, list_tasks
from launch.rundir.layout import RunPaths
from launch.rundir.plan import load_counts
from launch.rundir.progress import DONE, FAILED
from launch.rundir.records import SubmissionRecord, load_run, load_submissions
from launch.rundir.results import read_commits
from launch.rundir.signs import read_signs
from launch.slurm.liveness import Life, judge_life


class RunState(StrEnum):
    """What can be told of a run without asking the scheduler: SENT may wait in its queue or be over."""

    PUBLISHED = "published"
    INCOMPLETE = "published, incomplete"
    RUNNING = "running"
    SENT = "sent"
    STOPPED = "stopped"
    UNSENT = "not sent"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run; of a damaged one `trouble` says in a line what is wrong, and the rest may be missing.

    `num_done` counts committed items; `age_s` is the time since it was planned, in seconds.
    """

    run_id: str
    root: str
    state: RunState
    preset: str = ""
    dataset: str = ""
    marks: tuple[str, ...] = ()
    """`stub`, `limited`."""
    num_done: int = 0
    num_failed: int = 0
    num_items: int = 0
    created: str | None = None
    age_s: float | None = None
    trouble: str | None = None


def list_runs(directory: Path) -> list[RunLine]:
    """The runs right below a directory, newest first, damaged ones last; RunError when it cannot be read."""
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        reason = str(error.strerror).lower()
        raise RunError(f"{directory}: {reason}. Give a directory of runs, or submit one first.") from None
    lines = [_line(RunPaths(entry)) for entry in entries if _is_run(entry)]
    return sorted(lines, key=lambda line: (line.created is None, _descending(line.created)))


def _descending(created: str | None) -> float:
    return -_seconds(created) if created else 0.0


def _is_run(entry: Path) -> bool:
    """Whether a run lies there, or what is left of one; not what a submit that was cut left.

    What may not be looked into may be one: its line says so.
    """
    paths = RunPaths(entry)
    try:
        return not entry.name.startswith(".") and any(
            path.exists() for path in (paths.run_yaml, paths.plan_json, paths.submissions, paths.tasks)
        )
    except OSError:
        return True


def _line(run: RunPaths) -> RunLine:
    name = log_line(run.root.name, 200)
    try:
        return _read(run)
    except (LaunchError, OSError) as error:
        return RunLine(name, str(run.root), RunState.DAMAGED, trouble=log_line(str(error), 400))


def _read(run: RunPaths) -> RunLine:
    record, counts = load_run(run), load_counts(run)
    submissions = load_submissions(run, record)
    done, failed, state = _standing(run, record.run_id, submissions, counts.num_items)
    marks = ("stub",) if record.model.engine.value == "stub" else ()
    return RunLine(
        run_id=log_line(record.run_id, 200),
        root=str(run.root),
        state=state,
        preset=log_line(record.preset, 100),
        dataset=log_line(record.data.dataset or Path(record.data.scenario_path or "").name, 100),
        marks=(*marks, *(("limited",) if record.subset is not None else ())),
        num_done=done,
        num_failed=failed,
        num_items=counts.num_items,
        created=record.created,
        age_s=max(0.0, datetime.now(UTC).timestamp() - _seconds(record.created)),
    )


def _standing(
    run: RunPaths, run_id: str, submissions: list[SubmissionRecord], num_items: int
) -> tuple[int, int, RunState]:
    """Items done and failed, and the state: by the manifest if it is published, else by commits and signs.

    The directory may have another name than the run: of the single-node commands, or because it was renamed.
    """
    output_dir = output_dir_of(run, submissions[-1].publish) if submissions else None
    manifest = None if output_dir is None else read_published(output_dir)
    if manifest is not None and manifest.run_id == run_id:
        state = RunState.PUBLISHED if manifest.complete else RunState.INCOMPLETE
        return manifest.num_done, manifest.num_failed, state
    states = bytearray(num_items)
    for start in list_engine_starts(run):
        for item in read_commits(start.paths(run), num_items):
            states[item.number] = max(states[item.number], FAILED if item.failed else DONE)
    return states.count(DONE), states.count(FAILED), _state(run, submissions)


def _state(run: RunPaths, submissions: list[SubmissionRecord]) -> RunState:
    if not submissions:
        return RunState.UNSENT
    newest = submissions[-1]
    lives = list(_lives(run, newest.submission))
    if Life.ALIVE in lives:
        return RunState.RUNNING
    paths = run.submission(newest.submission)
    if not lives and not paths.jobs.exists() and not paths.driver.exists():
        return RunState.UNSENT
    on_slurm = newest.resources.scheduler is Scheduler.SLURM
    return RunState.SENT if on_slurm and len(lives) < newest.num_tasks else RunState.STOPPED


def _lives(run: RunPaths, submission: int) -> Iterator[Life]:
    """Of the last attempt of each task that has begun, up to the first that lives; by files alone."""
    now = clock_of(run.root)
    for task in list_tasks(run, submission):
        attempts = list_attempts(run, submission, task)
        if attempts:
            life = judge_life(read_signs(run, submission, task, attempts[-1], now), None, can_ask=False)
            yield life
            if life is Life.ALIVE:
                return


def _seconds(created: str) -> float:
    try:
        return datetime.fromisoformat(created).timestamp()
    except ValueError:
        raise RunError(f"{log_line(created, 60)}: is no time.") from None
