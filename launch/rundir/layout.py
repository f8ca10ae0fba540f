"""Every name in a run directory. Other modules ask here and spell none themselves; no disk is touched."""

from dataclasses import dataclass
from pathlib import Path


def number_of(name: str) -> int | None:
    """The number that a name is, written as we write numbers; None for any other name: `01`, `1 (copy)`."""
    return int(name) if name.isascii() and name.isdecimal() and str(int(name)) == name else None


@dataclass(frozen=True, slots=True)
class EnginePaths:
    """The files of one engine start: one slot of one attempt. The engine process alone writes them."""

    attempt: Path
    slot: int
    start: int

    def _file(self, name: str) -> Path:
        return self.attempt / f"{self.slot}.{self.start}.{name}"

    @property
    def engine_json(self) -> Path:
        """Settings as run, versions, device."""
        return self._file("engine.json")

    @property
    def results(self) -> Path:
        """Result lines."""
        return self._file("results.jsonl")

    @property
    def commits(self) -> Path:
        """Commit lines: which items are durable and where."""
        return self._file("commits.jsonl")

    @property
    def flight(self) -> Path:
        """Numbers of the items that a cautious start runs now."""
        return self._file("flight.json")

    @property
    def log(self) -> Path:
        """Everything the engine process and its children print."""
        return self._file("log")


@dataclass(frozen=True, slots=True)
class AttemptPaths:
    """tasks/<S>/<T>/<attempt>/: one life of a task. The supervisor writes the files named here."""

    root: Path

    @property
    def attempt_json(self) -> Path:
        """Host, pid, job ids, restart count, GPUs, start time."""
        return self.root / "attempt.json"

    @property
    def events(self) -> Path:
        """What happened, a line each, with time."""
        return self.root / "events.jsonl"

    @property
    def gpu(self) -> Path:
        """NVML samples, a line each."""
        return self.root / "gpu.jsonl"

    @property
    def heartbeat(self) -> Path:
        """Its modification time says that the supervisor lives."""
        return self.root / "heartbeat"

    @property
    def ended(self) -> Path:
        """Written last: exit code, reason, counts, GPU summary."""
        return self.root / "ended.json"

    def engine(self, slot: int, start: int) -> EnginePaths:
        """The files of the engine that `slot` started for the `start`-th time (from 0)."""
        return EnginePaths(self.root, slot, start)


@dataclass(frozen=True, slots=True)
class SubmissionPaths:
    """submissions/<S>/: one sending of a run's missing items."""

    root: Path

    @property
    def submission_yaml(self) -> Path:
        """The configuration as sent, the arrays, the shards."""
        return self.root / "submission.yaml"

    @property
    def chunks(self) -> Path:
        """A chunk a line."""
        return self.root / "chunks.jsonl"

    @property
    def jobs(self) -> Path:
        """A line before sbatch and one after."""
        return self.root / "jobs.jsonl"

    @property
    def rounds(self) -> Path:
        """A line for each merge job that found items missing: what it decided, and why."""
        return self.root / "rounds.jsonl"

    @property
    def sender(self) -> Path:
        """The process that opened the submission, until it has sent it or drives it."""
        return self.root / "sender.json"

    @property
    def driver(self) -> Path:
        """Host and process of the submit that runs the tasks itself (cluster none)."""
        return self.root / "driver.json"

    @property
    def claims(self) -> Path:
        """The directory of claims."""
        return self.root / "claims"

    @property
    def queue(self) -> Path:
        """The newest answer of squeue, shared by everyone who works on the submission."""
        return self.root / "squeue.json"

    @property
    def limits(self) -> Path:
        """What limits that its tasks wait for allow, as the accounting database said."""
        return self.root / "limits.json"

    def asking(self, number: int) -> Path:
        """Held by whoever asks squeue for the `number`-th answer (from 1)."""
        return self.root / f"squeue.{number}"

    def claim(self, chunk: int, number: int) -> Path:
        """The `number`-th claim (from 1) on a chunk; the highest holds."""
        return self.claims / f"{chunk}.{number}"

    def done(self, chunk: int) -> Path:
        """The mark that all items of a chunk are settled and durable."""
        return self.claims / f"{chunk}.done"

    def sbatch(self, name: str) -> Path:
        """The text of one job: `tasks-<k>` or `merge`."""
        return self.root / f"{name}.sbatch"


@dataclass(frozen=True, slots=True)
class RunPaths:
    """outputs/runs/<run_id>/: a run and all it knows."""

    root: Path

    @classmethod
    def beside(cls, output_dir: Path) -> "RunPaths":
        """The run of a single-node command that publishes in `output_dir`."""
        return cls(output_dir.with_name(f"{output_dir.name}.run"))

    def is_beside(self, output_dir: Path | None) -> bool:
        """Whether this is that run: its command, typed again, goes on with it."""
        return output_dir is not None and self == RunPaths.beside(output_dir)

    @property
    def run_yaml(self) -> Path:
        """Identity and versions; written once."""
        return self.root / "run.yaml"

    @property
    def maker(self) -> Path:
        """Which process makes the run; only while it is made."""
        return self.root / "maker.json"

    @property
    def templates(self) -> Path:
        """The prompt files as used."""
        return self.root / "templates"

    @property
    def users(self) -> Path:
        """A user a line, input order: raw record, first item number, item digests."""
        return self.root / "plan" / "users.jsonl"

    @property
    def history(self) -> Path:
        """A user a line: what train.json holds of them, cut to the prompt budget."""
        return self.root / "plan" / "history.jsonl"

    @property
    def index(self) -> Path:
        """A user a line, no text: byte spans, keys, digests, estimates."""
        return self.root / "plan" / "index.jsonl"

    @property
    def plan_json(self) -> Path:
        """Counts and digests of the plan; written last, so its presence says that the plan is whole."""
        return self.root / "plan" / "plan.json"

    @property
    def submissions(self) -> Path:
        """The directory of submissions, numbered from 1."""
        return self.root / "submissions"

    @property
    def tasks(self) -> Path:
        """The directory of attempts: <S>/<T>/<attempt>/."""
        return self.root / "tasks"

    @property
    def canary(self) -> Path:
        """What the first items looked like; written once, by whoever judged first."""
        return self.root / "canary.json"

    @property
    def merge(self) -> Path:
        """Where merge keeps its claim and its scratch files."""
        return self.root / "merge"

    @property
    def logs(self) -> Path:
        """The tasks' logs of a run that the single-node commands made; other runs log in slurm_logs/."""
        return self.root / "logs"

    @property
    def lives(self) -> Path:
        """What Slurm's accounting said of the begins and ends of the run's jobs when it was last merged."""
        return self.merge / "lives.json"

    @property
    def damaged(self) -> Path:
        """Committed lines that did not stand a merge's checks, a line each: resume generates them again."""
        return self.merge / "damaged.jsonl"

    @property
    def published(self) -> Path:
        """Where the run was last published."""
        return self.merge / "published.json"

    def merge_claim(self, number: int) -> Path:
        """The `number`-th merge's claim (from 1) on the run; the highest holds."""
        return self.merge / str(number)

    def merge_done(self, number: int) -> Path:
        """The mark that the `number`-th merge has let go."""
        return self.merge / f"{number}.done"

    def merge_scratch(self, number: int) -> Path:
        """The directory of the `number`-th merge's scratch files."""
        return self.merge / f"{number}.scratch"

    def submission(self, submission: int) -> SubmissionPaths:
        """The `submission`-th sending, from 1."""
        return SubmissionPaths(self.submissions / str(submission))

    def partial_submission(self, submission: int, token: str) -> SubmissionPaths:
        """Where it is made, by whoever has drawn `token` (hex digits), before it has its name."""
        return SubmissionPaths(self.submissions / f".{submission}.{token}")

    def task(self, submission: int, task: int) -> Path:
        """The directory of the attempts of one task."""
        return self.tasks / str(submission) / str(task)

    def excluded(self, submission: int, task: int) -> Path:
        """The nodes that a task left because of the node, a name a line; its batch shell reads it."""
        return self.task(submission, task) / "exclude"

    def shells(self, submission: int, task: int) -> Path:
        """A line for each batch shell of a task, which it writes when it ends: job, begin, end, exit code."""
        return self.task(submission, task) / "shells.jsonl"

    def attempt(self, submission: int, task: int, attempt: int) -> AttemptPaths:
        """The `attempt`-th life of a task, from 0."""
        return AttemptPaths(self.task(submission, task) / str(attempt))
