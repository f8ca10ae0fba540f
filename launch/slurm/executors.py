"""The seam to submitit: it writes the submission file, calls sbatch and reads the job id; the text is ours.

`_submit_command` is called directly, for arrays and for the merge job alike: submitit's own array path makes
a plain SlurmExecutor (1.5.4, slurm.py) and would not ask us for the text. No function is pickled, and nothing
of submitit's stays: Slurm keeps its own copy of the text, and ours lies in the submission.
tests/slurm_room/test_executors.py holds this seam; submitit is pinned.
"""

import io
import re
import shutil
import subprocess
import tempfile
from contextlib import redirect_stderr
from pathlib import Path

from launch.config.wording import printable
from launch.errors import ConfigError, SchedulerError
from launch.rundir.storage_errors import storage_errors
from launch.slurm.commands import commands_missing, leaked_variables
from launch.slurm.refusals import explain, is_refused
from launch.slurm.sbatch import SbatchJob

SBATCH_TIMEOUT_S = 180
TIMED_OUT = 124


class NotSentError(SchedulerError):
    """sbatch is not there, or has refused: the job is in no queue."""


def send_job(job: SbatchJob, arguments: list[str]) -> str:
    """Sends a job and returns its id; `arguments` go to sbatch's command line.

    NotSentError when it was refused; another SchedulerError when no answer came, or one that does not say so:
    it may be in the queue then, by its name.
    ConfigError for a text that the encoding of this locale has no letters for.
    """
    for command in ("sbatch", "srun"):
        if shutil.which(command) is None:
            raise NotSentError(str(commands_missing(command)))
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        # submitit prints what sbatch said before it raises it: once is enough.
        with (
            storage_errors(Path(tempfile.gettempdir())),
            tempfile.TemporaryDirectory(prefix="vllm-launch-") as folder,
            redirect_stderr(io.StringIO()),
        ):
            return _submit(job.text, arguments, folder)
    except UnicodeEncodeError as error:  # submitit writes as this locale does
        letter = printable(error.object[error.start])
        raise ConfigError(
            f"sbatch, {job.job_name}: its text has {letter!r}, which the encoding of this locale"
            f" ({error.encoding}) lacks. Set LC_ALL=C.UTF-8."
        ) from None
    except FailedJobError as error:
        kind = NotSentError if _is_refusal(error) else SchedulerError
        raise kind(f"sbatch, {job.job_name}: {_reason(error)}") from None
    except FailedSubmissionError as error:
        raise SchedulerError(f"sbatch, {job.job_name}: expected a job id. {explain(str(error))}") from None


def _submit(text: str, arguments: list[str], folder: str) -> str:
    """The id of the job that submitit sends from `folder`, with our text and our command line; its errors."""
    from submitit.slurm.slurm import SlurmExecutor

    class TextExecutor(SlurmExecutor):
        """submitit's executor where it asks what to send."""

        def _make_submission_file_text(self, command: str, uid: str) -> str:
            return command

        def _make_submission_command(self, submission_file_path: Path) -> list[str]:
            return sbatch_command(submission_file_path, arguments)

        @staticmethod
        def _get_job_id_from_submission_command(string: bytes | str) -> str:
            said = job_id_in(string if isinstance(string, str) else string.decode(errors="replace"))
            return said or SlurmExecutor._get_job_id_from_submission_command(string)

    return str(TextExecutor(folder)._submit_command(text).job_id)


def sbatch_command(script: Path, arguments: list[str]) -> list[str]:
    """The words that are run: sbatch without what this environment would add to our options.

    `timeout` also shields sbatch from Ctrl-C: a job that was accepted must not go unnoticed.
    """
    cleared = [word for name in leaked_variables() for word in ("-u", name)]
    return ["timeout", str(SBATCH_TIMEOUT_S), "env", *cleared, "sbatch", *arguments, str(script)]


def job_id_in(said: str) -> str | None:
    """The id in sbatch's own line, the last of them; None where there is none.

    A site's wrapper may print more before it, and that may speak of jobs and numbers, too.
    """
    found = re.findall(r"^Submitted batch job (\d+)", said, re.MULTILINE)
    return found[-1] if found else None


def _is_refusal(error: Exception) -> bool:
    """Whether sbatch ended by itself, and with words that say that the job was not taken."""
    cause = error.__cause__
    ended = isinstance(cause, subprocess.CalledProcessError) and 0 < cause.returncode < TIMED_OUT
    return ended and is_refused(str(error))


def _reason(error: Exception) -> str:
    cause = error.__cause__
    if isinstance(cause, subprocess.CalledProcessError) and cause.returncode == TIMED_OUT:
        return f"no answer in {SBATCH_TIMEOUT_S} s; is the controller busy? Try again later."
    return explain(str(error))
