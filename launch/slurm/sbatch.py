"""The text of a job as a pure function of a submission; templates/sbatch/ holds its form.

Values reach `#SBATCH` lines quoted as sbatch reads quotes, and shell lines quoted as bash does. What a path
or another job's id decides (output, working directory, dependency) is given on sbatch's command line instead,
where no character is special.
"""

import hashlib
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import launch
from launch.config.schema import GpuRequest, MergeResources, ResourcesConfig, RunConfig
from launch.config.shipped import shipped
from launch.config.wording import printable
from launch.errors import ConfigError, ExitCode
from launch.rundir.layout import RunPaths

MERGE = "merge"
PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-:/%@=,+&|[]*()~^")
Option = str | int | bool | None


@dataclass(frozen=True, slots=True)
class SbatchJob:
    """One job to send: its name in files, its job name in Slurm, its text.

    `after` are the names of jobs sent before it; it begins when all of them have ended, in whatever way.
    """

    name: str
    job_name: str
    text: str
    offset: int = 0
    size: int = 0
    round: int = 0
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobContext:
    """Which submission of which run, where, opened when (ISO 8601), with what configuration."""

    run_id: str
    run_dir: Path
    submission: int
    created: str
    config: RunConfig

    def job_name(self, name: str) -> str:
        """The name in Slurm, by which a submission cut while sending is found.

        It ends in a digest of directory and time: a run of the same name, elsewhere or before, has another.
        """
        where = f"{self.run_dir}\n{self.created}".encode("utf-8", "surrogateescape")
        return f"{self.run_id}.{self.submission}.{name}.{hashlib.sha256(where).hexdigest()[:6]}"

    @property
    def comment(self) -> str:
        """What `squeue --format=%k` and sacct show."""
        return f"vllm-launch run={self.run_id} submission={self.submission}"


def render_array(
    context: JobContext, number: int, offset: int, size: int, round_: int = 0, share: int | None = None
) -> SbatchJob:
    """The `number`-th array of a submission: tasks `offset` to `offset + size - 1`, `share` of them at once.

    `round_` is above 0 for a follow-up that is queued with it and does what was left; no `share`, no limit.
    """
    name = in_round(f"tasks-{number}", round_)
    options = array_options(context, context.job_name(name), size, share)
    values = {"offset": offset, "size": size, "round": round_}
    text = _render("task.sh.j2", context, context.job_name(name), options, **values)
    return SbatchJob(name, context.job_name(name), text, offset, size, round_)


def render_merge(context: JobContext, round_: int = 0) -> SbatchJob:
    """The merge job of a submission, or of a follow-up that is queued with it."""
    name = in_round(MERGE, round_)
    job_name = context.job_name(name)
    options = merge_options(context, job_name)
    text = _render("merge.sh.j2", context, job_name, options, round=round_)
    return SbatchJob(name, job_name, text, round=round_)


def in_round(name: str, round_: int) -> str:
    """`merge`, and `merge.r1` for the first follow-up."""
    return f"{name}.r{round_}" if round_ else name


def array_options(context: JobContext, job_name: str, size: int, share: int | None) -> list[str]:
    """The #SBATCH options of an array, in the order they are written; `share` of its tasks run at once."""
    resources = context.config.resources
    options: dict[str, Option] = {
        "job-name": job_name,
        "comment": context.comment,
        "array": f"0-{size - 1}" if share is None else f"0-{size - 1}%{share}",
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "time": resources.time,
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": resources.cpus_per_task,
        "mem": resources.mem,
        "exclusive": resources.exclusive,
        **_gpu_option(resources, context.config.gpus_per_task),
        "signal": f"B:USR2@{resources.signal_lead_s}",
        "requeue": True,
        "open-mode": "append",
        **resources.extra_sbatch,
    }
    return format_options(options)


def merge_options(context: JobContext, job_name: str) -> list[str]:
    """The #SBATCH options of the merge job: a CPU job with resources of its own."""
    resources: ResourcesConfig = context.config.resources
    merge: MergeResources = resources.merge
    options: dict[str, Option] = {
        "job-name": job_name,
        "comment": context.comment,
        "partition": merge.partition or resources.partition,
        "account": merge.account or resources.account,
        "qos": merge.qos,
        "constraint": merge.constraint,
        "time": merge.time,
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": merge.cpus_per_task,
        "mem": merge.mem,
        "requeue": True,
        "open-mode": "append",
        **merge.extra_sbatch,
    }
    return format_options(options)


def format_options(options: Mapping[str, Option]) -> list[str]:
    """Options as #SBATCH lines take them, in their order; None and False are left to the site (0 is not)."""
    return [
        format_option(name, value)
        for name, value in options.items()
        if value is not None and value is not False
    ]


def format_option(name: str, value: str | int | bool) -> str:
    """`--name=value` as a #SBATCH line takes it; True is a bare flag.

    Within double quotes sbatch takes every character but `\\` and `"` as it is (measured on
    22.05 for all of ASCII): `#` begins no comment, a blank ends nothing. ConfigError for a
    line break or another character that would end the line or cannot be read back.
    """
    if value is True:
        return f"--{name}"
    text = str(value)
    if any(ord(character) < 32 or character in "\x7f\x85\u2028\u2029" for character in text):
        raise ConfigError(f"--{name}: {printable(text)!r} holds a control character. Write it without.")
    if text and PLAIN.issuperset(text):
        return f"--{name}={text}"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'--{name}="{escaped}"'


def _gpu_option(resources: ResourcesConfig, gpus: int) -> dict[str, Option]:
    """Exactly one GPU request, or none on a CPU; Slurm refuses two that disagree."""
    if gpus == 0:
        return {}
    kind = f"{resources.gpu_type}:" if resources.gpu_type else ""
    if resources.gpu_request is GpuRequest.GRES:
        return {"gres": f"gpu:{kind}{gpus}"}
    return {"gpus-per-node": f"{kind}{gpus}"}


def _render(template: str, context: JobContext, job_name: str, options: list[str], **values: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(shipped("templates", "sbatch")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["sh"] = lambda value: shlex.quote(str(value))
    run = RunPaths(context.run_dir)
    resources = context.config.resources
    return environment.get_template(template).render(
        job_name=job_name,
        run_id=context.run_id,
        run_dir=context.run_dir,
        submission=context.submission,
        version=launch.__version__,
        options=options,
        setup=resources.setup,
        python=resources.python or sys.executable,
        python_path=_python_path(),
        tasks_dir=run.task(context.submission, 0).parent,
        exclude_name=run.excluded(context.submission, 0).name,
        shells_name=run.shells(context.submission, 0).name,
        continue_code=int(ExitCode.CONTINUE),
        **values,
    )


def _python_path() -> Path | None:
    """The folder that holds this package, unless it is installed where Python looks anyway."""
    parent = Path(launch.__file__).resolve().parent.parent
    if parent.name in {"site-packages", "dist-packages"}:
        return None
    if ":" in str(parent):
        raise ConfigError(
            f"{printable(str(parent))}: a colon cannot stand in PYTHONPATH. Move vllm-launch, or install it."
        )
    return parent
