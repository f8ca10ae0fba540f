"""CPU that the worker's loop itself costs, per item and thread: the engine is an instant one.

    python -m benchmarks.loop_cost [--items 1000] [--out FILE.json]

A whole task of the real engine process code on a real run directory: claims, plan, prompts, transformers'
tokenizer, results with fsync, commits, done marks, canary. The engine returns a full window of ready-made
samples a step, so nothing here is the engine's or vLLM's. `encode ms` is the tokenizer's share, which
`LLM.generate` pays too when it is given text; `ours` is the rest, also per 10,000 output tokens: 0.15 is 15 %
of a core at 10,000 tokens/s.

Then whether Python's lock (GIL) is in the way of the thread that steps while the reader tokenises: how often
another thread gets it during one long call of each tokenizer. Last the CPU of a supervisor, by the second.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.instant import TEXT, InstantEngine, ThreadClock
from benchmarks.record import table, write_record
from benchmarks.synthetic import Shape, make_run
from benchmarks.worker_loop import Timed, fresh_copy, work_through
from demo.smollm2 import get_default_directory
from launch.model.tokenizer import (
    ChatTokenizer,
    _ReferenceTokenizer,
    open_light_tokenizer,
    open_reference_tokenizer,
)

ROOT = Path(__file__).resolve().parent.parent
SHAPES = ((1024, 5, 256), (256, 1, 32))
LONG_TEXT = 3000
WATCH_AFTER_S, WATCH_S = 5.0, 20.0


def measure(root: Path, name: str, shape: Shape, checkpoint: Path, repeats: int) -> dict[str, Any]:
    """The cheapest of some repeats: what the loop needs; more is what else the machine did."""
    planned = make_run(root, name, shape, {"model": {"checkpoint": checkpoint, "engine": "vllm"}})
    rows = []
    for number in range(repeats):
        run, clock = fresh_copy(planned, number), ThreadClock()
        with timed_encoding() as encode_s:
            timed = work_through(run, lambda _: InstantEngine(shape), clock.begin)
        rows.append(row(shape, timed, clock.stop(), sum(encode_s)))
    return min(rows, key=lambda row: row["ours ms"])


@contextmanager
def timed_encoding() -> Iterator[list[float]]:
    """CPU seconds of each call of transformers' tokenizer by the worker meanwhile."""
    seconds: list[float] = []
    encode = _ReferenceTokenizer._encode

    def timed(*arguments: Any, **named: Any) -> list[int]:
        began = time.thread_time()
        ids = encode(*arguments, **named)
        seconds.append(time.thread_time() - began)
        return ids

    with patch.object(_ReferenceTokenizer, "_encode", timed):
        yield seconds


def row(shape: Shape, timed: Timed, used: dict[str, float], encode_s: float) -> dict[str, Any]:
    """CPU milliseconds an item in all and by thread; and of a core at 10,000 output tokens a second."""
    items, tokens = timed.counts.done, timed.counts.output_tokens
    per_item = {thread: 1e3 * used.get(thread, 0.0) / items for thread in ("reader", "MainThread", "writer")}
    return {
        "work": f"{shape.prompt_tokens} in, {shape.num_samples} x {shape.output_tokens} out",
        "items": items,
        "ms an item": 1e3 * timed.cpu_s / items,
        "encode ms": 1e3 * encode_s / items,
        "ours ms": 1e3 * (timed.cpu_s - encode_s) / items,
        "reader ms": per_item["reader"],
        "main ms": per_item["MainThread"],
        "writer ms": per_item["writer"],
        "ours, s per 10,000 tok": (timed.cpu_s - encode_s) / tokens * 1e4,
    }


def lock_turns(checkpoint: Path) -> list[dict[str, Any]]:
    """How often another thread gets the GIL while one long text is tokenised: 0 means that it has to wait."""
    text = TEXT * LONG_TEXT
    light, reference = open_light_tokenizer(checkpoint), open_reference_tokenizer(checkpoint, False)
    used = {"transformers' (vLLM, HF)": reference, "tokenizers' (stub)": light}
    return [{"tokenizer": name, **_turns(text, tokenizer)} for name, tokenizer in used.items()]


def _turns(text: str, tokenizer: ChatTokenizer) -> dict[str, Any]:
    tokenizer.encode_text(text[:100])  # it is loaded
    stop, num_turns = threading.Event(), [0]

    def count() -> None:
        while not stop.is_set():
            num_turns[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=count)
    thread.start()
    before, began = num_turns[0], time.monotonic()
    num_tokens = len(tokenizer.encode_text(text))
    turns, seconds = num_turns[0] - before, time.monotonic() - began
    stop.set()
    thread.join()
    return {"tokens": num_tokens, "encode ms": 1e3 * seconds, "turns of another thread": turns}


def supervisor_rate(root: Path, checkpoint: Path) -> float:
    """CPU seconds of a task's supervisor by the second, while its engine process (the stub) generates."""
    run = make_run(
        root, "watched", Shape(40, 10, 128, 1, 32), {"model": {"checkpoint": checkpoint, "engine": "stub"}}
    )
    command = [sys.executable, "-m", "launch.worker", str(run.root), "--submission", "1", "--task", "0"]
    environment = {**os.environ, "VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.1"}
    with subprocess.Popen(
        [*command, "--tied", str(os.getpid())],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as task:
        time.sleep(WATCH_AFTER_S)
        before, began = cpu_of(task.pid), time.monotonic()
        time.sleep(WATCH_S)
        after, seconds = cpu_of(task.pid), time.monotonic() - began
        assert task.poll() is None, "it ended too early to be watched"
        task.terminate()
    return (after - before) / seconds


def cpu_of(pid: int) -> float:
    """CPU seconds of the living threads of a process."""
    texts = [path.read_text(encoding="ascii") for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(text.split()[0]) for text in texts) / 1e9


def main() -> None:
    """Measures and prints all three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--items-per-user", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--checkpoint", type=Path, default=None, help="whose tokenizer is used; SmolLM2")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/loop-cost.json")
    args = parser.parse_args()
    checkpoint = args.checkpoint or get_default_directory()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        for place, (prompt_tokens, num_samples, output_tokens) in enumerate(SHAPES):
            num_users = max(1, args.items // args.items_per_user)
            shape = Shape(num_users, args.items_per_user, prompt_tokens, num_samples, output_tokens)
            rows.append(measure(Path(scratch), f"shape{place}", shape, checkpoint, args.repeats))
        turns = lock_turns(checkpoint)
        supervisor = supervisor_rate(Path(scratch), checkpoint)
    found = {"rows": rows, "repeats": args.repeats, "lock_turns": turns, "supervisor_cpu_per_s": supervisor}
    write_record(args.out, found)
    print(table(rows), table(turns), f"supervisor: {100 * supervisor:.2f} % of a core", sep="\n\n")


if __name__ == "__main__":
    main()
