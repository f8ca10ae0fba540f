"""What planning a large run costs: `submit --dry-run` as a whole process, in seconds, CPU seconds and memory.

    python -m benchmarks.plan_scale [--users 1000 10000 100000] [--repeat 1] [--scratch DIR] [--out FILE.json]

A scenario of U users x 10 items of 15 turns x 80 characters, every second user in Chinese, is written to a
scratch directory and planned with the preset throughput and the cluster slurm: parsed, checked, estimated by
the checkpoint's tokenizer, frozen in a run directory, shared over tasks, chunked, rendered as sbatch text. No
Slurm is needed. Then `status` reads the run. Each number is of one process, interpreter start included; with
--repeat the fastest counts. Prints a table and writes JSON.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson

from benchmarks.record import write_record
from demo.smollm2 import get_default_directory

ROOT = Path(__file__).resolve().parent.parent
ITEMS, TURNS, CHARACTERS = 10, 15, 80
POOL = 2048
ENGLISH = (
    "the harbour was quiet when we came back from town and nobody had asked for her since morning so I wrote"
    " another letter about the garden an old friend and that strange film with music you liked last year"
).split()
CHINESE = "我们昨天一起去看了那部电影，音乐很好听，但是故事有点长。你觉得怎么样？朋友说下次还想再来"


def main() -> None:
    """Measures every size and prints them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--users", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--checkpoint", type=Path, default=get_default_directory())
    parser.add_argument("--scratch", type=Path, help="Where scenario and run are written and removed again.")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/plan-scale.json")
    args = parser.parse_args()
    rows = []
    for users in args.users:
        with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
            rows.append(measure(Path(scratch), users, args))
        print(line_of(rows[-1]), file=sys.stderr, flush=True)
    print("\n".join([HEAD, *map(line_of, rows)]))
    found = {
        "command": "submit --preset throughput --cluster slurm --dry-run",
        "work": {"items_per_user": ITEMS, "turns_per_item": TURNS, "characters_per_turn": CHARACTERS},
        "repeat": args.repeat,
        "rows": rows,
    }
    write_record(args.out, found)


HEAD = (
    "   users      items   scenario     run   dry run     CPU  peak RSS   status     CPU  peak RSS   load"
    "\n                          MiB     MiB         s       s       MiB        s       s       MiB"
)


def line_of(row: dict[str, Any]) -> str:
    """A line of the table."""
    plan, status = row["submit"], row["status"]
    sizes = f"{row['users']:>8,} {row['items']:>10,} {row['scenario_mib']:>10,.0f} {row['run_mib']:>7,.0f}"
    planned = f"{plan['wall_s']:>9.1f} {plan['cpu_s']:>7.1f} {plan['peak_rss_mib']:>9,.0f}"
    shown = f"{status['wall_s']:>8.1f} {status['cpu_s']:>7.1f} {status['peak_rss_mib']:>9,.0f}"
    return f"{sizes} {planned} {shown} {plan['load']:>6.1f}"


def measure(scratch: Path, users: int, args: argparse.Namespace) -> dict[str, Any]:
    """The fastest of the repeated plans of one size, and of the looks at it."""
    scenario = scratch / "scenario"
    write_scenario(scenario, users)
    plans, looks = [], []
    for _ in range(args.repeat):
        shutil.rmtree(scratch / "runs", ignore_errors=True)
        plans.append(run(submit_words(scratch, args.checkpoint), scratch))
        looks.append(run([*door("vllm-launch"), "status", str(scratch / "runs" / "big")], scratch))
    return {
        "users": users,
        "items": users * ITEMS,
        "scenario_mib": tree_mib(scenario),
        "run_mib": tree_mib(scratch / "runs"),
        "submit": min(plans, key=lambda one: one["wall_s"]),
        "status": min(looks, key=lambda one: one["wall_s"]),
    }


def submit_words(scratch: Path, checkpoint: Path) -> list[str]:
    """The command line of a dry run into a fresh directory."""
    words = ["--preset", "throughput", "--cluster", "slurm", "--dry-run", "--name", "big"]
    words += ["--scenario_path", str(scratch / "scenario"), "--checkpoint_dir", str(checkpoint)]
    words += ["--engine", "vllm", "--dataset", "Chameleons", "--runs-dir", str(scratch / "runs")]
    return [*door("submit"), *words, "--output_dir", str(scratch / "published")]


def door(name: str) -> list[str]:
    """How a command is started from a checkout."""
    if name == "submit":
        return [sys.executable, str(ROOT / "launch" / "submit.py")]
    return [sys.executable, "-m", "launch.cli.app"]


def run(words: list[str], scratch: Path) -> dict[str, float]:
    """Wall and CPU seconds and the peak of resident memory of one process that must succeed."""
    said = scratch / "said.txt"
    load, started = os.getloadavg()[0], time.monotonic()
    with said.open("wb") as out:
        files = [(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, out.fileno(), 2)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        pid = os.posix_spawn(words[0], words, environment, file_actions=files)
        _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - started
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(words)} failed:\n{said.read_text()}")
    cpu = usage.ru_utime + usage.ru_stime
    sizes = {"peak_rss_mib": round(usage.ru_maxrss / 1024, 1), "load": round(load, 2)}
    return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2), **sizes}


def write_scenario(directory: Path, users: int) -> None:
    """The scenario, a user at a time: the same bytes for the same number of users."""
    directory.mkdir()
    chooser = random.Random(0)
    pools = (english_turns(chooser), chinese_turns(chooser))
    with (directory / "test_leaderboard.json").open("wb") as out:
        for number in range(users):
            out.write(b"[\n" if number == 0 else b",\n")
            out.write(orjson.dumps(make_user(number, pools[number % 2], chooser)))
        out.write(b"\n]\n")


def make_user(number: int, pool: list[str], chooser: random.Random) -> dict[str, Any]:
    """One user; items of different users share no order of turns."""
    name = f"SPEAKER{number}"
    data = []
    for place in range(ITEMS):
        turns = [
            {
                "source": name if turn % 2 else "PARTNER",
                "content": content,
                "timestamp": f"2020-01-{turn + 1:02}",
            }
            for turn, content in enumerate(chooser.choices(pool, k=TURNS))
        ]
        item = {
            "context": turns,
            "continuation": chooser.choice(pool),
            "timestamp": f"2020-02-{place + 1:02}",
        }
        data.append(item)
    task = {
        "description": "Answer as the user would.",
        "task_behavior_collections": [{"type": "dialogue", "data": data}],
    }
    return {"user_hash": f"{number:032x}", "user": {"profile": {"name": name, "gender": "f"}}, "task": task}


def english_turns(chooser: random.Random) -> list[str]:
    """Sentences of 80 characters."""
    return [" ".join(chooser.choices(ENGLISH, k=CHARACTERS))[: CHARACTERS - 1] + "." for _ in range(POOL)]


def chinese_turns(chooser: random.Random) -> list[str]:
    """Sentences of 80 characters."""
    return ["".join(chooser.choices(CHINESE, k=CHARACTERS - 1)) + "。" for _ in range(POOL)]


def tree_mib(root: Path) -> float:
    """MiB of the files below a directory."""
    return round(sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 2**20, 1)


if __name__ == "__main__":
    main()
