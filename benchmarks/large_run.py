"""Makes a finished run of any size through the code of the package: real plan, real result and commit lines.

Only the generating is left out, and what makes it slow: no engine, no fsync, no thread for each task. The
scenario has users of ten items of three turns; each result has five samples, a quarter of them Chinese, and
is about 1,900 bytes long. Each task writes the items of its shard in random order, as an engine that
finishes them out of order does. A task in fifty was killed once: its first attempt ends in a torn line, and
some of what it had committed was generated again.
"""

import os
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from launch.config.schema import RunConfig
from launch.rundir.attempts import open_attempt
from launch.rundir.chunks import read_chunks
from launch.rundir.create import RunRequest, create_run
from launch.rundir.identity import settings_digest
from launch.rundir.journal import json_line, write_json
from launch.rundir.layout import AttemptPaths, RunPaths
from launch.rundir.plan import read_index
from launch.rundir.records import load_run
from launch.rundir.results import Committed, commit_line, result_line
from launch.rundir.sharing import Place
from launch.rundir.submissions import open_submission
from launch.scenarios.records import Cuts, Generation, Sample, item_seed
from tests.models import make_tiny_llama

ITEMS_PER_USER = 10
TURNS = 3
TURN_CHARS = 80
NUM_SAMPLES = 5
SAMPLE_CHARS = 300
ITEMS_PER_COMMIT = 64
KILLED_EVERY = 50
LOADING_S = 20.0
STAGGER_S = 5.0
WORDS = (
    "the a of and to in that it is was he she for on with as his her at be this had not but from they".split()
)
HANZI = "我们今天去看电影好吗他说明天会下雨所以不想出门不过晚上可以一起吃饭聊天"


@dataclass(frozen=True, slots=True)
class Work:
    """What a task writes from: key and digest of every item by number, and texts to draw from."""

    keys: Sequence[str]
    digests: Sequence[str]
    texts: Sequence[str]
    run_seed: int
    settings: str


def make_large_run(root: Path, num_items: int, num_tasks: int) -> RunPaths:
    """A run of `num_items` items in `num_tasks` result files and a few more, all done, nothing merged."""
    scenario = root / "scenario"
    write_scenario(scenario, num_items // ITEMS_PER_USER)
    config = RunConfig.model_validate(
        {
            "model": {"checkpoint": make_tiny_llama(root / "model", num_layers=1), "engine": "stub"},
            "data": {"scenario_path": scenario},
            "prompt": {"language": "en"},
            "sampling": {"num_samples": NUM_SAMPLES, "max_tokens": 128},
            "engine": {"max_model_len": 2048},
            "resources": {"num_tasks": num_tasks},
            "publish": {"output_dir": root / "published"},
        }
    )
    run = create_run(RunRequest(config, preset="benchmark", runs_dir=root / "runs", name="run"))
    open_submission(run, config, Place(num_tasks, None, 0))
    write_results(run, num_tasks)
    return run


def write_scenario(directory: Path, num_users: int) -> None:
    """test_leaderboard.json, a user at a time; the same for the same number."""
    directory.mkdir(parents=True)
    rng = random.Random(num_users)
    lines = [english(rng, TURN_CHARS) for _ in range(997)]
    with (directory / "test_leaderboard.json").open("wb", buffering=1 << 20) as file:
        for number in range(num_users):
            file.write(b"[\n" if number == 0 else b",\n")
            file.write(orjson.dumps(make_user(rng, number, lines)))
        file.write(b"\n]\n")


def make_user(rng: random.Random, number: int, lines: Sequence[str]) -> dict[str, object]:
    """One record in the leaderboard's form."""
    said = rng.choices(lines, k=ITEMS_PER_USER * TURNS)
    data = [
        {
            "context": [
                {"source": "BEN" if turn % 2 else "ADA", "content": text, "timestamp": "2024-01-01T10:00:00"}
                for turn, text in enumerate(said[place * TURNS : place * TURNS + TURNS])
            ],
            "timestamp": "2024-01-01T11:00:00",
        }
        for place in range(ITEMS_PER_USER)
    ]
    collection = {"type": "dialogue", "type_desc": "a dialogue", "data": data}
    profile = {"name": "ADA", "age": number % 80, "score": number / 7}
    return {
        "user_hash": f"{number * 2654435761 % 2**64:016x}",
        "user": {"profile": profile, "personality": {"structured": {"Calm": 3}, "unstructured": "Calm."}},
        "task": {"description": "Continue as the person.", "task_behavior_collections": [collection]},
    }


def english(rng: random.Random, num_chars: int) -> str:
    """Words of a few letters, about as long as asked for."""
    return " ".join(rng.choices(WORDS, k=num_chars // 4))[:num_chars]


def make_texts(rng: random.Random) -> list[str]:
    """Texts to draw samples from: two thirds of SAMPLE_CHARS to four thirds; a quarter in Chinese."""
    texts = []
    for number in range(4_001):
        size = rng.randint(SAMPLE_CHARS * 2 // 3, SAMPLE_CHARS * 4 // 3)
        if number % 4:
            texts.append(f'"{english(rng, size)}"\nshe said.')
        else:
            texts.append("".join(rng.choices(HANZI, k=size // 3)))
    return texts


def write_results(run: RunPaths, num_tasks: int) -> None:
    """The files of every task, one after the other."""
    record = load_run(run)
    rng = random.Random(num_tasks)
    keys: list[str] = []
    digests: list[str] = []
    for entry in read_index(run):
        keys += entry.keys
        digests += entry.digests
    work = Work(keys, digests, make_texts(rng), record.sampling.seed, settings_digest(record))
    shards: list[list[int]] = [[] for _ in range(num_tasks)]
    for chunk in read_chunks(run.submission(1)):
        shards[chunk.shard] += chunk.items
    for task, numbers in enumerate(shards):
        rng.shuffle(numbers)
        half = len(numbers) // 2
        if task % KILLED_EVERY:
            write_attempt(run, task, numbers, work)
        else:
            write_attempt(run, task, numbers[:half], work, torn=True)
            write_attempt(run, task, [*numbers[max(0, half - ITEMS_PER_COMMIT) :]], work)


def write_attempt(
    run: RunPaths, task: int, numbers: Sequence[int], work: Work, *, torn: bool = False
) -> None:
    """One attempt: results, commits of 64 lines each, and the small files beside them."""
    attempt, paths = open_attempt(run, 1, task)
    began = 1.7e9 + 10_000 * attempt + STAGGER_S * (task % 16)
    _write_about(paths, task, began, began + len(numbers), killed=torn)
    engine = paths.engine(0, 0)
    offset = 0
    with (
        engine.results.open("wb", buffering=1 << 20) as results,
        engine.commits.open("wb", buffering=1 << 20) as commits,
    ):
        for begin in range(0, len(numbers), ITEMS_PER_COMMIT):
            committed = []
            for generation in _generate(numbers[begin : begin + ITEMS_PER_COMMIT], work):
                line = result_line(generation, work.settings)
                results.write(line)
                committed.append(_committed(generation, offset, line))
                offset += len(line)
            commits.write(json_line(commit_line(began + begin, committed)))
        if torn:
            results.write(b'{"key":"')


def _generate(numbers: Sequence[int], work: Work) -> Iterator[Generation]:
    """The same text for the same item, whoever generates it."""
    for number in numbers:
        key = work.keys[number]
        seed = item_seed(work.run_seed, key)
        texts = [work.texts[(seed + index * 7919) % len(work.texts)] for index in range(NUM_SAMPLES)]
        samples = tuple(Sample(text, "stop" if seed % 8 else "length", len(text) // 4) for text in texts)
        yield Generation(number, key, work.digests[number], seed, 180, Cuts(), samples)


def _committed(generation: Generation, offset: int, line: bytes) -> Committed:
    return Committed(
        number=generation.number,
        offset=offset,
        length=len(line),
        crc32=zlib.crc32(line),
        num_prompt_tokens=generation.num_prompt_tokens,
        num_output_tokens=generation.num_output_tokens,
        failed=False,
        time=None,
    )


def _write_about(paths: AttemptPaths, task: int, began: float, ended: float, *, killed: bool) -> None:
    """attempt.json, events, heartbeat, ended.json and engine.json as a task of the stub engine has them."""
    slot = {"slot": 0, "start": 0, "gpus": [], "opened": began - LOADING_S}
    about = {"host": f"node{task % 64}", "started": began - LOADING_S - 1, "gpus": [], "slots": [slot]}
    write_json(paths.attempt_json, about)
    times = {"loading": began - LOADING_S, "generating": began, "draining": ended}
    rows = [
        {"time": time, "event": "phase", "slot": 0, "start": 0, "phase": phase}
        for phase, time in times.items()
        if not (killed and phase == "draining")
    ]
    paths.heartbeat.touch()
    os.utime(paths.heartbeat, (ended, ended))
    if not killed:
        rows.append({"time": ended + 1, "event": "engine_end", "slot": 0, "start": 0, "said": "empty"})
        write_json(paths.ended, {"code": 0, "reason": "empty", "ended": ended + 1.5})
    paths.events.write_bytes(b"".join(json_line(row) for row in rows))
    facts = {"kind": "stub", "version": "1", "device": "none", "settings": {}, "notes": [], "start_s": 1.0}
    write_json(paths.engine(0, 0).engine_json, facts)
