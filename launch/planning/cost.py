"""What items are expected to cost, so that tasks get equal work; estimates move work, never results.

The unit of cost is the *token equivalent*: the time an engine needs for one output token in a full batch.
Rates (`launch.planning.rates`) are token equivalents per second.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

# Estimate, not measured: an 8B model on an H100 prefills about 35,700 prompt tokens in the second in which it
# generates about 11,700 output tokens (roofline of both phases). Shared prefixes make prompts cheaper still.
PROMPT_TOKEN_COST = 1 / 3

# Without an earlier submission to learn from, a sample is taken to use half of what max_tokens allows.
EXPECTED_SHARE_OF_MAX_TOKENS = 0.5


@dataclass(frozen=True, slots=True)
class ItemCost:
    """Expected tokens of one item: its prompt, counted once, and the output of all its samples together."""

    prompt_tokens: float
    output_tokens: float

    @property
    def cost(self) -> float:
        """Token equivalents."""
        return self.output_tokens + PROMPT_TOKEN_COST * self.prompt_tokens


@dataclass(frozen=True, slots=True)
class UserCost:
    """The items of one user that a submission generates: (item number, cost) in order of number.

    `position` is the user's place in the run's index; `user_hash` is what a plan identifies the user by.
    """

    position: int
    user_hash: str
    items: tuple[tuple[int, float], ...]

    @property
    def cost(self) -> float:
        """Token equivalents over all items; exact summation, so the order of items does not matter."""
        return fsum(cost for _, cost in self.items)


def cost_user(
    position: int,
    user_hash: str,
    numbers: Sequence[int],
    prompt_tokens: Sequence[float],
    output_tokens: float,
) -> UserCost:
    """The cost of a user whose items `numbers` have prompts of `prompt_tokens`, one for one.

    `output_tokens` is what one item is expected to generate: see expected_output_tokens.
    """
    items = (
        (number, ItemCost(tokens, output_tokens).cost)
        for number, tokens in zip(numbers, prompt_tokens, strict=True)
    )
    return UserCost(position, user_hash, tuple(items))


def expected_output_tokens(
    num_samples: int, max_tokens: int, mean_sample: float | None = None, *, only_length_ends: bool = False
) -> float:
    """Output tokens of one item over all its samples.

    `mean_sample` is the mean length in tokens that earlier submissions of the run measured; without it a
    sample is taken to use half of max_tokens, and all of it where nothing else ends one (ignore_eos).
    """
    if mean_sample is None:
        mean_sample = max_tokens * (1.0 if only_length_ends else EXPECTED_SHARE_OF_MAX_TOKENS)
    return num_samples * min(mean_sample, float(max_tokens))


def user_order(user_hash: str) -> bytes:
    """A user's place regardless of input order: blake2b of user_hash, then user_hash itself."""
    name = user_hash.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(name, digest_size=8).digest() + name
