"""No job is in the queue that nobody knows: whatever happens to jobs.jsonl, and whenever the disk is full."""

import contextlib
import io
import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import pytest

import launch.cli.follow_up
import launch.slurm.submission
from launch.cli.app import INTERRUPTED, run_command
from launch.cli.closing import Closing, close_newest
from launch.cli.sending import send_marked
from launch.collect.rounds import Decision
from launch.config.schema import RunConfig, Scheduler, UserFiles
from launch.errors import SchedulerError, StorageError
from launch.rundir.attempts import open_attempt
from launch.rundir.journal import write_json
from launch.rundir.layout import RunPaths, SubmissionPaths
from launch.rundir.process_mark import mark_process
from launch.rundir.records import keep_publishing, load_submission, save_record
from launch.slurm.commands import QueueRow
from launch.slurm.sbatch import SbatchJob
from launch.slurm.submission import cancel_submission, queue_of, send_submission, sent_jobs
from tests.cli.commands import vllm_launch
from tests.power_cut import PowerCuts
from tests.runs import make_run
from tests.slurm_room.sent_run import make_sent_run
from tests.worker.distorted.full_disk import FullDisk

SBATCH = """
name=$(sed -n 's/^#SBATCH --job-name=//p' "${@: -1}")
id=$((100 + $(find "$QUEUE" "$QUEUE.gone" -type f | wc -l)))
echo "$name" >"$QUEUE/$id"
echo "Submitted batch job $id"
"""
SQUEUE = """
for id in $(ls "$QUEUE"); do
    name=$(cat "$QUEUE/$id")
    for word; do
        [[ ,${word#--jobs=}, == *,$id,* || ,${word#--name=}, == *,$name,* ]] || continue
        echo "$id|$name|PENDING|None||N/A"
    done
done
exit 0
"""
SCANCEL = """
for id; do [[ $id == --* ]] || mv "$QUEUE/$id" "$QUEUE.gone/"; done
"""


class LookedAtError(Exception):
    """What a merge job goes by."""


class Queue:
    """sbatch, squeue and scancel as bash scripts; a file for each job in the queue."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "queue"
        self.gone = root / "queue.gone"
        commands = {
            "sbatch": SBATCH,
            "squeue": SQUEUE,
            "scancel": SCANCEL,
            "srun": "exit 1",
            "scontrol": "exit 1",
        }
        for folder in (self.folder, self.gone, root / "bin"):
            folder.mkdir()
        for name, text in commands.items():
            (root / "bin" / name).write_text(f"#!/bin/bash\n{text}")
            (root / "bin" / name).chmod(0o755)

    @property
    def jobs(self) -> set[str]:
        """Ids of what waits."""
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("QUEUE", str(tmp_path / "queue"))
    return Queue(tmp_path)


def keep_first_line(path: Path) -> None:
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])


def forget_an_id(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows if row.get("job_id") != "100"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: None,
        lambda path: path.write_bytes(bytes(4096)),
        lambda path: path.write_text('{"a": 1}\n[]\n{"name": "tasks-0", "job_id": "100"}\n'),
        keep_first_line,
        forget_an_id,
        lambda path: path.unlink(),
    ],
)
def test_jobs_are_found_by_name_and_cancelled(
    tmp_path: Path, queue: Queue, damage: Callable[[Path], object]
) -> None:
    run = make_sent_run(tmp_path / "runs", [(0, 2), (2, 1)])
    sent = send_submission(run, 1, tmp_path / "logs")
    assert queue.jobs == {"100", "101", "102"}
    open_attempt(run, 1, 0)  # one has begun
    damage(run.submission(1).jobs)
    assert sent_jobs(run.submission(1)) == sent
    assert {job.job_id for job in cancel_submission(run, 1)} == {"100", "101", "102"}
    assert queue.jobs == set()


def test_an_id_that_is_another_job_here_is_left_alone(tmp_path: Path, queue: Queue) -> None:
    """As ids are on another cluster than the one that a run was sent to."""
    run = make_sent_run(tmp_path / "runs")
    array, merge = send_submission(run, 1, tmp_path / "logs")
    (queue.folder / array.job_id).write_text("training\n")
    assert {row.job_id for row in queue_of(run, 1)[1]} == {merge.job_id}
    assert [job.job_id for job in cancel_submission(run, 1)] == [merge.job_id]
    assert queue.jobs == {array.job_id}


def test_a_merge_job_takes_no_other_job_for_its_tasks(
    tmp_path: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_sent_run(tmp_path / "runs")
    array, merge = send_submission(run, 1, tmp_path / "logs")
    (queue.folder / array.job_id).write_text("training\n")

    def look(_run: RunPaths, _say: object, rows: Sequence[QueueRow], _round: int) -> None:
        raise LookedAtError(*(row.job_id for row in rows))

    monkeypatch.setattr(launch.cli.follow_up, "wait_until_seen", look)
    with pytest.raises(LookedAtError) as looked:
        launch.cli.follow_up.follow_up(run, 1, 0)
    assert looked.value.args == (merge.job_id,)


def test_a_further_round_publishes_as_a_merge_kept_it_while_the_merge_job_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits up to 75 s for files that a shared file system shows late."""
    run = make_run(tmp_path)

    def keep(run: RunPaths, *_: object) -> None:
        sent = load_submission(run, 1)
        publish = sent.publish.model_copy(update={"user_files": UserFiles.ARCHIVE})
        keep_publishing(run, sent, publish)

    def look(_run: RunPaths, config: RunConfig, _sending: object) -> None:
        raise LookedAtError(config.publish.user_files)

    monkeypatch.setattr(launch.cli.follow_up, "wait_until_seen", keep)
    monkeypatch.setattr(launch.cli.follow_up, "decide", lambda _: Decision(sends=True, why="missing"))
    monkeypatch.setattr(launch.cli.follow_up, "open_and_show", look)
    with pytest.raises(LookedAtError) as looked:
        launch.cli.follow_up.follow_up(run, 1, 0)
    assert looked.value.args == (UserFiles.ARCHIVE,)


def add_submission(run: RunPaths, scheduler: str = "slurm") -> SubmissionPaths:
    """Submission 2, not sent."""
    paths, first = run.submission(2), load_submission(run, 1)
    paths.root.mkdir()
    resources = first.resources.model_copy(update={"scheduler": Scheduler(scheduler)})
    second = first.model_copy(update={"submission": 2, "resources": resources})
    save_record(paths.submission_yaml, second)
    return paths


@pytest.mark.process
def test_cancel_stops_a_driver_here_where_slurm_is_not(tmp_path: Path, queue: Queue) -> None:
    run = make_sent_run(tmp_path / "runs")
    send_submission(run, 1, tmp_path / "logs")
    (tmp_path / "bin" / "squeue").unlink()
    driver = subprocess.Popen(["sleep", "60"])
    try:
        write_json(add_submission(run, "none").driver, mark_process(driver.pid).as_json())
        said = vllm_launch("cancel", run.root, cwd=tmp_path, PATH=str(tmp_path / "bin"))
        assert said.out.startswith(f"told the submit in process {driver.pid} to stop;")
        assert said.code == 2 and "squeue: not found" in said.errors[0]
        assert driver.wait(10) == -signal.SIGTERM
    finally:
        driver.kill()
        driver.wait()


@pytest.mark.process
def test_cancel_looks_again_for_what_a_merge_job_was_sending(tmp_path: Path, queue: Queue) -> None:
    run = make_sent_run(tmp_path / "runs")
    send_submission(run, 1, tmp_path / "logs")
    row = {"name": "tasks-0", "job_name": "demo.2.tasks-0.abc123", "offset": 0, "size": 2}
    second = add_submission(run)
    second.jobs.write_text(json.dumps(row) + "\n")
    later = second.root.rename(tmp_path / "later")
    with (tmp_path / "bin" / "scancel").open("a") as scancel:  # sbatch is at work while the merge job ends
        opens = f"mv {later} {second.root} && echo {row['job_name']} >$QUEUE/200"
        scancel.write(f"\nif [[ -e {later} ]]; then {opens}; fi\n")
    said = vllm_launch("cancel", run.root, cwd=tmp_path)
    assert (said.code, len(said.out.splitlines())) == (0, 3), said
    assert queue.jobs == set()


def test_a_submission_that_a_merge_job_goes_on_sending_is_not_called_being_sent(
    tmp_path: Path, queue: Queue
) -> None:
    """The merge job opened it, was killed before sbatch, and was requeued."""
    run = make_sent_run(tmp_path / "runs")
    send_submission(run, 1, tmp_path / "logs")
    for job in queue.folder.iterdir():
        job.rename(queue.gone / job.name)
    first, second = load_submission(run, 1), run.submission(2)
    second.root.mkdir()
    save_record(second.submission_yaml, first.model_copy(update={"submission": 2, "round": 1}))
    write_json(second.sender, {"host": "n1", "pid": 7})
    assert launch.cli.follow_up.follow_up(run, 1, 0)
    assert len(queue.jobs) > 0 and not second.sender.exists()
    cancel_submission(run, 2)
    close_newest(run, Closing(replace=True))
    assert queue.jobs == set()


def say(queue: Queue, text: str) -> None:
    """sbatch fails with this from now on."""
    words = f"#!/bin/bash\necho 'sbatch: error: {text}' >&2\nexit 1\n"
    (queue.folder.parent / "bin" / "sbatch").write_text(words)


REFUSED = "Batch job submission failed: Invalid account or account/partition combination specified"
NO_ANSWER = "Batch job submission failed: Socket timed out on send/recv operation"


def without_slurm(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH with the commands that the scripts and sending need, and none of a Slurm that is installed."""
    for name in ("bash", "env", "timeout", "cat", "ls", "sed", "find", "wc"):
        found = shutil.which(name)
        assert found is not None
        (root / "bin" / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(root / "bin"))


def take_sbatch_away(queue: Queue) -> None:
    (queue.folder.parent / "bin" / "sbatch").unlink()


@pytest.mark.parametrize("refuse", [take_sbatch_away, lambda queue: say(queue, REFUSED)])
def test_a_submission_whose_first_send_was_refused_is_not_sent_and_nobody_is_asked(
    tmp_path: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch, refuse: Callable[[Queue], None]
) -> None:
    without_slurm(tmp_path, monkeypatch)
    run = make_sent_run(tmp_path / "runs", [(0, 2), (2, 1)])
    refuse(queue)
    with pytest.raises(SchedulerError):
        send_marked(run, 1)
    (tmp_path / "bin" / "squeue").unlink()
    assert not run.submission(1).jobs.exists()
    assert close_newest(run, Closing()) == (1, ())


@pytest.mark.parametrize("before", ["", '{"name": "tasks-0"}\n'])
def test_a_send_that_may_have_been_taken_counts_as_sent(
    tmp_path: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """No answer came; or one was refused after another whose sender was killed."""
    without_slurm(tmp_path, monkeypatch)
    run = make_sent_run(tmp_path / "runs", [(0, 2), (2, 1)])
    run.submission(1).jobs.write_text(before)
    say(queue, REFUSED if before else NO_ANSWER)
    with pytest.raises(SchedulerError):
        send_marked(run, 1)
    (tmp_path / "bin" / "squeue").unlink()
    with pytest.raises(SchedulerError, match="squeue: not found"):
        close_newest(run, Closing())


def test_what_was_sent_before_a_refusal_is_known(tmp_path: Path, queue: Queue) -> None:
    run = make_sent_run(tmp_path / "runs", [(0, 2), (2, 1)])
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text(f"{sbatch.read_text()}\nchmod -x {sbatch}\n")
    with pytest.raises(SchedulerError):
        send_marked(run, 1)
    assert [job.job_id for job in sent_jobs(run.submission(1))] == ["100"]
    assert queue.gone.joinpath("100").exists()


def test_of_a_dry_run_nobody_is_asked(tmp_path: Path, queue: Queue) -> None:
    run = make_sent_run(tmp_path / "runs")
    send_submission(run, 1, tmp_path / "logs")
    run.submission(1).jobs.unlink()  # as a dry run leaves it: texts, and no task that has begun
    assert sent_jobs(run.submission(1)) == []


@pytest.mark.process
def test_a_disk_that_is_full_at_any_write_of_a_sending(
    tmp_path: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(root: Path, at: int | None = None) -> FullDisk:
        run = make_sent_run(root / "runs", [(0, 2), (2, 1)])
        (root / "tmp").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(root / "tmp"))
        with FullDisk(str(root), at) as disk:
            send_submission(run, 1, root / "logs")
        return disk

    total = len(send(tmp_path / "room").calls)
    known = queue.jobs
    assert len(known) == 3 and total > 20
    for at in range(1, total + 1):
        with pytest.raises(StorageError, match="the disk is full"):
            send(tmp_path / str(at), at)
        assert queue.jobs == known, f"a job stayed in the queue, call {at}"


def stop_answering(tmp_path: Path) -> None:
    """From now on the controller tells nothing; sbatch still reaches it."""
    (tmp_path / "bin" / "squeue").write_text("#!/bin/bash\necho 'Unable to contact controller' >&2; exit 1\n")


@pytest.mark.process
def test_a_disk_that_fills_up_and_jobs_that_cannot_be_cancelled(
    tmp_path: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whichever write of jobs.jsonl, the one of an id included: what stays queued is named."""
    stop_answering(tmp_path)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    left = []
    for at in range(1, 14):
        before = queue.jobs
        run = make_sent_run(tmp_path / str(at), [(0, 2), (2, 1)])
        jobs = run.submission(1).jobs
        with FullDisk(str(jobs), at), pytest.raises(StorageError, match="the disk is full") as refused:
            send_submission(run, 1, tmp_path / "logs")
        stayed = sorted(queue.jobs - before)
        left.append(len(stayed))
        advice = f"Run `vllm-launch cancel {run.root}` later."
        assert (f"And {', '.join(stayed)} could not be cancelled" in str(refused.value)) == bool(stayed)
        assert (advice in str(refused.value)) == bool(stayed)
    assert set(left) == {0, 1, 2, 3}


@pytest.mark.process
def test_after_ctrl_c_jobs_that_cannot_be_cancelled_are_named(
    tmp_path: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_answering(tmp_path)
    send_job = launch.slurm.submission.send_job

    def interrupted(job: SbatchJob, arguments: list[str]) -> str:
        if not job.size:
            raise KeyboardInterrupt
        return send_job(job, arguments)

    monkeypatch.setattr(launch.slurm.submission, "send_job", interrupted)
    run = make_sent_run(tmp_path / "runs")

    @click.command()
    def command() -> None:
        send_submission(run, 1, tmp_path / "logs")

    err = io.StringIO()
    with contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run_command(command, [], "submit")
    assert ended.value.code == INTERRUPTED
    assert "submit: interrupted. And 100 could not be cancelled and may stay queued" in err.getvalue()
    assert queue.jobs == {"100"}


@pytest.mark.process
def test_from_any_power_cut_while_a_run_is_sent_its_jobs_are_known(tmp_path: Path, queue: Queue) -> None:
    run = make_sent_run(tmp_path / "runs", [(0, 2), (2, 1)])
    with PowerCuts(run.root, lambda: len(queue.jobs)) as disk:
        send_submission(run, 1, tmp_path / "logs")
    assert {cut.reported for cut in disk.cuts} == {0, 1, 2, 3}
    for cut in disk.cuts:
        cut.restore(run.root)
        known = {job.job_id for job in sent_jobs(run.submission(1))}
        assert known >= set(("100", "101", "102")[: cut.reported]), cut
