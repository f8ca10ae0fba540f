"""The one door to Slurm's commands: every call of sbatch's relatives passes here, with a time limit.

squeue lists the tasks of an array one a line where they run, and pending ones together (`12_[3-7%2]`). A job
that the controller has forgotten (MinJobAge) is simply not listed: files decide, the queue only advises.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from launch.errors import SchedulerError
from launch.slurm.refusals import NO_CONFIGURATION, explain

COMMAND_TIMEOUT_S = 60
KNOWN_TIMEOUT_S = 20
DEFAULT_MAX_ARRAY_SIZE = 1001
FIELDS = "%i|%j|%T|%r|%N|%e"
# Set by an enclosing job, a profile or this host's GPUs: they would change the options of our commands and
# what a job sees that is sent from here.
_OTHERS = ("SLURM_", "SBATCH_", "SALLOC_", "SRUN_", "SQUEUE_", "SCANCEL_", "SCONTROL_")
_DEVICES = {"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK"}


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A job or array task as squeue knows it: state and reason as Slurm spells them.

    `end_time` is when it has ended or will be ended, seconds since the epoch, where there is such a time.
    """

    job_id: str
    array_task: int | None
    name: str
    state: str
    reason: str
    node: str
    end_time: float | None = None


def slurm_environment() -> dict[str, str]:
    """Our environment without `leaked_variables`, set so that squeue cuts no list of array tasks short."""
    leaked = set(leaked_variables())
    ours = {name: value for name, value in os.environ.items() if name not in leaked}
    return ours | {"LC_ALL": "C.UTF-8", "SLURM_BITSTR_LEN": "0"}


def leaked_variables() -> list[str]:
    """Names of variables that would change what Slurm's commands do or what a job sees; SLURM_CONF stays."""
    return sorted(
        name for name in os.environ if name in _DEVICES or (name.startswith(_OTHERS) and name != "SLURM_CONF")
    )


def call(
    words: Sequence[str], timeout_s: float | None = None, variables: Mapping[str, str] | None = None
) -> str:
    """What the command prints; SchedulerError with its own words when it fails, is missing or hangs.

    It hangs after COMMAND_TIMEOUT_S unless `timeout_s` is given. `variables` are added to its environment.
    """
    limit = COMMAND_TIMEOUT_S if timeout_s is None else timeout_s
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,  # ours may be a pipe with orders for this process
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
            env=slurm_environment() | dict(variables or {}),
            check=False,
        )
    except FileNotFoundError:
        raise commands_missing(words[0]) from None
    except OSError as error:
        raise SchedulerError(f"{words[0]}: cannot be started: {error.strerror}.") from None
    except subprocess.TimeoutExpired:
        raise SchedulerError(
            f"{words[0]}: no answer in {limit:g} s; is the controller busy? Try again later."
        ) from None
    if done.returncode != 0:
        raise SchedulerError(f"{words[0]}: {explain(done.stderr)}")
    return done.stdout


def commands_missing(command: str) -> SchedulerError:
    """The error for a machine that lacks a command of Slurm; who sends may do without it."""
    what_to_do = "Use --cluster none, or log in" if command in {"sbatch", "srun"} else "Log in"
    return SchedulerError(
        f"{command}: not found; this machine has no Slurm commands. {what_to_do} to a submit host."
    )


def list_queue(
    *, job_ids: Iterable[str] = (), names: Iterable[str] = (), timeout_s: float | None = None
) -> list[QueueRow]:
    """Rows of our jobs by id or by name, finished ones included as long as the controller remembers them.

    --all: jobs in a partition that is hidden from users are ours all the same.
    """
    jobs, by_name = ",".join(job_ids), ",".join(names)
    if not jobs and not by_name:
        return []
    chosen = [f"--jobs={jobs}"] if jobs else [f"--name={by_name}"]
    try:
        words = ["squeue", "--noheader", "--all", "--states=all", f"--format={FIELDS}", *chosen]
        text = call(words, timeout_s)
    except SchedulerError as error:
        if "Invalid job id" in str(error):
            return []
        raise
    return [row for line in text.splitlines() for row in parse_queue_line(line)]


def parse_queue_line(line: str) -> list[QueueRow]:
    """The rows of one line of squeue, one per array task: `12_[3-5,9%2]|name|PENDING|Resources||N/A`."""
    if line.count("|") < FIELDS.count("|"):
        raise SchedulerError(
            f"squeue: expected {FIELDS}, got {line!r}. Call Slurm's own squeue, without a wrapper."
        )
    job, name, state, reason, node, end = line.split("|", 5)
    job_id, underscore, tasks = job.strip().partition("_")
    indices: Sequence[int | None] = parse_tasks(tasks) if underscore else [None]
    return [QueueRow(job_id, index, name, state, reason, node, parse_time(end)) for index in indices]


def parse_time(text: str, near: float | None = None) -> float | None:
    """A time as squeue prints it, in this host's zone (2026-01-02T03:04:05); None for N/A, NONE, Unknown.

    In autumn an hour comes twice: of the two times that are written so, the one nearer to `near`.
    """
    try:
        parts = time.strptime(text.strip(), "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return None
    told = time.mktime(parts)
    twins = [each for each in (told - 3600, told + 3600) if time.localtime(each)[:6] == parts[:6]]
    return told if near is None else min([told, *twins], key=lambda each: abs(each - near))


def parse_tasks(text: str) -> list[int]:
    """Array indices of `7`, `[3-7%2]`, `[1,4-6]` or `[0-8:4]`, ascending."""
    tasks: list[int] = []
    for part in text.strip("[]").partition("%")[0].split(","):
        bounds, _, step = part.partition(":")
        first, _, last = bounds.partition("-")
        if "..." in bounds:
            raise SchedulerError(
                f"squeue: cut its list of array tasks short: {text!r}. Unset SLURM_BITSTR_LEN."
            )
        tasks += range(int(first), int(last or first) + 1, int(step or 1))
    return sorted(tasks)


def cancel_jobs(job_ids: Sequence[str]) -> None:
    """scancel; a job that has already ended is no error."""
    if job_ids:
        call(["scancel", "--quiet", *job_ids])


def max_array_size() -> int:
    """Tasks of one array: MaxArraySize, which is one more than the highest index, 1001 where it is not told.

    SchedulerParameters may allow fewer (max_array_tasks). SchedulerError where there may be no arrays at all.
    """
    found = configured("MaxArraySize", r"\d+")
    tasks = configured("SchedulerParameters", r"\S*max_array_tasks=\d+")
    size = int(found) if found else DEFAULT_MAX_ARRAY_SIZE
    size = min(size, int(tasks.rpartition("=")[2])) if tasks else size
    if size < 1:
        raise SchedulerError(
            "scontrol: this cluster takes no job arrays (MaxArraySize or max_array_tasks is 0), and every"
            " submission is one. Ask your site, or use --cluster none."
        )
    return size


def cluster_name() -> str | None:
    """The cluster whose controller answers here, None where nobody tells.

    In a job on a node it is known; elsewhere (an salloc's shell may name another cluster) the controller is
    asked: 5 ms, measured on a private 22.05.
    """
    return node_cluster() or configured("ClusterName", r"\S+")


def knows_cluster() -> bool:
    """Whether a cluster is configured for this host's commands, be it in a file, compiled in or by DNS.

    The controller is asked; SchedulerError where it gives no answer, which does not say that there is none.
    """
    try:
        call(["scontrol", "show", "config"], KNOWN_TIMEOUT_S)
    except SchedulerError as error:
        if NO_CONFIGURATION in str(error):
            return False
        raise
    return True


def node_cluster() -> str | None:
    """The cluster that a job on a node has in its environment; None elsewhere."""
    return os.environ.get("SLURM_CLUSTER_NAME") if "SLURMD_NODENAME" in os.environ else None


def configured(name: str, pattern: str) -> str | None:
    """What `scontrol show config` has for a name where it matches the pattern; None where it does not say."""
    try:
        return setting_in(call(["scontrol", "show", "config"]), name, pattern)
    except SchedulerError:
        return None


def setting_in(text: str, name: str, pattern: str) -> str | None:
    """The same of a text that `scontrol show config` printed."""
    found = re.search(rf"^{name}\s*=\s*({pattern})", text, re.MULTILINE)
    return found.group(1) if found else None
