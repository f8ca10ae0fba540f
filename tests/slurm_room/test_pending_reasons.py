"""Reasons of squeue in plain words: every reason that Slurm 22.05 has, as its library lists them."""

import pytest

from launch.slurm.pending_reasons import in_words

# `strings libslurmfull.so` of slurm-wlm 22.05.8, from PartitionNodeLimit to AccountingPolicy; those that are
# words of other tables as well (Priority, Resources, None) are from squeue(1).
SINGLE = """
None Priority Resources Dependency Licenses Prolog Reservation TimeLimit InactiveLimit PartitionNodeLimit
PartitionTimeLimit PartitionDown PartitionInactive JobHeldAdmin JobHeldUser BeginTime AssociationJobLimit
AssociationResourceLimit AssociationTimeLimit ReqNodeNotAvail FrontEndDown SchedDefer NodeDown
BadConstraints SystemFailure JobLaunchFailure NonZeroExitCode InvalidAccount InvalidQOS QOSUsageThreshold
QOSJobLimit QOSResourceLimit QOSTimeLimit BlockMaxError BlockFreeAction Cleaning QOSNotAllowed
AccountNotAllowed DependencyNeverSatisfied JobHoldMaxRequeue JobArrayTaskLimit BurstBufferResources
BurstBufferStageIn BurstBufferOperation PowerNotAvail PowerReserved ReservationDeleted DeadLine
PartitionConfig AccountingPolicy RaisedSignal OutOfMemory
""".split()
LIMITS = """
QOSGrpCpuLimit QOSGrpCPUMinutesLimit QOSGrpCPURunMinutesLimit QOSGrpJobsLimit QOSGrpMemLimit QOSGrpNodeLimit
QOSGrpSubmitJobsLimit QOSGrpWallLimit QOSMaxCpuPerJobLimit QOSMaxCpuMinutesPerJobLimit QOSMaxNodePerJobLimit
QOSMaxWallDurationPerJobLimit QOSMaxCpuPerUserLimit QOSMaxJobsPerUserLimit QOSMaxNodePerUserLimit
QOSMaxSubmitJobPerUserLimit QOSMinCpuNotSatisfied AssocGrpCpuLimit AssocGrpCPUMinutesLimit
AssocGrpCPURunMinutesLimit AssocGrpJobsLimit AssocGrpMemLimit AssocGrpNodeLimit AssocGrpSubmitJobsLimit
AssocGrpWallLimit AssocMaxJobsLimit AssocMaxCpuPerJobLimit AssocMaxCpuMinutesPerJobLimit
AssocMaxNodePerJobLimit AssocMaxSubmitJobLimit AssocGrpUnknown AssocGrpUnknownMinutes
AssocGrpUnknownRunMinutes AssocMaxUnknownPerJob AssocMaxUnknownPerNode AssocMaxUnknownMinutesPerJob
AssocMaxCpuPerNode AssocGrpMemMinutes AssocGrpMemRunMinutes AssocMaxMemPerJob AssocMaxMemPerNode
AssocMaxMemMinutesPerJob AssocGrpNodeMinutes AssocGrpNodeRunMinutes AssocMaxNodeMinutesPerJob AssocGrpEnergy
AssocGrpEnergyMinutes AssocGrpEnergyRunMinutes AssocMaxEnergyPerJob AssocMaxEnergyPerNode
AssocMaxEnergyMinutesPerJob AssocGrpGRES AssocGrpGRESMinutes AssocGrpGRESRunMinutes AssocMaxGRESPerJob
AssocMaxGRESPerNode AssocMaxGRESMinutesPerJob AssocGrpLicense AssocGrpLicenseMinutes
AssocGrpLicenseRunMinutes AssocMaxLicensePerJob AssocMaxLicenseMinutesPerJob AssocGrpBB AssocGrpBBMinutes
AssocGrpBBRunMinutes AssocMaxBBPerJob AssocMaxBBPerNode AssocMaxBBMinutesPerJob QOSGrpUnknown
QOSGrpUnknownMinutes QOSGrpUnknownRunMinutes QOSMaxUnknownPerJob QOSMaxUnknownPerNode QOSMaxUnknownPerUser
QOSMaxUnknownMinutesPerJob QOSMinUnknown QOSMaxCpuPerNode QOSGrpMemoryMinutes QOSGrpMemoryRunMinutes
QOSMaxMemoryPerJob QOSMaxMemoryPerNode QOSMaxMemoryPerUser QOSMaxMemoryMinutesPerJob QOSMinMemory
QOSGrpNodeMinutes QOSGrpNodeRunMinutes QOSMaxNodeMinutesPerJob QOSMinNode QOSGrpEnergy QOSGrpEnergyMinutes
QOSGrpEnergyRunMinutes QOSMaxEnergyPerJob QOSMaxEnergyPerNode QOSMaxEnergyPerUser QOSMaxEnergyMinutesPerJob
QOSMinEnergy QOSGrpGRES QOSGrpGRESMinutes QOSGrpGRESRunMinutes QOSMaxGRESPerJob QOSMaxGRESPerNode
QOSMaxGRESPerUser QOSMaxGRESMinutesPerJob QOSMinGRES QOSGrpLicense QOSGrpLicenseMinutes
QOSGrpLicenseRunMinutes QOSMaxLicensePerJob QOSMaxLicensePerUser QOSMaxLicenseMinutesPerJob QOSMinLicense
QOSGrpBB QOSGrpBBMinutes QOSGrpBBRunMinutes QOSMaxBBPerJob QOSMaxBBPerNode QOSMaxBBPerUser QOSMinBB
MaxBBPerAccount MaxCpuPerAccount MaxEnergyPerAccount MaxGRESPerAccount MaxNodePerAccount
MaxLicensePerAccount MaxMemoryPerAccount MaxUnknownPerAccount MaxJobsPerAccount MaxSubmitJobsPerAccount
""".split()
DOWN = "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions"


@pytest.mark.parametrize("reasons", [SINGLE, LIMITS], ids=["single", "limits"])
def test_every_reason_has_words(reasons: list[str]) -> None:
    silent = [reason for reason in reasons if not in_words(reason).startswith(f"{reason}: ")]
    assert silent == []


@pytest.mark.parametrize(
    ("reason", "allowed", "words"),
    [
        ("QOSMaxGRESPerUser", "8 GPUs", "QOSMaxGRESPerUser: your QOS allows 8 GPUs per user"),
        (
            "QOSMaxGRESPerUser",
            None,
            "QOSMaxGRESPerUser: your QOS has a limit on GPUs per user, which is reached",
        ),
        (
            "AssocGrpGRES",
            "16 GPUs",
            "AssocGrpGRES: your association allows 16 GPUs for all its jobs together",
        ),
        ("AssocMaxJobsLimit", "4 jobs", "AssocMaxJobsLimit: your association allows 4 jobs"),
        (
            "MaxGRESPerAccount",
            None,
            "MaxGRESPerAccount: your QOS has a limit on GPUs per account, which is reached",
        ),
        (
            "QOSGrpCPUMinutesLimit",
            None,
            "QOSGrpCPUMinutesLimit: your QOS has a limit on CPU minutes for all its jobs together, which is"
            " reached",
        ),
        ("QOSMinGRES", None, "QOSMinGRES: your QOS asks for more GPUs than this job takes"),
        ("(Priority)", None, "Priority: others with a higher priority come first"),
        (
            "ReqNodeNotAvail, UnavailableNodes:n[1-4]",
            None,
            "ReqNodeNotAvail: nodes that it could use are down, drained or reserved (often maintenance)",
        ),
        (
            "launch failed requeued held",
            None,
            "launch failed requeued held: held: a node could not start it; scontrol release lets it go",
        ),
        *(
            (
                reason,
                None,
                "Nodes required for job are DOWN: or drained, or kept for partitions of a higher priority",
            )
            for reason in (DOWN, DOWN.replace(" ", "_"))
        ),
        ("RaisedSignal:9(Killed)", None, "RaisedSignal: its last life was ended by a signal"),
        ("ANewReason", None, "ANewReason"),
        ("", None, ""),
    ],
)
def test_words(reason: str, allowed: str | None, words: str) -> None:
    assert in_words(reason, allowed) == words
