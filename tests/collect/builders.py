"""Real run directories with results written by the worker's own writer, spread over tasks as a test asks."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from launch.collect.merge import output_dir_of
from launch.config.schema import RunConfig
from launch.rundir.attempts import EngineStart, open_attempt
from launch.rundir.create import RunRequest, create_run
from launch.rundir.identity import settings_digest
from launch.rundir.journal import Journal, write_json
from launch.rundir.layout import RunPaths
from launch.rundir.plan import read_index
from launch.rundir.records import load_run, load_submission, save_record
from launch.rundir.sharing import Place
from launch.rundir.submissions import open_submission
from launch.scenarios.records import Cuts, Failure, Generation, Sample, item_seed
from launch.worker.writer import ResultWriter
from tests.scenarios.builders import dialogue_item, turn, user

NUM_SAMPLES = 2
FACTS = {
    "kind": "stub",
    "version": "1",
    "device": "none",
    "max_num_seqs": 8,
    "settings": {},
    "versions": {"python": "3.11.7"},
    "notes": [],
    "phases_s": {},
    "start_s": 0.5,
}


def make_users(num_users: int = 4, num_items: int = 3) -> list[dict[str, Any]]:
    return [
        user(
            f"u{number}",
            dialogue=[dialogue_item(turn("BEN", f"Hello {place}.")) for place in range(num_items)],
        )
        for number in range(num_users)
    ]


def plan_run(
    root: Path,
    checkpoint: Path,
    users: Sequence[Mapping[str, Any]] | None = None,
    *,
    num_tasks: int = 2,
    data: Mapping[str, Any] | None = None,
    publish: Mapping[str, Any] | None = None,
    prompt: Mapping[str, Any] | None = None,
    max_model_len: int = 512,
    name: str = "run",
    num_samples: int = NUM_SAMPLES,
) -> RunPaths:
    """A run of the stub engine below `root`, with submission 1 opened and nothing generated."""
    scenario = root / f"scenario-{name}"
    scenario.mkdir(parents=True)
    text = json.dumps(users or make_users(), ensure_ascii=False)
    (scenario / "test_leaderboard.json").write_text(text, encoding="utf-8")
    config = RunConfig.model_validate(
        {
            "model": {"checkpoint": checkpoint, "engine": "stub"},
            "data": {"scenario_path": scenario, **(data or {})},
            "prompt": {"language": "en", **(prompt or {})},
            "sampling": {"num_samples": num_samples, "max_tokens": 16},
            "engine": {"max_model_len": max_model_len},
            "resources": {"num_tasks": num_tasks},
            "publish": {"output_dir": root / "published" / name, **(publish or {})},
        }
    )
    run = create_run(RunRequest(config, preset="test", runs_dir=root / "runs", name=name))
    open_submission(run, config, Place(1001, None, 0))
    return run


def copy_run(planned: RunPaths, root: Path) -> RunPaths:
    """The planned run again below `root`, published below `root`."""
    run = RunPaths(root / "runs" / planned.root.name)
    shutil.copytree(planned.root, run.root)
    change_publish(run, output_dir=root / "published" / planned.root.name)
    return run


def change_publish(run: RunPaths, **settings: Any) -> None:
    """Publishes otherwise from now on, as a resume would ask."""
    record = load_submission(run, 1)
    publish = record.publish.model_copy(update=settings)
    save_record(run.submission(1).submission_yaml, record.model_copy(update={"publish": publish}))


def make_generations(run: RunPaths, *, failed: Iterable[int] = (), says: str = "text") -> list[Generation]:
    """A generation of every item, in item order; those of `failed` numbers have failed."""
    record, found = load_run(run), []
    for entry in read_index(run):
        for place, key in enumerate(entry.keys):
            number = entry.first_item + place
            failure = Failure("too_long", "so long") if number in set(failed) else None
            samples = [
                Sample(f"{says} {number}.{index}\n影\u2028", "stop", 3) for index in range(NUM_SAMPLES)
            ]
            found.append(
                Generation(
                    number=number,
                    key=key,
                    digest=entry.digests[place],
                    seed=item_seed(record.sampling.seed, key),
                    num_prompt_tokens=11,
                    cuts=Cuts(history=number % 2),
                    samples=() if failure else tuple(samples),
                    failure=failure,
                )
            )
    return found


def write_results(run: RunPaths, chosen: Sequence[Generation], *, task: int = 0) -> EngineStart:
    """One attempt of a task that generated these, committed by the worker's writer."""
    attempt, paths = open_attempt(run, 1, task)
    engine = paths.engine(0, 0)
    write_json(paths.attempt_json, {"host": f"node{task}"})
    write_json(engine.engine_json, FACTS)
    writer = ResultWriter(engine, settings_digest(load_run(run)), lambda _: None)
    writer.open_chunk(0, [generation.number for generation in chosen])
    for generation in chosen:
        writer.put(generation)
    writer.close()
    return EngineStart(1, task, attempt, 0, 0)


def write_events(
    run: RunPaths, start: EngineStart, events: Iterable[tuple[float, str, dict[str, Any]]]
) -> None:
    """events.jsonl of an attempt: (time, event, what)."""
    journal = Journal(run.attempt(start.submission, start.task, start.attempt).events)
    for time, event, what in events:
        journal.append({"time": time, "event": event, **what})
    journal.close()


def published(run: RunPaths) -> Path:
    """Where the run is published."""
    return output_dir_of(run, load_submission(run, 1).publish)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def read_value(path: Path) -> Any:
    return orjson.loads(path.read_bytes())


def same_bytes(directory: Path) -> dict[str, bytes]:
    """The files that must not depend on where and when items were generated."""
    chosen = [
        directory / "generations.jsonl",
        directory / "test_leaderboard.json",
        *directory.glob("users/*"),
    ]
    return {str(path.relative_to(directory)): path.read_bytes() for path in chosen}
