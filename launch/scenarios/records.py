"""The records that flow: user, item, request, sample, generation.

A *user* is one element of a scenario file; an *item* is one thing to continue and the unit of result; a
*request* is an item made ready for the engine; a *generation* is its finished result.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

JsonObject = Mapping[str, Any]


class ItemType(StrEnum):
    """`type` of a task_behavior_collection; each has its prompt file templates/prompts/<type>.j2."""

    DIALOGUE = "dialogue"
    MOVIE_REVIEW = "movie_review"
    MOVIE_RATING = "movie_rating"
    QUESTIONNAIRE = "questionnaire"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to continue.

    `number` counts items over the whole scenario in input order, from 0; `collection` and `place` say where
    in its user's record it stands.
    """

    number: int
    key: str
    digest: str
    item_type: ItemType
    collection: int
    place: int
    data: JsonObject


@dataclass(frozen=True, slots=True)
class User:
    """One element of a scenario file: `record` is the input as it was read, `position` its place from 0.

    `plain_floats`: orjson writes the record's floats as json does.
    """

    position: int
    user_hash: str
    record: JsonObject
    items: tuple[Item, ...]
    plain_floats: bool = False


@dataclass(frozen=True, slots=True)
class Cuts:
    """What was left out so that a prompt fits; counts of turns or history entries, characters clipped."""

    history: int = 0
    context: int = 0
    clipped_turns: int = 0

    def as_json(self) -> dict[str, int]:
        """The counts by name, as result lines hold them."""
        return {"history": self.history, "context": self.context, "clipped_turns": self.clipped_turns}


@dataclass(frozen=True, slots=True)
class Request:
    """An item made ready for the engine: token ids of the whole prompt and the item's own seed."""

    number: int
    key: str
    digest: str
    token_ids: tuple[int, ...]
    seed: int
    cuts: Cuts


@dataclass(frozen=True, slots=True)
class Sample:
    """One generated continuation; `finish_reason` is "stop" or "length" and nothing else."""

    text: str
    finish_reason: str
    num_tokens: int
    reasoning: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item has failed for good: a class such as `too_long` or `refused`, and a sentence."""

    failure_class: str
    message: str


@dataclass(frozen=True, slots=True)
class Generation:
    """The finished result of one item: its samples in order, or its failure, never both."""

    number: int
    key: str
    digest: str
    seed: int
    num_prompt_tokens: int
    cuts: Cuts
    samples: tuple[Sample, ...] = ()
    failure: Failure | None = None

    @property
    def num_output_tokens(self) -> int:
        """Tokens over all samples."""
        return sum(sample.num_tokens for sample in self.samples)


def item_key(user_hash: str, collection: int, place: int) -> str:
    """The key of an item, unique in a scenario because user_hash is: `<user_hash>#<collection>.<place>`."""
    return f"{user_hash}#{collection}.{place}"


def item_digest(item_type: str, data: JsonObject, *, plain_floats: bool = False) -> str:
    """32 hex digits over the item as the input holds it; equal digests mean equal items."""
    text = compact_json([item_type, data], sort_keys=True, plain_floats=plain_floats)
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def compact_json(value: Any, *, sort_keys: bool = False, plain_floats: bool = False) -> bytes:
    """JSON in UTF-8 without spaces, byte for byte what the standard library writes.

    With `plain_floats` (see `User`) by orjson, eight times as fast: the two write text, lists, objects and
    such floats alike; an integer of more than 64 bits orjson refuses.
    """
    if plain_floats:
        try:
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort_keys else None)
        except orjson.JSONEncodeError:
            pass
    text = json.dumps(value, ensure_ascii=False, sort_keys=sort_keys, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "surrogatepass")


def item_seed(run_seed: int, key: str) -> int:
    """The seed of an item: a 62-bit hash of (run seed, item key).

    It never depends on shard, task or order. 62 bits, because vLLM gives sample i the seed + i and stores
    it in a signed 64-bit integer.
    """
    text = f"{run_seed}\x00{key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 2
