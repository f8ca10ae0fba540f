"""Sends a submission: its arrays, then the merge job after them all; and finds its jobs again.

jobs.jsonl has a line before each sbatch and one after, with the job's id or sbatch's error. A job whose id is
not there (the sending was cut between the two, or no answer came) is looked up by its name. Where the first
send was refused there is no jobs.jsonl: nothing was sent.
"""

import re
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from launch.config.schema import ResourcesConfig
from launch.config.wording import printable
from launch.errors import ConfigError, LaunchError, SchedulerError
from launch.planning.limits import share_concurrent
from launch.rundir.attempts import list_tasks
from launch.rundir.journal import FieldTypes, Journal, read_journal, write_bytes
from launch.rundir.layout import RunPaths, SubmissionPaths
from launch.rundir.records import load_run, load_submission, run_config
from launch.rundir.storage_errors import storage_errors
from launch.slurm.commands import QueueRow, cancel_jobs, cluster_name, list_queue
from launch.slurm.executors import send_job
from launch.slurm.sbatch import JobContext, SbatchJob, render_array, render_merge
from launch.slurm.states import JobPhase, job_phase

JOB_FIELDS: FieldTypes = {"name": str, "job_name": str, "offset": int, "size": int}
"""What every line of jobs.jsonl has."""
NUM_LINES_OF_A_SEND = 2


@dataclass(frozen=True, slots=True)
class SentJob:
    """A job of a submission: an array of tasks from `offset`, or the merge job (size 0).

    `round` is above 0 for a follow-up that was queued with the submission.
    """

    name: str
    job_name: str
    job_id: str
    offset: int
    size: int
    round: int = 0


def render_jobs(run: RunPaths, submission: int) -> list[SbatchJob]:
    """The arrays of a submission and then its merge job, and the same for each follow-up queued with it.

    A merge job waits for the arrays of its round, and these for the merge job of the round before. With
    `max_concurrent` an array has a share of it and waits for the arrays before it in its lane
    (launch.planning.limits.share_concurrent): for all of them, of every round, so that it does not begin
    early when one that waits is cancelled by hand. An array has not ended while a task of it is requeued.
    """
    record, sent = load_run(run), load_submission(run, submission)
    config = run_config(record, sent)
    context = JobContext(record.run_id, run.root.resolve(), submission, sent.created, config)
    limit = config.resources.max_concurrent
    sizes = [array.size for array in sent.arrays]
    shares = [None] * len(sizes) if limit is None else share_concurrent(sizes, limit)
    lanes: dict[int, list[str]] = defaultdict(list)
    jobs: list[SbatchJob] = []
    for round_ in range(1 + num_queued_rounds(config.resources)):
        last_merge = [job.name for job in jobs[-1:]]
        arrays = []
        for number, (array, share) in enumerate(zip(sent.arrays, shares, strict=True)):
            before = [] if limit is None else lanes[number % limit]
            job = render_array(context, number, array.offset, array.size, round_, share)
            arrays.append(replace(job, after=(*last_merge, *before)))
            before.append(job.name)
        merge = replace(render_merge(context, round_), after=tuple(job.name for job in arrays))
        jobs += [*arrays, merge]
    return jobs


def num_queued_rounds(resources: ResourcesConfig) -> int:
    """Follow-ups that are queued with a submission, where merge jobs cannot send them."""
    return 0 if resources.sbatch_on_nodes else resources.max_rounds


def write_jobs(run: RunPaths, submission: int) -> list[SbatchJob]:
    """Renders the jobs and keeps their text beside the submission; ConfigError for what bash cannot read."""
    check_setup(load_submission(run, submission).resources.setup)
    jobs = render_jobs(run, submission)
    for job in jobs:
        write_bytes(run.submission(submission).sbatch(job.name), job.text.encode())
    return jobs


def check_setup(lines: Sequence[str]) -> None:
    """ConfigError for lines that would swallow what follows them: an open quote, `if` or here-document."""
    if not lines:
        return
    if shutil.which("bash") is None:
        raise ConfigError("resources.setup: bash, which would check it, was not found. Put bash on PATH.")
    words = ["bash", "-O", "extglob", "-n"]
    text = "\n".join(lines) + "\n"
    done = subprocess.run(words, input=text, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode or done.stderr:
        said = re.sub(r"^bash: (warning: )?", "", done.stderr.strip().partition("\n")[0])
        raise ConfigError(
            f"resources.setup: bash cannot read it: {printable(said)}. Write whole shell commands."
        )


def command_arguments(job: SbatchJob, logs: Path, run: RunPaths, after: list[str]) -> list[str]:
    """What is on sbatch's command line: log file, working directory, dependency."""
    pattern = "%A_%a.log" if job.size else "merge-%j.log"
    arguments = [f"--output={pattern_path(logs)}/{pattern}", f"--chdir={run.root.resolve()}"]
    if after:
        arguments.append(f"--dependency=afterany:{':'.join(after)}")
    return arguments


def pattern_path(path: Path) -> str:
    """A path in sbatch's filename pattern: a literal percent sign is doubled.

    ConfigError for a backslash: Slurm drops it and fills in no job ids, so the job could not open its log and
    would end as JobLaunchFailure (measured, 22.05).
    """
    if "\\" in str(path):
        raise ConfigError(
            f"{printable(str(path))}: Slurm writes no log in a path with a backslash. Move the run elsewhere."
        )
    return str(path).replace("%", "%%")


def send_submission(run: RunPaths, submission: int, logs: Path) -> list[SentJob]:
    """Sends every job; when one is refused, those already sent are cancelled and the refusal is raised."""
    paths, folder = run.submission(submission), logs.resolve()
    pattern_path(folder)
    with storage_errors(logs):
        folder.mkdir(parents=True, exist_ok=True)
    jobs = write_jobs(run, submission)
    journal = Journal(paths.jobs)
    cluster = cluster_name()  # which controller knows the ids: liveness.slurm_word
    sent: list[SentJob] = []
    try:
        for job in jobs:
            awaited = [each.job_id for each in sent if each.name in job.after]
            arguments = command_arguments(job, folder, run, awaited)
            _send(journal, job, arguments, cluster, sent)
    except BaseException as error:
        _take_back(run, submission, journal, sent, error)
        raise
    finally:
        journal.close()
    return sent


def _send(
    journal: Journal, job: SbatchJob, arguments: list[str], cluster: str | None, sent: list[SentJob]
) -> None:
    """Sends one job; it is in `sent` before its id is written down, for which there may be no room."""
    row = _row_of(job) | {"cluster": cluster}
    journal.append({**row, "time": time.time(), "arguments": arguments}, durable=True)
    try:
        job_id = send_job(job, arguments)
    except SchedulerError as error:
        journal.append({**row, "time": time.time(), "error": str(error)}, durable=True)
        raise
    sent.append(SentJob(job.name, job.job_name, job_id, job.offset, job.size, job.round))
    journal.append({**row, "time": time.time(), "job_id": job_id}, durable=True)


def _take_back(
    run: RunPaths, submission: int, journal: Journal, sent: list[SentJob], cause: BaseException
) -> None:
    """Cancels what was sent before the sending broke off, and says so in jobs.jsonl.

    Where that fails, the error, whatever it is, says which jobs stay queued.
    """
    try:
        for job in cancel_submission(run, submission):
            journal.append({**asdict(job), "time": time.time(), "cancelled": True}, durable=True)
    except SchedulerError as error:
        if not sent:
            return
        left = (
            f"And {', '.join(ids(sent))} could not be cancelled and may stay queued: {error}"
            f" Run `vllm-launch cancel {printable(str(run.root))}` later."
        )
        if isinstance(cause, LaunchError):
            raise type(cause)(f"{cause} {left}") from cause
        cause.add_note(left)


def ids(jobs: list[SentJob]) -> list[str]:
    """Job ids."""
    return [job.job_id for job in jobs]


def sent_jobs(paths: SubmissionPaths) -> list[SentJob]:
    """The jobs of a submission; one whose id was never written is looked up by name in the queue.

    So is one that was rendered and is not in jobs.jsonl, which may be damaged or deleted.
    """
    announced = {row["name"]: row for row in read_journal(paths.jobs, **JOB_FIELDS)}
    for job in _unannounced(paths, announced):
        announced[job.name] = _row_of(job)
    lost = [row["job_name"] for row in announced.values() if "job_id" not in row]
    found = {row.name: row.job_id for row in list_queue(names=lost)} if lost else {}
    jobs = []
    for name, row in announced.items():
        job_id = row.get("job_id") or found.get(row["job_name"])
        if job_id:
            jobs.append(
                SentJob(name, row["job_name"], str(job_id), row["offset"], row["size"], round_of(row))
            )
    return jobs


def forget_refused(paths: SubmissionPaths) -> None:
    """Removes jobs.jsonl where the send that was just refused is the only one in it: nothing was sent.

    Of an earlier send that it holds the outcome may not be known.
    """
    with storage_errors(paths.jobs):
        if len(paths.jobs.read_bytes().splitlines()) == NUM_LINES_OF_A_SEND:
            paths.jobs.unlink()


def _unannounced(paths: SubmissionPaths, announced: Collection[str]) -> list[SbatchJob]:
    """Jobs whose text was written and of which jobs.jsonl says nothing; none of a dry run's."""
    run, submission = RunPaths(paths.root.parent.parent), int(paths.root.name)
    rendered = {path.stem for path in paths.root.glob("*.sbatch")}
    if rendered <= set(announced) or not (paths.jobs.exists() or list_tasks(run, submission)):
        return []
    jobs = render_jobs(run, submission)
    return [job for job in jobs if job.name in rendered and job.name not in announced]


def _row_of(job: SbatchJob) -> dict[str, Any]:
    row = {"name": job.name, "job_name": job.job_name, "offset": job.offset, "size": job.size}
    return row | ({"round": job.round} if job.round else {})


def round_of(row: Mapping[str, Any]) -> int:
    """The follow-up that a line of jobs.jsonl is about, 0 for the first jobs of a submission."""
    found = row.get("round")
    return found if isinstance(found, int) else 0


def queue_of(run: RunPaths, submission: int) -> tuple[list[SentJob], list[QueueRow]]:
    """The jobs of a submission and the rows the queue holds of them; one call of squeue."""
    jobs = sent_jobs(run.submission(submission))
    return jobs, rows_of(jobs, list_queue(job_ids=ids(jobs)))


def rows_of(jobs: Sequence[SentJob], rows: Sequence[QueueRow]) -> list[QueueRow]:
    """The rows that are of these jobs, by id and name.

    On another cluster, or on one that was set up anew, an id is another job's.
    """
    names = {job.job_id: job.job_name for job in jobs}
    return [row for row in rows if names.get(row.job_id) == row.name]


def open_rows(rows: list[QueueRow]) -> list[QueueRow]:
    """Those that wait or run."""
    return [row for row in rows if job_phase(row.state) is not JobPhase.ENDED]


def cancel_submission(run: RunPaths, submission: int) -> list[SentJob]:
    """Cancels what waits or runs of a submission, the merge job included; the jobs that were cancelled.

    Merge jobs first, the last of them before the others: each waits for jobs to end, in whatever way, and
    would run; so with the arrays of follow-ups, and with those that wait for an array before them.
    """
    jobs, rows = queue_of(run, submission)
    alive = {row.job_id for row in open_rows(rows)}
    chosen = sorted(
        (job for job in jobs if job.job_id in alive), key=lambda job: (bool(job.size), job.round, job.offset)
    )
    cancel_jobs([job.job_id for job in reversed(chosen) if not job.size])
    cancel_jobs([job.job_id for job in reversed(chosen) if job.size])
    return chosen
