"""Every state of Slurm's manual has its phase."""

import pytest

from launch.slurm.states import KNOWN_STATES, JobPhase, job_phase

# job_state_codes.html: base states and flags, as squeue --format=%T writes them.
BASE = (
    "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PENDING PREEMPTED RUNNING"
    " SUSPENDED TIMEOUT"
).split()
FLAGS = (
    "COMPLETING CONFIGURING EXPEDITING LAUNCH_FAILED POWER_UP_NODE RECONFIG_FAIL REQUEUED REQUEUE_FED"
    " REQUEUE_HOLD RESIZING RESV_DEL_HOLD REVOKED SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED UPDATE_DB"
).split()


def test_all_are_known() -> None:
    assert {*BASE, *FLAGS} == KNOWN_STATES


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("PENDING", JobPhase.WAITING),
        ("REQUEUED", JobPhase.WAITING),
        ("RUNNING", JobPhase.RUNNING),
        ("COMPLETING", JobPhase.RUNNING),
        ("SUSPENDED", JobPhase.RUNNING),
        ("CANCELLED", JobPhase.ENDED),
        ("CANCELLED by 1000", JobPhase.ENDED),
        ("CANCELLED+", JobPhase.ENDED),
        ("PREEMPTED", JobPhase.ENDED),
        ("OUT_OF_MEMORY", JobPhase.ENDED),
    ],
)
def test_phases(state: str, phase: JobPhase) -> None:
    assert job_phase(state) is phase


@pytest.mark.parametrize("state", ["", "SOMETHING_NEW"])
def test_an_unknown_state_is_no_end(state: str) -> None:
    assert job_phase(state) is JobPhase.RUNNING
