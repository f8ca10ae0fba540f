"""The plan that the fast paths write is, byte for byte, the plan of the simple ones."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch.config.schema import Ablation, PromptConfig, RunConfig
from launch.model.tokens import Script, TokenRates, script_of
from launch.rundir.estimate import CALIBRATION_CHARS, PromptEstimate, first_words, texts
from launch.rundir.layout import RunPaths
from launch.rundir.missing_items import cost_missing, mean_sample
from launch.rundir.plan import HistoryEntries, IndexEntry, PlanReader, read_index
from launch.rundir.plan_writer import write_plan
from launch.rundir.progress import DONE, Settled
from launch.scenarios.records import Item, User, item_digest
from launch.scenarios.stream import stream_users
from tests.scenarios import builders

NUMBERS = [0, -7, 2**63, 2**64, 10**40, 0.1, -0.0, 1e-4, 1e-5, 1.5e300, 123456789.125, 1e15, 1e16, True, None]
STRANGE = '\x00\x1f\x7f"\\/\b\f\n\r\t\u2028 雨のち。ミ 한 🎬 é'


@pytest.fixture
def odd_scenario(tmp_path: Path) -> Path:
    """A user for each thing that two JSON writers may write differently."""
    users = [builders.user(f"n{place}") for place, _ in enumerate(NUMBERS)]
    for number, user in zip(NUMBERS, users, strict=True):
        user["task"]["task_behavior_collections"][0]["data"][0]["score"] = [
            number,
            {"z": number, "a": STRANGE},
        ]
    return builders.write(tmp_path / "t.json", [*users, builders.user(STRANGE, STRANGE)])


def write(paths: RunPaths, users: Sequence[User], estimate: PromptEstimate | None = None) -> list[bytes]:
    """The files of the plan of all items of `users`."""

    def nothing(user: User, items: Sequence[Item], history: HistoryEntries) -> list[float]:
        return [0.0] * len(items)

    write_plan(paths, [(user, user.items) for user in users], [], estimate or nothing)
    return [path.read_bytes() for path in (paths.users, paths.index, paths.plan_json)]


def test_fast_and_simple_write_the_same_plan(tmp_path: Path, odd_scenario: Path) -> None:
    users = list(stream_users(odd_scenario))
    assert {user.plain_floats for user in users} == {True, False}
    simple = [
        replace(
            user,
            plain_floats=False,
            items=tuple(replace(item, digest=item_digest(item.item_type, item.data)) for item in user.items),
        )
        for user in users
    ]
    assert write(RunPaths(tmp_path / "fast"), users) == write(RunPaths(tmp_path / "simple"), simple)


def test_a_record_comes_back_as_it_was_read(tmp_path: Path, odd_scenario: Path) -> None:
    paths = RunPaths(tmp_path / "run")
    write(paths, list(stream_users(odd_scenario)))
    reader = PlanReader(paths)
    read = [json.dumps(reader.user(entry.span).record) for entry in read_index(paths)]
    reader.close()
    assert read == [json.dumps(record) for record in json.loads(odd_scenario.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("max_chars", [3, 300])
@pytest.mark.parametrize("max_turns", [0, 1, 15])
def test_the_fast_estimate_is_that_of_the_simple_words(max_chars: int, max_turns: int) -> None:
    """Characters after the limits x rate of their script, counted one by one."""
    prompt = PromptConfig(
        ablation_config=Ablation.CONTEXT_ONLY, max_chars_per_turn=max_chars, max_context_turns=max_turns
    )
    rates = TokenRates(tuple(0.5 + script for script in Script))
    estimate = PromptEstimate(rates, prompt, budget=10**9, overhead=2.0)
    for user in stream_users(builders.DEMO / "DMSC" / "test_leaderboard.json"):
        for item, expected in zip(user.items, estimate(user, user.items, []), strict=True):
            turns = (item.data.get("context") or [])[-max_turns:] if max_turns else []
            text = " ".join(turn["content"][:max_chars] for turn in turns)
            assert expected == pytest.approx(2 + sum(rates.rates[script_of(one)] for one in text))


@pytest.mark.parametrize("copies", [1, 40])
def test_the_first_words_are_the_beginning_of_all_of_them(copies: int) -> None:
    record = {"a": ["word"] * copies, "b": {"c": ["雨 " * 30] * copies, "d": 7}}
    assert first_words(record) == " ".join(texts(record))[:CALIBRATION_CHARS]
    assert (len(first_words(record)) == CALIBRATION_CHARS) is (copies == 40)


def test_what_was_generated_says_how_long_samples_are(tmp_path: Path) -> None:
    """The rest of a run is planned by the mean sample of what is done, once that is enough."""
    config = RunConfig.model_validate({"sampling": {"num_samples": 5, "max_tokens": 512}})
    assert mean_sample(Settled(bytearray([DONE] * 99), 0, 99 * 5 * 40), config) is None
    assert mean_sample(Settled(bytearray([DONE] * 200 + [0] * 9), 0, 200 * 5 * 40), config) == 40
    entry = IndexEntry(0, "a", 0, (0, 1, None), None, ((0, 0), (0, 1)), ("d", "d"), (300.0, 600.0))
    work = cost_missing([entry], {1}, config, 40.0)
    assert [user.items for user in work.users] == [((1, 5 * 40 + 600 / 3),)]
    assert (work.num_items, work.sequence_tokens) == (1, 600 / 5 + 40)
    assert cost_missing([entry], {0, 1}, config, 40.0).sequence_tokens == pytest.approx(450 / 5 + 40)


@pytest.mark.parametrize(
    ("ending", "sample"),
    [
        ({}, 256),
        ({"ignore_eos": True}, 512),
        ({"ignore_eos": True, "stop": ["."]}, 256),
        ({"ignore_eos": True, "stop_token_ids": [7]}, 256),
    ],
)
def test_where_nothing_else_ends_a_sample_it_is_all_of_max_tokens(
    ending: dict[str, Any], sample: int
) -> None:
    config = RunConfig.model_validate({"sampling": {"num_samples": 5, "max_tokens": 512, **ending}})
    entry = IndexEntry(0, "a", 0, (0, 1, None), None, ((0, 0),), ("d",), (300.0,))
    (user,) = cost_missing([entry], {0}, config, None).users
    assert user.items == ((0, 5 * sample + 300 / 3),)
