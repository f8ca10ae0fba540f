"""The identity of a run: a digest over model, data, prompt and sampling, and what two of them differ in."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Protocol

from launch.config.schema import (
    IDENTITY_SECTIONS,
    DataConfig,
    ModelConfig,
    PromptConfig,
    RunConfig,
    SamplingConfig,
)


class Identity(Protocol):
    """What has the sections of an identity: a configuration, or the record of a run."""

    @property
    def model(self) -> ModelConfig: ...
    @property
    def data(self) -> DataConfig: ...
    @property
    def prompt(self) -> PromptConfig: ...
    @property
    def sampling(self) -> SamplingConfig: ...


def identity_digest(config: RunConfig) -> str:
    """16 hex digits over the identity sections as canonical JSON, paths as they are written.

    Values that the schema derives stand as derived, so that a default and the same value written out agree:
    samples per item, and the prompt budget (engine.max_model_len has its part in it when it is not set). Call
    it when engine `auto`, dataset and paths are resolved.
    """
    identity = {name: getattr(config, name).model_dump(mode="json") for name in IDENTITY_SECTIONS}
    identity["sampling"]["num_samples"] = config.sampling.samples_per_item
    identity["prompt"]["max_prompt_tokens"] = config.max_prompt_tokens
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def identity_differences(before: Identity, after: Identity) -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, value before, value after) of every setting of the identity that differs, in order."""
    for section in IDENTITY_SECTIONS:
        old = getattr(before, section).model_dump(mode="json")
        new = getattr(after, section).model_dump(mode="json")
        yield from ((f"{section}.{name}", old[name], new[name]) for name in old if old[name] != new[name])
