"""What is to be said of a plan that can be run and may not be what was meant: users without history."""

from collections.abc import Sequence
from pathlib import Path

from launch.config.schema import RunConfig
from launch.errors import InputError
from launch.rundir.plan import HistoryEntries
from launch.rundir.plan_writer import Estimate
from launch.scenarios.history import leave_out_test_items
from launch.scenarios.records import Item, User


class PlanCheck:
    """The estimate of a run that also looks at each user on the way; `finish` says what it saw."""

    def __init__(self, config: RunConfig, estimate: Estimate, train: Path | None) -> None:
        self._ablation = config.prompt.ablation_config
        self._estimate = estimate
        self._train = train if config.prompt.max_history_entries else None  # 0: asked for without
        self._num_users = 0
        self._num_without_history = 0

    def __call__(self, user: User, items: Sequence[Item], history: HistoryEntries) -> Sequence[float]:
        """Expected prompt tokens of a user's items."""
        self._num_users += 1
        if self._train is not None and not _has_history(user, history):
            self._num_without_history += 1
        return self._estimate(user, items, history)

    def finish(self) -> tuple[str, ...]:
        """Notes of the whole plan; InputError where no user has the history that the ablation is about."""
        if not self._num_without_history or self._train is None:
            return ()
        if self._num_without_history == self._num_users:
            raise InputError(
                f"{self._train}: none of the {self._num_users:,} users to generate has history there, and"
                f" prompt.ablation_config {self._ablation.value} takes history from it. Put the train.json of"
                " these users there or choose an ablation without history."
            )
        return (
            f"{self._num_without_history:,} of {self._num_users:,} users have no history in"
            f" {self._train.name}",
        )


def _has_history(user: User, history: HistoryEntries) -> bool:
    """Whether something is left when the user's own test items are taken out."""
    if len(history) > len(user.items):
        return True
    return bool(leave_out_test_items(history, user.record)[0])
