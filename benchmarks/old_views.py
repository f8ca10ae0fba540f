"""Two tasks and a merge, each on a mount of its own whose kernel keeps names and attributes for a minute.

    python -m benchmarks.old_views [--cache 60] [--out FILE.json]

bindfs shows one directory in three places; the kernel caches of each are as old as an NFS client's may be
(acdirmax, acregmax). Every mount looks at the run first, so its caches are filled. Then a task works on each
of two mounts, undisturbed or one of them killed, and a merge follows at once on the third, which has to see
what the two did. Needs root, bindfs and FUSE. The last line says whether the same bytes were published.
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.record import write_record
from launch.collect.merge import merge
from launch.rundir.layout import RunPaths
from tests.local_submit import digests
from tests.worker.build_run import build_run
from tests.worker.tasks import run_tasks

ROOT = Path(__file__).resolve().parent.parent
MOUNTS = ("a", "b", "c")
NUM_USERS, ITEMS_PER_USER = 12, 4
SLOW = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.15"}


def main() -> None:
    """Tries both cases and prints them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--cache", type=int, default=60, help="seconds that the kernel keeps names and attributes"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/old-views.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        whole = build_run(Path(scratch) / "whole", num_users=NUM_USERS, items_per_user=ITEMS_PER_USER)
        run_tasks(whole, 1, [None])
        expected = digests(merge(whole).output_dir)
        cases = [
            try_case(Path(scratch) / name, args.cache, expected, is_killed=name == "killed")
            for name in ("undisturbed", "killed")
        ]
    host = {"kernel": platform.release(), "bindfs": version_of_bindfs()}
    write_record(args.out, {"cache_s": args.cache, "host": host, "cases": cases})
    print(f"wrote {args.out}")
    print("same bytes:", all(case["same_bytes"] for case in cases))


def version_of_bindfs() -> str:
    """As it says itself."""
    return subprocess.run(["bindfs", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def try_case(root: Path, cache_s: int, expected: dict[str, str], *, is_killed: bool) -> dict[str, Any]:
    """One run from its tasks to its publication; what was seen on the way."""
    with ExitStack() as stack:
        for mount in MOUNTS:
            stack.callback(unmount, mount_at(root, mount, cache_s))
        run = build_run(root / "real", num_users=NUM_USERS, items_per_user=ITEMS_PER_USER, num_tasks=2)
        for mount in MOUNTS:
            say(root, mount, "status")
        work(root, is_killed)
        lines = sum(len(path.read_bytes().splitlines()) for path in run.tasks.rglob("*.results.jsonl"))
        broken = [path.name for path in run.submission(1).claims.glob("*.2")]
        steps = [say(root, "c", "merge")]
        if steps[0]["code"] == 3:
            steps.append(say(root, "c", "resume"))
        steps.append(say(root, "b", "merge"))
        seen = [digests(root / mount / "leaderboards" / "run") == expected for mount in MOUNTS]
    return {
        "killed": is_killed,
        "items": NUM_USERS * ITEMS_PER_USER,
        "result_lines_of_the_tasks": lines,
        "claims_broken": broken,
        "steps": steps,
        "same_bytes": all(seen) and digests(root / "real" / "leaderboards" / "run") == expected,
    }


def mount_at(root: Path, name: str, cache_s: int) -> Path:
    """Shows root/real at root/<name>."""
    (root / "real").mkdir(parents=True, exist_ok=True)
    (root / name).mkdir()
    options = ",".join(f"{what}_timeout={cache_s}" for what in ("attr", "entry", "negative"))
    subprocess.run(["bindfs", "-o", options, root / "real", root / name], check=True)
    return root / name


def unmount(path: Path) -> None:
    """Lets go of it."""
    subprocess.run(["umount", path], check=True)


def work(root: Path, is_killed: bool) -> None:
    """A task on each of two mounts; the first is killed after four seconds if asked for."""
    words = [sys.executable, "-m", "launch.worker"]
    tasks = [
        subprocess.Popen(
            [*words, str(root / mount / "runs" / "run"), "--submission", "1", "--task", str(task)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **SLOW},
            stdout=subprocess.DEVNULL,
        )
        for task, mount in enumerate(MOUNTS[:2])
    ]
    if is_killed:
        time.sleep(4.0)
        tasks[0].send_signal(signal.SIGKILL)
    for task in tasks:
        task.wait()


def say(root: Path, mount: str, command: str) -> dict[str, Any]:
    """What a command says of the run on a mount, and how long it took."""
    run = RunPaths(root / mount / "runs" / "run")
    words = [sys.executable, "-m", "launch.cli.app", command, str(run.root)]
    started = time.monotonic()
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    row = {
        "mount": mount,
        "command": command,
        "code": done.returncode,
        "seconds": round(time.monotonic() - started, 1),
        "stderr": done.stderr.replace(str(root), ""),
    }
    print(
        f"{mount} {command:<7} {row['code']} {row['seconds']:6.1f} s  {row['stderr'][:90].splitlines()[:1]}"
    )
    return row


if __name__ == "__main__":
    main()
