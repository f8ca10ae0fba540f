"""The identity of a run: a digest over model, data, prompt and sampling."""

import hashlib
import json

from launch.config.schema import IDENTITY_SECTIONS, RunConfig


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
