"""The kernel's count of processes that it killed for want of memory, in both forms of control groups."""

from pathlib import Path

import pytest

from launch.worker.memory_kills import count_memory_kills

V1 = "9:name=systemd:/\n4:memory,hugetlb:/slurm/uid_0/job_7/step_batch/task_0\n0::/\n"
V2 = "0::/system.slice/slurmstepd.scope/job_7/step_batch/user/task_0\n"
OOM_CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"
EVENTS = "low 0\nhigh 0\nmax 31\noom 4\noom_kill 3\noom_group_kill 0\n"


def lay(root: Path, groups: str, place: str, text: str | None) -> int | None:
    """The count with `groups` as /proc/self/cgroup and `text` at `place` below the mounted controllers."""
    proc = root / "cgroup"
    proc.write_text(groups)
    if text is not None:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
    return count_memory_kills(proc, root)


def test_version_1(tmp_path: Path):
    place = "memory/slurm/uid_0/job_7/step_batch/task_0/memory.oom_control"
    assert lay(tmp_path, V1, place, OOM_CONTROL) == 2


def test_version_2(tmp_path: Path):
    place = "system.slice/slurmstepd.scope/job_7/step_batch/user/task_0/memory.events"
    assert lay(tmp_path, V2, place, EVENTS) == 3


@pytest.mark.parametrize("groups", [V1, V2, "", "0::/\n", "1:cpu:/\n"])
def test_what_is_out_of_sight_is_not_counted(tmp_path: Path, groups: str):
    assert lay(tmp_path, groups, "", None) is None


@pytest.mark.parametrize("text", ["", "oom_kill\n", "oom_kill many\n", "under_oom 0\n"])
def test_what_is_no_count(tmp_path: Path, text: str):
    assert lay(tmp_path, "0::/\n", "memory.events", text) is None


def test_no_proc(tmp_path: Path):
    assert count_memory_kills(tmp_path / "none", tmp_path) is None
