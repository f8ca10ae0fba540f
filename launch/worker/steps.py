"""A failed start of an engine, and the step that may follow it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from launch.config.schema import EngineConfig, EngineKind
from launch.worker.failures import Diagnosis


class Action(StrEnum):
    """What a step does: BISECT runs fewer items at a time to find one that kills, FAIL_ITEM gives that up."""

    SHRINK = "shrink"
    RESTART = "restart"
    BISECT = "bisect"
    FAIL_ITEM = "fail_item"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class Step:
    """One decision: `setting` of engine goes from `before` to `after`; the next start waits `wait_s`."""

    failure_class: str
    action: Action
    setting: str | None = None
    before: Any = None
    after: Any = None
    wait_s: float = 0.0

    @property
    def is_narrowing(self) -> bool:
        """Whether it goes on with a search for a poison item, which counts as one start with all of these."""
        return self.action is Action.FAIL_ITEM or (self.action is Action.BISECT and self.before is not None)

    @property
    def is_local(self) -> bool:
        """Whether the engine is started again here."""
        return self.action is not Action.ELSEWHERE

    def as_row(self) -> dict[str, Any]:
        """The form that events and the summary have; `from` and `to` only where a setting changes.

        `wait_s` is there only where the next start waits: the ledger of GPU hours counts it.
        """
        row: dict[str, Any] = {"class": self.failure_class, "action": self.action.value}
        if self.setting is not None:
            row |= {"setting": self.setting, "from": self.before, "to": self.after}
        if self.wait_s:
            row["wait_s"] = self.wait_s
        return row


@dataclass(frozen=True, slots=True)
class Fall:
    """A failed start and what is known around it.

    `engine` is as the start was asked for, `as_run` what engine.json says, `floor_tokens` the longest prompt
    that may come (or that is left, where it was counted) and max_tokens: max_model_len never goes below.
    `ran`: it had begun to generate. `flight`: what a cautious start ran last; `committed`: it left results.
    """

    diagnosis: Diagnosis
    engine: EngineConfig
    kind: EngineKind
    floor_tokens: int
    ran: bool
    on_cpu: bool = False
    can_move: bool = False
    gpus_asked: int = 0
    as_run: Mapping[str, Any] = field(default_factory=dict)
    taken: Sequence[Step] = ()
    flight: Sequence[int] = ()
    committed: bool = False

    def value(self, setting: str, number: str, assumed: int) -> int:
        """A setting that may be unset: what the log says of it, else as asked, as run, as assumed."""
        told = self.diagnosis.numbers.get(number)
        return int(told or getattr(self.engine, setting) or self.as_run.get(setting) or assumed)
