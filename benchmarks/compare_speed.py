"""Seconds and memory of `vllm-launch compare` on two made-up runs whose texts all differ half way.

`python -m benchmarks.compare_speed --items 10000 --checkpoint DIR` from the repository root. Ten
items a user, five samples an item, 40 to 120 words a sample, a reference for each item. Prints one table.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from launch.collect.merge import merge
from launch.scenarios.records import Generation, Sample
from tests.collect.builders import make_generations, plan_run, write_results
from tests.scenarios.builders import dialogue_item, turn, user

NUM_SAMPLES, ITEMS_PER_USER = 5, 10
# The command, and then its own peak: the ru_maxrss of a child begins with the memory of its parent.
COMPARE = """
import sys
from pathlib import Path
from launch.cli.app import main
try:
    main()
finally:
    status = Path("/proc/self/status").read_text()
    print(next(line for line in status.splitlines() if line.startswith("VmHWM")), file=sys.stderr)
"""


def make_words(seed: int) -> list[str]:
    """3,000 words of two to nine letters."""
    chance = random.Random(seed)
    return ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(3000)]


def say(chance: random.Random, words: list[str], num_words: int) -> str:
    """So many words."""
    return " ".join(chance.choices(words, k=num_words))


def with_texts(generations: list[Generation], side: int) -> Iterator[Generation]:
    """The generations with five samples each; both sides begin alike and end each in its own words."""
    words = make_words(0)
    for generation in generations:
        samples = []
        for place in range(NUM_SAMPLES):
            alike = random.Random(f"{generation.key} {place}")
            own = random.Random(f"{generation.key} {place} {side}")
            half = alike.randint(20, 60)
            text = f"{say(alike, words, half)} {say(own, words, half)}"
            samples.append(Sample(text, "stop", 2 * half))
        yield replace(generation, samples=tuple(samples))


def publish(root: Path, checkpoint: Path, num_items: int, side: int) -> Path:
    """One of the two directories."""
    words, chance = make_words(0), random.Random(1)
    users = [
        user(
            f"u{number}",
            dialogue=[
                dialogue_item(turn("BEN", f"Hello {place}."), continuation=say(chance, words, 80))
                for place in range(ITEMS_PER_USER)
            ],
        )
        for number in range(num_items // ITEMS_PER_USER)
    ]
    run = plan_run(root, checkpoint, users, name=f"side{side}", num_samples=NUM_SAMPLES)
    write_results(run, list(with_texts(make_generations(run), side)))
    return merge(run).output_dir


def main() -> None:
    """Makes both, compares them in a process of its own, and prints what that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--checkpoint", type=Path, required=True, help="whose tokenizer counts positions")
    parser.add_argument("words", nargs="*", help="further flags of compare, behind --")
    values = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        sides = [publish(Path(place), values.checkpoint, values.items, side) for side in (0, 1)]
        size = (sides[0] / "generations.jsonl").stat().st_size
        began = time.monotonic()
        command = [sys.executable, "-c", COMPARE, "compare", *map(str, sides), *values.words]
        done = subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        seconds = time.monotonic() - began
        peak = int(done.stderr.split()[-2]) / 1024
    print(f"{'items':>8} {'samples':>8} {'MB a side':>10} {'seconds':>8} {'peak MiB':>9}")
    print(f"{values.items:8} {NUM_SAMPLES:8} {size / 1e6:10.1f} {seconds:8.1f} {peak:9.0f}")


if __name__ == "__main__":
    main()
