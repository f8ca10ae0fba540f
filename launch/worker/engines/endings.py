"""How a sample ends and what is kept of its text: the same for every engine.

The ids that end a sample are those of generation_config.json, the tokenizer's own and those asked for; a stop
string or ending token is counted among the tokens and never part of the text (as vLLM has it).
"""

from typing import Any

from launch.scenarios.reasoning import split_reasoning
from launch.scenarios.records import Sample
from launch.worker.engines.protocol import EngineSetup

COMPLETE = frozenset({"stop", "length"})
"""The only finish reasons of a sample that is a result."""


def ending_token_ids(setup: EngineSetup) -> list[int]:
    """Ids that end a sample, sorted: stop_token_ids and, unless ignored, every end of sequence."""
    eos = () if setup.sampling.ignore_eos else setup.eos_token_ids
    return sorted({*setup.sampling.stop_token_ids, *eos})


def keeps_special_tokens(setup: EngineSetup, tokenizer: Any) -> bool:
    """Whether special tokens have to stay in the text, because the end of the reasoning is one of them."""
    return bool(setup.reasoning_end) and setup.reasoning_end in tokenizer.all_special_tokens


def make_sample(setup: EngineSetup, text: str, finish_reason: str, num_tokens: int) -> Sample:
    """A sample of the engine's text, its reasoning part apart when the run has an end marker for it."""
    if not setup.reasoning_end:
        return Sample(text, finish_reason, num_tokens)
    reasoning, text = split_reasoning(text, setup.reasoning_end, opened=setup.reasoning_opened)
    return Sample(text, finish_reason, num_tokens, reasoning)
