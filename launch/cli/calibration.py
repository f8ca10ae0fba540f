"""Draws the prompts that a quantisation is calibrated with: those the model will be given, as token ids."""

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from launch.cli.prompts import open_maker
from launch.config.schema import RunConfig
from launch.errors import InputError
from launch.rundir.freeze import scenario_dir, scenario_file
from launch.scenarios.fit import PromptMaker, fit
from launch.scenarios.history import HistoryEntry, find_history, leave_out_test_items, stream_history
from launch.scenarios.records import Request
from launch.scenarios.stream import count_items, stream_users

MAX_PROMPT_TOKENS = 2048
"""Longer prompts lose history and turns: what GPTQ learns from is many prompts, and its time is tokens."""


@dataclass(frozen=True, slots=True)
class CalibrationPrompts:
    """Token ids of the prompts, by item key in the order of the draw; `of_items` items were there."""

    token_ids: dict[str, tuple[int, ...]]
    of_items: int
    max_prompt_tokens: int

    @property
    def digest(self) -> str:
        """One digest over keys and token ids, 32 hex digits."""
        digest = hashlib.blake2b(digest_size=16)
        for key, ids in self.token_ids.items():
            digest.update(f"{key} {ids}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    @property
    def num_tokens(self) -> int:
        """Of all prompts together."""
        return sum(map(len, self.token_ids.values()))


def draw_prompts(config: RunConfig, count: int) -> CalibrationPrompts:
    """The prompts of `count` items of the scenario, drawn over all users, the same at every call.

    Items are ranked by a hash of their key, so a larger draw holds a smaller one. An item whose prompt does
    not fit or which the chat template refuses is left out. InputError when none is left.
    """
    limit = min(config.max_prompt_tokens, MAX_PROMPT_TOKENS)
    prompt = config.prompt.model_copy(update={"max_prompt_tokens": limit})
    config = config.model_copy(update={"prompt": prompt})
    chosen, of_items = _choose(config, count)
    made = dict(_make(open_maker(config), config, chosen))
    ranked = {key: made[key] for key in sorted(made, key=_rank)}
    if not ranked:
        raise InputError(
            f"{scenario_file(config)}: no prompt of {len(chosen)} fits {limit} tokens, so there is nothing to"
            " calibrate with. Raise --max-prompt-tokens or --max-model-len."
        )
    return CalibrationPrompts(ranked, of_items, limit)


def _choose(config: RunConfig, count: int) -> tuple[set[str], int]:
    """The keys of the first `count` items of the ranking, and how many items there are."""
    keys = [item.key for user in stream_users(scenario_file(config)) for item in user.items]
    return set(heapq.nsmallest(count, keys, key=_rank)), len(keys)


def _rank(key: str) -> bytes:
    name = key.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(name, digest_size=8).digest() + name


def _make(maker: PromptMaker, config: RunConfig, chosen: set[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    users = {key.rpartition("#")[0] for key in chosen}
    history = _history(config, users)
    for user in stream_users(scenario_file(config)):
        entries, _ = leave_out_test_items(history.get(user.user_hash, ()), user.record)
        for item in user.items:
            if item.key in chosen:
                fitted = fit(maker, user.record, item, entries)
                if isinstance(fitted, Request):
                    yield item.key, fitted.token_ids


def _history(config: RunConfig, users: set[str]) -> dict[str, list[HistoryEntry]]:
    path = find_history(scenario_dir(config), config.prompt.ablation_config)
    if path is None:
        return {}
    prompt = config.prompt
    asked = count_items(scenario_file(config))
    entries = stream_history(path, prompt.max_history_entries, prompt.max_chars_per_turn, asked)
    return {user_hash: kept for user_hash, kept in entries if user_hash in users}
