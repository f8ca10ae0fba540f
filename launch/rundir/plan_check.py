"""What is to be said of a plan before it runs: users without history, and items that cannot fit."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from launch.config.schema import PromptConfig
from launch.errors import InputError
from launch.model.chat_template import ChatTemplateError
from launch.rundir.estimate import PromptEstimate
from launch.rundir.plan import HistoryEntries
from launch.scenarios.fit import PromptMaker, barest_length
from launch.scenarios.history import leave_out_test_items
from launch.scenarios.records import Item, User

SUSPECT = 0.8
"""Of the prompt budget: a user whose barest prompt is estimated above it is looked at."""
MAX_COUNTED_TOKENS = 1_000_000
"""In all: what is over it is not looked at, so that a large plan takes a few seconds longer at most."""


class RoomCheck:
    """Counts items whose barest prompt is too long: by the tokenizer, where the estimate is near that."""

    def __init__(self, scenario: Path, maker: PromptMaker, estimate: PromptEstimate) -> None:
        self._scenario = scenario
        self._maker = maker
        self._estimate = estimate
        self._budget = maker.max_prompt_tokens
        self._tokens_left = float(MAX_COUNTED_TOKENS)
        self._num_items = 0
        self._is_whole = True
        self._too_long: list[int] = []

    def look(self, user: User, items: Sequence[Item], tokens: Sequence[float]) -> None:
        """Looks at a user's items, which are expected to have prompts of so many tokens."""
        self._num_items += len(items)
        most = SUSPECT * self._budget
        if max(tokens, default=0.0) <= most:
            return
        barest = self._estimate.barest(user)
        if barest <= most:
            return
        for item in items:
            self._tokens_left -= barest
            if self._tokens_left < 0:
                self._is_whole = False
                return
            with suppress(ChatTemplateError):  # it fails, and for another reason
                length = barest_length(self._maker, user.record, item)
                if length > self._budget:
                    self._too_long.append(length)

    def finish(self) -> tuple[str, ...]:
        """The note; InputError where not one item has room."""
        number = len(self._too_long)
        if not number:
            return ()
        what = (
            f"prompts, without history and context, have up to {max(self._too_long):,} tokens, and"
            f" {self._budget:,} are allowed"
        )
        mend = "Raise --max-model-len (and --max-prompt-tokens, if set), or lower --max-tokens"
        if number == self._num_items:
            raise InputError(f"{self._scenario}: none of the {number:,} items can fit: their {what}. {mend}.")
        about = "" if self._is_whole else "at least "
        return (f"{about}{number:,} of {self._num_items:,} items cannot fit: their {what}. {mend}",)


class HistoryCheck:
    """Counts the users without history, where the ablation takes some from train.json."""

    def __init__(self, prompt: PromptConfig, train: Path) -> None:
        self._ablation = prompt.ablation_config
        self._train = train
        self._num_users = 0
        self._num_without = 0

    def look(self, user: User, history: HistoryEntries) -> None:
        """Looks at a user and what train.json has of it."""
        self._num_users += 1
        self._num_without += not _has_history(user, history)

    def finish(self) -> tuple[str, ...]:
        """The note; InputError where no user has the history that the ablation is about."""
        if not self._num_without:
            return ()
        if self._num_without == self._num_users:
            raise InputError(
                f"{self._train}: none of the {self._num_users:,} users to generate has history there, and"
                f" prompt.ablation_config {self._ablation.value} takes history from it. Put the train.json of"
                " these users there or choose an ablation without history."
            )
        return (f"{self._num_without:,} of {self._num_users:,} users have no history in {self._train.name}",)


class PlanCheck:
    """The estimate of a run, which shows what it is asked of to the checks on the way."""

    def __init__(
        self, estimate: PromptEstimate, room: RoomCheck | None, history: HistoryCheck | None
    ) -> None:
        self._estimate = estimate
        self._room = room
        self._history = history

    def __call__(self, user: User, items: Sequence[Item], history: HistoryEntries) -> Sequence[float]:
        """Expected prompt tokens of a user's items."""
        tokens = self._estimate(user, items, history)
        if self._room is not None:
            self._room.look(user, items, tokens)
        if self._history is not None:
            self._history.look(user, history)
        return tokens

    def finish(self) -> tuple[str, ...]:
        """What is to be said of the whole plan; InputError where it cannot be what was meant."""
        checks = (self._history, self._room)
        return tuple(note for check in checks if check is not None for note in check.finish())


def _has_history(user: User, history: HistoryEntries) -> bool:
    """Whether something is left when the user's own test items are taken out."""
    if len(history) > len(user.items):
        return True
    return bool(leave_out_test_items(history, user.record)[0])
