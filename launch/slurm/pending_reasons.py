"""Why Slurm lets a job wait, in plain words: squeue(1), JOB REASON CODES; job_reason_codes.html.

Most reasons are limits of a QOS or an association, named by one scheme: whose, over what the limit counts,
of which resource. They are read by that scheme, the others by a table. What is neither keeps Slurm's word.
"""

import re

_HELD_BY_ADMIN = "held by an administrator: ask your site why"
_REASONS = {
    "None": "the scheduler has not looked at it yet",
    "WaitingForScheduling": "the scheduler has not looked at it yet",
    "SchedDefer": "the scheduler has not looked at it yet",
    "Priority": "others with a higher priority come first",
    "Resources": "next in line, but no node has enough free",
    "Dependency": "waits for other jobs of this run to end",
    "DependencyNeverSatisfied": "the job it waits for can no longer end as asked: cancel and resume",
    "BeginTime": "sent again, and may not start yet: Slurm waits about two minutes before a requeued job",
    "Cleaning": "its earlier life is still being cleaned up",
    "Prolog": "the site's prolog is still running",
    "JobArrayTaskLimit": "as many tasks of the array run as it allows at once",
    "JobHeldUser": "held by you: scontrol release lets it go",
    "JobHeldAdmin": _HELD_BY_ADMIN,
    "JobHoldMaxRequeue": "held: it was requeued too often; scontrol release lets it go",
    "launch failed requeued held": "held: a node could not start it; scontrol release lets it go",
    "JobLaunchFailure": "a node could not start it: file system, log directory or program",
    "NonZeroExitCode": "its last life failed",
    "OutOfMemory": "its last life was killed, for it used more memory than it had asked for",
    "RaisedSignal": "its last life was ended by a signal",
    "SystemFailure": "Slurm itself, a file system or the network failed",
    "ReqNodeNotAvail": "nodes that it could use are down, drained or reserved (often maintenance)",
    "Nodes required for job are DOWN": "or drained, or kept for partitions of a higher priority",
    "NodeDown": "a node that it needs is down",
    "FrontEndDown": "no front end node is up",
    "PowerNotAvail": "there is no power budget for it now",
    "PowerReserved": "the power budget is reserved now",
    "Reservation": "waits for its reservation to begin",
    "ReservationDeleted": "its reservation was deleted: cancel and resume without it",
    "Licenses": "waits for a licence",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition starts no jobs now",
    "PartitionNodeLimit": "asks for more nodes than its partition allows, or they are down",
    "PartitionTimeLimit": "asks for more time than its partition allows: lower resources.time",
    "PartitionConfig": "asks for what its partition does not allow",
    "BadConstraints": "no node meets its constraint: look at resources.constraint and gpu_type",
    "InvalidAccount": "its account is not valid: look at resources.account",
    "InvalidQOS": "its QOS is not valid: look at resources.qos",
    "QOSNotAllowed": "its QOS may not use this partition: look at resources.qos",
    "AccountNotAllowed": "its account may not use this partition: look at resources.account",
    "AccountingPolicy": "a limit of the accounting forbids it now",
    "AssociationJobLimit": "your association has as many jobs as it may",
    "AssociationResourceLimit": "your association uses as much as it may",
    "AssociationTimeLimit": "your association has used the time it may",
    "QOSJobLimit": "its QOS has as many jobs as it may",
    "QOSResourceLimit": "its QOS uses as much as it may",
    "QOSTimeLimit": "its QOS has used the time it may",
    "QOSUsageThreshold": "your share is used up below what its QOS asks for",
    "InactiveLimit": "the system's InactiveLimit was reached",
    "TimeLimit": "its time is used up",
    "DeadLine": "it can no longer end before its deadline",
    "BlockMaxError": "an error of its block of nodes",
    "BlockFreeAction": "its block of nodes is being freed",
    "BurstBufferResources": "waits for burst buffer space",
    "BurstBufferStageIn": "waits for data to be staged in",
    "BurstBufferOperation": "a burst buffer operation failed",
}
LIMIT = re.compile(
    r"(?P<whose>QOS|Assoc)?(?P<kind>Grp|Max|Min)"
    r"(?P<what>Cpu|CPU|GRES|Memory|Mem|Node|Jobs|SubmitJobs?|WallDuration|Wall|Energy|License|BB|Billing"
    r"|Unknown)"
    r"(?P<minutes>RunMinutes|Minutes)?(?:Per(?P<per>Job|Node|User|Account))?(?:NotSatisfied|Limit)?"
)
_NAMES = {"cpu": "CPUs", "gres": "GPUs", "mem": "memory", "memory": "memory", "node": "nodes", "jobs": "jobs"}
_NAMES |= {"wall": "wall time", "wallduration": "wall time", "energy": "energy", "license": "licences"}
_NAMES |= {
    "bb": "burst buffer",
    "billing": "billing units",
    "unknown": "a resource",
    "submitjob": "jobs queued",
}
_NAMES |= {"submitjobs": "jobs queued"}
_PER = {"Job": "per job", "Node": "per node", "User": "per user", "Account": "per account"}


def in_words(reason: str, allowed: str | None = None) -> str:
    """`QOSMaxGRESPerUser: your QOS allows 8 GPUs per user`; the reason alone where we know no more.

    `allowed` is the limit's number with its unit, where it was asked (launch.slurm.reason_limits).
    """
    head = reason.partition(",")[0].strip(" ()")  # ReqNodeNotAvail, UnavailableNodes:n[1-4]
    head = head.replace("_", " ")  # scontrol joins the words of a sentence so
    if head not in _REASONS:
        head = head.partition(":")[0]  # RaisedSignal:9(Killed)
    if head in _REASONS:
        return f"{head}: {_REASONS[head]}"
    found = LIMIT.fullmatch(head)
    return f"{head}: {_limit_in_words(found, allowed)}" if found else reason


def _limit_in_words(found: re.Match[str], allowed: str | None) -> str:
    owner = "your association" if found["whose"] == "Assoc" else "your QOS"
    what = _NAMES[found["what"].lower()]
    if found["minutes"]:
        what = f"{what.removesuffix('s')} minutes"
    scope = _PER.get(found["per"], "")
    if found["kind"] == "Min":
        return f"{owner} asks for more {what} than this job takes"
    if found["kind"] == "Grp":
        scope = "for all its jobs together"
    if allowed is not None:
        return f"{owner} allows {allowed} {scope}".rstrip()
    return f"{owner} has a limit on {what} {scope}".rstrip() + ", which is reached"
