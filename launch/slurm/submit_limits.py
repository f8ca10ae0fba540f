"""How many jobs Slurm lets this user have queued: of the QOS, the association and the controller.

Each task of an array counts, waiting or running (resource_limits.html). A QOS's limit comes before that of
the association; both are only known where slurmdbd runs. A limit that cannot be asked is none: sbatch then
says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from launch.config.schema import ResourcesConfig
from launch.errors import SchedulerError
from launch.slurm.associations import TIMEOUT_S, limit_of_qos, limits_are_enforced, own_association
from launch.slurm.commands import call, configured


@dataclass(frozen=True, slots=True)
class SubmitLimit:
    """At most `num_jobs` may be queued, `num_queued` are; `source` names whose limit it is."""

    num_jobs: int
    source: str
    num_queued: int

    def tasks(self, num_rounds: int = 0) -> int:
        """Tasks that fit, with a merge job, once and in each of `num_rounds` follow-ups; 0 if none."""
        return max(0, (self.num_jobs - self.num_queued) // (1 + num_rounds) - 1)


def submit_limit(resources: ResourcesConfig) -> SubmitLimit | None:
    """The limit that `max_submit` sets, a number of jobs as Slurm counts them, else the one that Slurm tells.

    None where none is told.
    """
    if resources.max_submit is not None:
        return SubmitLimit(resources.max_submit, "max_submit", _num_queued())
    return ask_submit_limit(resources)


def ask_submit_limit(resources: ResourcesConfig) -> SubmitLimit | None:
    """The tightest limit on what this user may queue; None where none is told."""
    found = [*_of_accounting(resources), *_of_controller()]
    if not found:
        return None
    number, source = min(found)
    return SubmitLimit(number, source, _num_queued())


def _of_accounting(resources: ResourcesConfig) -> Iterable[tuple[int, str]]:
    """The QOS's limit, else the association's; none where the controller does not enforce limits."""
    if not limits_are_enforced():
        return
    own = own_association(resources, "maxsubmitjobs")
    if own is None:
        return
    of_qos = limit_of_qos(own.qos, "maxsubmitjobsperuser")
    if of_qos.isdecimal():
        yield int(of_qos), f"MaxSubmitJobsPerUser of QOS {own.qos}"
    elif own.value.isdecimal():
        yield int(own.value), "MaxSubmitJobs of your association"


def _of_controller() -> Iterable[tuple[int, str]]:
    number = configured("MaxJobCount", r"\d+")
    if number is not None:
        yield int(number), "MaxJobCount of the controller"


def _num_queued() -> int:
    """Jobs of this user that wait or run, a task of an array each."""
    try:
        return len(
            call(["squeue", "--noheader", "--me", "--all", "--array", "--format=%i"], TIMEOUT_S).splitlines()
        )
    except SchedulerError:
        return 0
