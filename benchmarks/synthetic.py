"""Runs made up for benchmarks: dialogues whose prompts have about the number of tokens that is asked for."""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from launch.config.schema import RunConfig
from launch.rundir.chunks import read_chunks
from launch.rundir.create import RunRequest, create_run
from launch.rundir.layout import RunPaths
from launch.rundir.plan import PlanReader
from launch.rundir.records import load_run, load_submission, run_config
from launch.rundir.sharing import Place
from launch.rundir.submissions import Opened, open_submission
from launch.scenarios.records import Request
from launch.worker.chunk_requests import planned_item
from launch.worker.requests import open_request_maker
from launch.worker.startup.expected_caches import expect_here

WORDS = (
    "harbour quiet morning letter window garden never always perhaps because river answer music winter "
    "sister yesterday remember coffee station bridge summer story question simple beautiful friend evening "
    "market yellow paper silver mountain doctor island ticket silence kitchen weather promise village"
).split()
MAX_TURNS = 12
MIN_WORDS = 8
"""Of a turn."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How much work: users, items of each, tokens of a prompt (about), samples an item, tokens of a
    sample."""

    num_users: int
    items_per_user: int
    prompt_tokens: int
    num_samples: int
    output_tokens: int

    @property
    def num_items(self) -> int:
        """Of all users."""
        return self.num_users * self.items_per_user


def make_run(
    root: Path, name: str, shape: Shape, sections: Mapping[str, Mapping[str, Any]], seed: int = 0
) -> RunPaths:
    """A run of one task with submission 1 opened; its prompts have about the tokens asked for on average.

    Two short runs tell how many words that takes with this tokenizer and template. `sections` go over the
    benchmark's own settings: every sample is `output_tokens` long (ignore_eos).
    """
    return open_run(root, name, shape, sections, seed=seed)[0]


def open_run(
    root: Path,
    name: str,
    shape: Shape,
    sections: Mapping[str, Mapping[str, Any]],
    *,
    seed: int = 0,
    gpu_type: str | None = None,
) -> tuple[RunPaths, Opened]:
    """The same, for the tasks that `sections` ask for, and what the planner said of it on such GPUs."""
    few, many = max(1, shape.prompt_tokens // 8), max(2, shape.prompt_tokens // 4)
    trial = replace(shape, num_users=min(8, shape.num_users), items_per_user=1)
    lengths = []
    for words in (few, many):
        made, config = _make(root, f"{name}.{words}", trial, words, sections, seed)
        open_submission(made, config, Place(1001, None, config.gpus_per_task))
        lengths.append(mean_prompt_tokens(made))
    words = few + round((shape.prompt_tokens - lengths[0]) * (many - few) / (lengths[1] - lengths[0]))
    run, config = _make(root, name, shape, max(1, words), sections, seed)
    warmth = expect_here(load_run(run), config, None)
    return run, open_submission(run, config, Place(1001, None, config.gpus_per_task, gpu_type, warmth=warmth))


def requests_of(run: RunPaths) -> Iterator[Request]:
    """The requests of submission 1 in the order in which its one task works."""
    record, submission = load_run(run), load_submission(run, 1)
    make_request = open_request_maker(run, record, run_config(record, submission))
    plan = PlanReader(run)
    for chunk in read_chunks(run.submission(1)):
        for user in chunk.users:
            planned, history = plan.user(user.span), plan.history(user.history_span)
            for number in user.items:
                made = make_request(planned, planned_item(planned, number), history)
                assert isinstance(made, Request), made
                yield made
    plan.close()


def mean_prompt_tokens(run: RunPaths) -> float:
    """Over all items."""
    lengths = [len(request.token_ids) for request in requests_of(run)]
    return sum(lengths) / len(lengths)


def _make(
    root: Path, name: str, shape: Shape, words: int, sections: Mapping[str, Mapping[str, Any]], seed: int
) -> tuple[RunPaths, RunConfig]:
    scenario = root / f"scenario-{name}"
    scenario.mkdir(parents=True, exist_ok=True)
    users = [_user(number, shape.items_per_user, words, seed) for number in range(shape.num_users)]
    (scenario / "test_leaderboard.json").write_text(json.dumps(users), encoding="utf-8")
    room = 2 * shape.prompt_tokens + 256  # nothing is cut to fit
    own: dict[str, dict[str, Any]] = {
        "data": {"scenario_path": scenario},
        "prompt": {"language": "en", "max_prompt_tokens": room, "max_chars_per_turn": 10**6},
        "sampling": {
            "num_samples": shape.num_samples,
            "max_tokens": shape.output_tokens,
            "ignore_eos": True,
        },
        "engine": {"max_model_len": room + shape.output_tokens},
        "resources": {"num_tasks": 1},
    }
    merged = {name: {**own.get(name, {}), **sections.get(name, {})} for name in {*own, *sections}}
    config = RunConfig.model_validate(merged)
    run = create_run(RunRequest(config, preset="benchmark", runs_dir=root / "runs", name=name))
    return run, config


def _user(number: int, num_items: int, words: int, seed: int) -> dict[str, Any]:
    """A user whose every item has a conversation of its own of about so many words."""
    chance = random.Random(f"{seed} {number}")
    data = []
    for _ in range(num_items):
        said = chance.choices(WORDS, k=words)
        num_turns = max(1, min(MAX_TURNS, words // MIN_WORDS))
        bounds = [words * place // num_turns for place in range(num_turns + 1)]
        context = [
            {
                "source": "BEN" if place % 2 else f"user{number}",
                "content": " ".join(said[begin:end]),
            }
            for place, (begin, end) in enumerate(pairwise(bounds))
        ]
        data.append({"context": context, "continuation": "unknown"})
    return {
        "user_hash": f"u{number}",
        "user": {"profile": {"name": f"user{number}", "age": 20 + number % 50}},
        "task": {
            "description": "dialogue",
            "task_behavior_collections": [{"type": "dialogue", "data": data}],
        },
    }
