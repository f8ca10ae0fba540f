"""Expected prompt tokens of items from character counts: what the limits leave, times rates per script.

Exact counts are the node's business; these only move work.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from operator import itemgetter

from launch.config.schema import PromptConfig, RunConfig
from launch.model.chat_template import ChatTemplateError
from launch.model.checkpoint import Checkpoint
from launch.model.tokens import TokenRates
from launch.rundir.plan import HistoryEntries
from launch.scenarios.fit import PromptMaker, fit_prompt
from launch.scenarios.records import Item, ItemType, JsonObject, User

CALIBRATION_USERS = 256
CALIBRATION_CHARS = 2000
_CONTENT = itemgetter("content")


class PromptEstimate:
    """Estimates prompts of one run; `overhead` is what prompt file and chat template add, in tokens."""

    def __init__(self, rates: TokenRates, prompt: PromptConfig, budget: int, overhead: float = 0.0) -> None:
        self._rates = rates
        self._prompt = prompt
        self._budget = budget
        self.overhead = overhead

    def __call__(self, user: User, items: Sequence[Item], history: HistoryEntries) -> list[float]:
        """Expected tokens of each item's prompt, at most the budget."""
        shared = self.barest(user)
        if self._prompt.ablation_config.uses_history:
            newest = history[-self._prompt.max_history_entries :]  # the plan has some more (stream_history)
            shared += self._rates.estimate(self._join(texts(newest)))
        return [min(shared + self._context(item.data), self._budget) for item in items]

    def barest(self, user: User) -> float:
        """Expected tokens of what is in every prompt of a user, however much is cut: no history, no turns."""
        if not self._prompt.ablation_config.uses_profile:
            return self.overhead
        return self.overhead + self._rates.estimate(" ".join(texts(user.record.get("user"))))

    def _context(self, data: JsonObject) -> float:
        if not self._prompt.ablation_config.uses_context:
            return 0.0
        limit = self._prompt.max_context_turns
        turns = (data.get("context") or ())[-limit:] if limit else ()
        return self._rates.estimate(self._join(map(_CONTENT, turns)))

    def _join(self, pieces: Iterable[str]) -> str:
        """The texts, each clipped to max_chars_per_turn, with a space between; few are longer."""
        pieces, limit = list(pieces), self._prompt.max_chars_per_turn
        if max(map(len, pieces), default=0) > limit:
            pieces = [text[:limit] for text in pieces]
        return " ".join(pieces)


def texts(value: object) -> Iterable[str]:
    """Every key and value below `value` as text, in order."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield str(key)
            yield from texts(below)
    elif isinstance(value, list):
        for below in value:
            yield from texts(below)
    elif value is not None:
        yield str(value)


def calibrate_estimate(
    maker: PromptMaker, config: RunConfig, checkpoint: Checkpoint, users: Iterable[User]
) -> PromptEstimate:
    """The estimate of a run: rates from the words of 256 users, overhead from a few rendered prompts.

    Rendering also tries the prompt files on real items before anything is planned.
    """
    sample = list(islice(users, CALIBRATION_USERS))
    words = [first_words(user.record) for user in sample]
    tokenizer_json = checkpoint.tokenizer_dir / "tokenizer.json" if checkpoint.has_tokenizer_json else None
    estimate = PromptEstimate(
        TokenRates.calibrate(tokenizer_json, words), config.prompt, config.max_prompt_tokens
    )
    rendered = list(_render_some(maker, sample))
    if tokenizer_json is not None:
        estimate.overhead = _overhead(maker, estimate, rendered)
    return estimate


def first_words(record: JsonObject) -> str:
    """The first CALIBRATION_CHARS characters of all texts of a record, which may hold far more."""
    words: list[str] = []
    left = CALIBRATION_CHARS
    for text in texts(record):
        words.append(text[:left])
        left -= len(text) + 1
        if left < 0:
            break
    return " ".join(words)


def _render_some(maker: PromptMaker, users: Iterable[User]) -> Iterator[tuple[User, Item]]:
    """The first item of each type that the sample holds, rendered once."""
    seen: set[ItemType] = set()
    for user in users:
        for item in user.items:
            if item.item_type not in seen:
                seen.add(item.item_type)
                maker.writer.conversation(user.record, item, (), history_entries=0, context_turns=1)
                yield user, item


def _overhead(maker: PromptMaker, estimate: PromptEstimate, rendered: Sequence[tuple[User, Item]]) -> float:
    """Mean of exact minus estimated tokens, never below 0; without items that the chat template refuses."""
    gaps = []
    for user, item in rendered:
        with suppress(ChatTemplateError):  # such an item fails by itself, and no other does
            exact = len(fit_prompt(maker, user.record, item, ()).token_ids)
            gaps.append(exact - estimate(user, [item], [])[0])
    return max(0.0, sum(gaps) / len(gaps)) if gaps else 0.0
