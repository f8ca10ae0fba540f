"""Failures of an engine that generates: it dies or stands still, an item kills it, a disk is full."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from launch.rundir.layout import RunPaths
from launch.rundir.progress import FAILED, survey_settled
from tests.chaos.checks import check_publication
from tests.cli.disks import tiny_disk
from tests.faults.memory_group import memory_group
from tests.faults.poison import VARIABLE as POISON
from tests.faults.runs import CPU, QUICK, TASK_S, VLLM
from tests.faults.seen import Case, Expected, Seen, look
from tests.runs import REPOSITORY
from tests.vllm_plugins import plugin_path
from tests.worker.build_run import build_run
from tests.worker.cores import wait_for_busy_core
from tests.worker.tasks import finish, run_task, start_task

LONG = {**QUICK, "max_num_seqs": 2}
NUM_USERS, NUM_ITEMS_EACH = 15, 40
NUM_ITEMS = NUM_USERS * NUM_ITEMS_EACH
FIRST_RESULT_S = 200
POISONED = 13
SPARE_MIB = 150
PLENTY_MIB = 64 * 1024
DISK_KIB = 64 * 1024
WORKER_KILLED = "Worker proc VllmWorker-0 died unexpectedly (exit code: -9)"
MOST_LIKELY_VICTIM = "1000"  # proc_pid_oom_score_adj(5)
FULL = "cannot write: the disk is full"


def _long_run(home: Path, **more: Any) -> RunPaths:
    engine = {**LONG, **more.pop("engine", {})}
    sizes = {"num_users": NUM_USERS, "items_per_user": NUM_ITEMS_EACH}
    return build_run(home, **sizes, engine=engine, model=VLLM, **more)


def _killed_core(home: Path) -> Seen:
    run = _long_run(home)
    process = start_task(run, **CPU)
    wait_for_busy_core(run, FIRST_RESULT_S).kill()
    code, _ = finish(process, TASK_S)
    return look(run, code)


def _stopped_core(home: Path) -> Seen:
    run = _long_run(home, engine={"progress_timeout_s": 8})
    process = start_task(run, **CPU)
    wait_for_busy_core(run, FIRST_RESULT_S).send_signal(signal.SIGSTOP)
    code, _ = finish(process, TASK_S)
    return look(run, code)


def _host_out_of_memory(home: Path) -> Seen:
    seen = _filled_group(home)
    problems = [] if WORKER_KILLED in seen.log else ["the kernel killed another process than vLLM's worker"]
    return replace(seen, problems=problems)


def _core_out_of_memory(home: Path) -> Seen:
    seen = _filled_group(home, aim_at_core=True)
    problems = [] if WORKER_KILLED not in seen.log else ["the kernel killed vLLM's worker"]
    return replace(seen, problems=problems)


def _filled_group(home: Path, *, aim_at_core: bool = False) -> Seen:
    """A task in a memory cgroup that somebody else fills while it generates; then there is room again."""
    run = _long_run(home)
    with memory_group("run") as group:
        process = start_task(run, **CPU)
        group.procs.write_text(str(process.pid))
        core = wait_for_busy_core(run, FIRST_RESULT_S)
        if aim_at_core:
            Path(f"/proc/{core.pid}/oom_score_adj").write_text(MOST_LIKELY_VICTIM)
        limit = round(group.usage_mib) + SPARE_MIB
        group.limit(limit)
        hog = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.hog", str(group.directory)], cwd=REPOSITORY
        )
        assert hog.wait(60) == 0
        group.limit(PLENTY_MIB)
        code, _ = finish(process, TASK_S)
        return look(run, code, {"memory_limit_mib": limit, "killed_by_kernel": group.num_killed})


def _poison_item(home: Path) -> Seen:
    run = build_run(home, num_users=10, items_per_user=3, engine=QUICK, model=VLLM)
    path = plugin_path(home / "plugin", "poison", "tests.faults.poison:register")
    poisoned = {"PYTHONPATH": path, POISON: str(POISONED)}
    code, _ = run_task(run, timeout_s=TASK_S, **CPU, **poisoned)
    failed = [number for number, state in enumerate(survey_settled(run).states) if state == FAILED]
    problems = [] if failed == [POISONED] else [f"item {POISONED} is poisoned, and {failed} have failed"]
    return look(run, code, {"poisoned_item": POISONED, "failed_items": failed}, problems)


def _full_run_directory(home: Path) -> Seen:
    """Then room is made, and `vllm-launch resume` completes and publishes the run."""
    home.mkdir(parents=True, exist_ok=True)
    with tiny_disk(home / "disk", DISK_KIB) as disk:
        published = home / "published"
        run = _long_run(
            disk.root / "work",
            resources={"scratch_dir": home / "scratch"},
            publish={"output_dir": published},
        )
        disk.fill(120)
        code, told = run_task(run, timeout_s=TASK_S, **CPU)
        disk.clear()
        seen = look(run, code)
        code, said = _resume(run, home)
        problems = [] if code == 0 else [f"resume: exit {code}: {said}"]
        problems += check_publication(run, published, None)
        if not 0 < seen.num_done < NUM_ITEMS:
            problems.append(f"{seen.num_done} of {NUM_ITEMS} items were done when the disk was full")
        if FULL not in told:
            problems.append(f"nothing was said of the disk: {told}")
        facts = {"done_when_full": seen.num_done, "done_after_resume": survey_settled(run).num_done}
        return look(run, seen.code, facts, problems)


def _full_scratch(home: Path) -> Seen:
    home.mkdir(parents=True, exist_ok=True)
    with tiny_disk(home / "disk", DISK_KIB) as disk:
        run = build_run(
            home / "work",
            num_users=1,
            engine={**QUICK, "enforce_eager": False},  # what is compiled is written there
            model=VLLM,
            resources={"scratch_dir": disk.root},
        )
        disk.fill(64)
        code, _ = run_task(run, timeout_s=TASK_S, **CPU)
        return look(run, code)


def _resume(run: RunPaths, home: Path) -> tuple[int, str]:
    words = [sys.executable, "-m", "launch.cli.app", "resume", str(run.root)]
    environment = {**os.environ, **CPU, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        words, cwd=home, env=environment, check=False, capture_output=True, text=True, timeout=TASK_S
    )
    return done.returncode, done.stdout + done.stderr


RUNNING = (
    Case(
        "engine_dead",
        "engine_dead",
        "SIGKILL to vLLM's core while it generates",
        _killed_core,
        Expected(0, None, (("engine_dead", "restart"),), num_done=NUM_ITEMS),
    ),
    Case(
        "progress_timeout",
        "progress_timeout",
        "SIGSTOP to vLLM's core while it generates, progress_timeout_s 8",
        _stopped_core,
        Expected(0, None, (("progress_timeout", "restart"),), num_done=NUM_ITEMS),
    ),
    Case(
        "host_out_of_memory",
        "host_out_of_memory",
        "a neighbour takes the memory of the task's cgroup: the kernel kills vLLM's worker",
        _host_out_of_memory,
        Expected(0, None, (("host_out_of_memory", "restart"),), num_done=NUM_ITEMS),
    ),
    Case(
        "host_out_of_memory_core",
        "host_out_of_memory",
        "the same, with vLLM's core as the kernel's first choice: vLLM says of it only that it died",
        _core_out_of_memory,
        Expected(0, None, (("host_out_of_memory", "restart"),), num_done=NUM_ITEMS),
    ),
    Case(
        "poison_item",
        "engine_dead",
        "an item at which vLLM's core calls abort()",
        _poison_item,
        Expected(
            0,
            None,
            (
                ("engine_dead", "restart"),
                ("engine_dead", "bisect in_flight"),
                ("engine_dead", "bisect in_flight"),
                ("engine_dead", "fail_item item"),
            ),
            num_done=29,
            num_failed=1,
        ),
    ),
    Case(
        "disk_full_run_directory",
        "StorageError",
        "a file system of the run directory's own that fills up while it generates; then room is made",
        _full_run_directory,
        Expected(2, None, num_done=NUM_ITEMS),  # ended.json finds no room, so no class; done: by resume
    ),
    Case(
        "disk_full",
        "disk_full",
        "a full file system for caches and temporary files",
        _full_scratch,
        Expected(1, "disk_full"),
    ),
)
