"""CPU seconds of `vllm-launch score` on made-up runs of growing size, and what 100,000 items would cost.

`python -m benchmarks.score_speed --out FILE` from the repository root. Ten items a user, five
samples an item, a reference for each; 40 to 120 words, or 60 to 200 characters, a sample. CPU seconds, so
that other work on the machine changes less than it does by the clock. Prints one table, writes one JSON;
languages that FILE has already are kept.

The forecast for N items over P cores adds what one process does alone (reading, proving, summing, resampling)
to the scoring processes' seconds divided by P; both grow with the items.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.record import write_record
from launch.collect.merge import merge
from launch.scenarios.records import Generation, Sample
from tests.collect.builders import make_generations, plan_run, write_results
from tests.models import make_tiny_llama
from tests.scenarios.builders import dialogue_item, turn, user

ROOT = Path(__file__).resolve().parent.parent

NUM_SAMPLES, ITEMS_PER_USER = 5, 10
TARGET_ITEMS, TARGET_CORES, TARGET_S = 100_000, 16, 600
CHARACTERS = {
    "zh": "".join(chr(0x4E00 + place) for place in range(1500)),
    "ja": "".join(map(chr, range(0x3042, 0x3094))) + "日本語人私今行見食飲大小新古",
}
# The command, and then the CPU seconds and the peak KiB of its own process and of the scoring ones that it
# waited for. Its own peak is VmHWM: ru_maxrss outlives an exec, and would be this benchmark's, which made the
# runs.
SCORE = """
import resource, sys
from launch.cli.app import main
try:
    main()
finally:
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    own, children = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(own.ru_utime + own.ru_stime, status["VmHWM"].split()[0], file=sys.stderr)
    print(children.ru_utime + children.ru_stime, children.ru_maxrss, file=sys.stderr)
"""


def make_words(seed: int) -> list[str]:
    """3,000 words of two to nine letters, the first ones far more frequent when weighted."""
    chance = random.Random(seed)
    return ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(3000)]


WORDS = make_words(0)
WEIGHTS = [1 / (place + 1) for place in range(len(WORDS))]


def say(chance: random.Random, language: str) -> str:
    """A text of 40 to 120 words, or of 60 to 200 characters with a full stop now and then."""
    if language == "en":
        return " ".join(chance.choices(WORDS, WEIGHTS, k=chance.randint(40, 120)))
    letters = chance.choices(CHARACTERS[language], k=chance.randint(60, 200))
    return "".join(letter + ("。" if chance.random() < 0.05 else "") for letter in letters)


def with_texts(generations: list[Generation], language: str) -> Iterator[Generation]:
    """The generations with five samples each."""
    for generation in generations:
        chance = random.Random(generation.key)
        samples = tuple(Sample(say(chance, language), "stop", 80) for _ in range(NUM_SAMPLES))
        yield replace(generation, samples=samples)


def publish(root: Path, checkpoint: Path, num_items: int, language: str) -> Path:
    """A published run with references."""
    chance = random.Random(1)
    users = [
        user(
            f"u{number}",
            dialogue=[
                dialogue_item(turn("BEN", f"Hello {place}."), continuation=say(chance, language))
                for place in range(ITEMS_PER_USER)
            ],
        )
        for number in range(num_items // ITEMS_PER_USER)
    ]
    run = plan_run(
        root,
        checkpoint,
        users,
        name=f"{language}-{num_items}",
        num_samples=NUM_SAMPLES,
        prompt={"language": language},
    )
    write_results(run, list(with_texts(make_generations(run), language)))
    return merge(run).output_dir


def measure(directory: Path, processes: int) -> dict[str, Any]:
    """One scoring in a process of its own, and a digest of what it wrote."""
    began = time.monotonic()
    command = [sys.executable, "-c", SCORE, "score", str(directory), "--processes", str(processes)]
    done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wall_s = time.monotonic() - began
    own, children = ([float(each) for each in line.split()] for line in done.stderr.splitlines()[-2:])
    written = b"".join((directory / name).read_bytes() for name in ("scores.json", "item_scores.jsonl"))
    return {
        "processes": processes,
        "wall_s": round(wall_s, 2),
        "one_process_cpu_s": round(own[0], 2),
        "scoring_cpu_s": round(children[0], 2),
        "peak_mib": round(own[1] / 1024),
        "peak_mib_of_a_scoring_process": round(children[1] / 1024),
        "sha256": hashlib.sha256(written).hexdigest(),
    }


def forecast(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the target costs, by the growth from the smallest to the largest size: start-up counts once."""
    first, last = rows[0], rows[-1]
    items = last["items"] - first["items"]
    found = {}
    for name in ("one_process_cpu_s", "scoring_cpu_s"):
        an_item = (last[name] - first[name]) / items
        found[name] = first[name] + an_item * (TARGET_ITEMS - first["items"])
    seconds = found["one_process_cpu_s"] + found["scoring_cpu_s"] / TARGET_CORES
    return {
        "items": TARGET_ITEMS,
        "cores": TARGET_CORES,
        "seconds": round(seconds, 1),
        "limit_s": TARGET_S,
        **{name: round(value, 1) for name, value in found.items()},
        "scoring_cpu_ms_a_sample": round(1000 * found["scoring_cpu_s"] / TARGET_ITEMS / NUM_SAMPLES, 3),
    }


def main() -> None:
    """Measures every size and language, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[1000, 2000, 4000])
    parser.add_argument("--languages", nargs="+", default=["en", "zh", "ja"])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/score-speed.json")
    values = parser.parse_args()
    found: dict[str, Any] = {"languages": {}}
    if values.out.exists():  # languages that are not measured now keep their rows
        found["languages"] = json.loads(values.out.read_text())["languages"]
    form = "{:>8} {:>8} {:>5} {:>8} {:>10} {:>10} {:>9} {:>9}"
    print(form.format("language", "items", "proc", "clock s", "alone s", "scoring s", "MiB", "MiB each"))
    with tempfile.TemporaryDirectory() as place:
        checkpoint = make_tiny_llama(Path(place) / "model")
        for language in values.languages:
            rows, load_before = [], os.getloadavg()[0]
            for items in values.items:
                directory = publish(Path(place), checkpoint, items, language)
                row = {"items": items, **measure(directory, 2)}
                rows.append(row)
                cells = (row[name] for name in list(row)[:7])
                print(form.format(language, *cells), flush=True)
            alone = measure(directory, 1)
            found["languages"][language] = {
                "load": [load_before, os.getloadavg()[0]],
                "rows": rows,
                "same_bytes_in_one_process": alone["sha256"] == rows[-1]["sha256"],
                "forecast": forecast(rows),
            }
            print(language, json.dumps(found["languages"][language]["forecast"]), flush=True)
            write_record(values.out, found)


if __name__ == "__main__":
    main()
