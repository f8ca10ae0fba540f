"""How each kind of kill is done: it picks a victim among what runs, strikes, and says whom it hit."""

import contextlib
import signal
import time
from collections.abc import Callable

import psutil

from launch.rundir.layout import RunPaths
from tests.chaos.kinds import Kind
from tests.chaos.stub_work import CANCELLED, REQUEUED
from tests.chaos.victims import Fire
from tests.chaos.work import URGENT

MERGE_TIMEOUT_S = 60.0
NODE_DOWN_S = 1.0


def strike(kind: Kind, fire: Fire) -> str | None:
    """Strikes once; what was done to whom, or None when nothing fit was alive."""
    return _STRIKES[kind](fire)


def _kill(process: psutil.Process | None) -> bool:
    if process is None:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)
        return True
    return False


def _strike_engine(fire: Fire) -> str | None:
    victim = fire.pick(lambda each: bool(each.engine_tree()))
    tree = victim.engine_tree() if victim else []
    return victim.name if victim and tree and _kill(tree[0]) else None


def _strike_below(fire: Fire, title: str) -> str | None:
    victim = fire.pick(lambda each: each.below(title) is not None)
    return victim.name if victim and _kill(victim.below(title)) else None


def _strike_supervisor(fire: Fire) -> str | None:
    victim = fire.pick()
    return victim.name if victim and _kill(victim.supervisor) else None


def _strike_shell(fire: Fire) -> str | None:
    victim = fire.pick()
    if victim is None:
        return None
    with contextlib.suppress(psutil.NoSuchProcess):
        shell = victim.supervisor.parent()
        if shell is not None and shell.name() != "slurmstepd" and _kill(shell):
            return victim.name
    return None


def _strike_node(fire: Fire) -> str | None:
    victim = fire.pick()
    if victim is None or victim.node in fire.nodes_down:
        return None
    fire.site.slurm.kill_node(victim.node)
    fire.site.slurm.down(victim.node)
    fire.nodes_down[victim.node] = time.monotonic() + NODE_DOWN_S
    return victim.name


def _strike_scancel(fire: Fire) -> str | None:
    victim = fire.pick()
    if victim is None:
        return None
    fire.site.slurm.run("scancel", victim.job)
    return victim.name


def _strike_requeue(fire: Fire) -> str | None:
    victim = fire.pick()
    if victim is None or not fire.site.slurm.try_run("scontrol", "requeue", victim.job):
        return None  # it had ended by itself
    return victim.name


def _preempt(fire: Fire, partition: str) -> str | None:
    """A job of a higher partition asks for the GPU of the victim's node; Slurm takes the victim away."""
    victim = fire.pick(lambda each: each.partition == partition)
    if victim is None or victim.node in fire.nodes_down:
        return None
    wanted = (f"--partition={URGENT}", f"--nodelist={victim.node}", "--gres=gpu:1", "--time=1")
    quiet = (f"--job-name={URGENT}", "--output=/dev/null")
    job = fire.site.slurm.sbatch("#!/bin/sh\nsleep 1\n", *wanted, *quiet, cwd=fire.site.home)
    fire.site.slurm.wait(job, MERGE_TIMEOUT_S)
    return victim.name


def _strike_merge(fire: Fire) -> str | None:
    """kill -9 of a merge: after a random share of its life, or once it has claimed the run and reads."""
    shown = fire.random.uniform(0.02, 0.98) * fire.merge_s
    after_claim = fire.random.random() < 0.5
    claims = _claims(fire.run)
    process = fire.site.start("merge", str(fire.run.root))
    started = time.monotonic()
    if after_claim:
        shown = fire.random.uniform(0.0, 0.15)
        while process.poll() is None and _claims(fire.run) == claims:
            time.sleep(0.005)
        started = time.monotonic()
    while process.poll() is None and time.monotonic() - started < shown:
        time.sleep(0.005)
    is_alive = process.poll() is None
    process.kill()
    process.communicate()
    where = "after its claim" if after_claim else "after its start"
    return f"merge, {shown:.3f} s {where}" if is_alive else None


def _strike_two_merges(fire: Fire) -> str | None:
    """Two merges begun at once: both find items missing, or one is told that another is at work."""
    both = [fire.site.start("merge", str(fire.run.root)) for _ in range(2)]
    said = [process.communicate(timeout=MERGE_TIMEOUT_S)[0] for process in both]
    codes = sorted(process.returncode for process in both)
    if not set(codes) <= {0, 2, 3}:
        raise AssertionError(f"two merges at once: exits {codes}: {said}")
    return f"two merges at once: exits {codes[0]} and {codes[1]}"


def _claims(run: RunPaths) -> set[str]:
    return {path.name for path in run.merge.glob("*") if path.name.isdecimal()}


_STRIKES: dict[Kind, Callable[[Fire], str | None]] = {
    Kind.CORE: lambda fire: _strike_below(fire, "VLLM::EngineCore"),
    Kind.WORKER: lambda fire: _strike_below(fire, "VLLM::Worker"),
    Kind.ENGINE: _strike_engine,
    Kind.SUPERVISOR: _strike_supervisor,
    Kind.SHELL: _strike_shell,
    Kind.NODE: _strike_node,
    Kind.SCANCEL: _strike_scancel,
    Kind.REQUEUE: _strike_requeue,
    Kind.PREEMPT_REQUEUE: lambda fire: _preempt(fire, REQUEUED),
    Kind.PREEMPT_CANCEL: lambda fire: _preempt(fire, CANCELLED),
    Kind.MERGE: _strike_merge,
    Kind.TWO_MERGES: _strike_two_merges,
}
