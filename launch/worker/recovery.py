"""The ladder of one attempt at work: what each slot was given so far, and what its next start gets."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from launch.config.schema import RunConfig
from launch.model.length_bounds import least_length
from launch.rundir.journal import read_json
from launch.rundir.layout import AttemptPaths
from launch.worker.attempt_record import Events
from launch.worker.caution import Caution, read_flight
from launch.worker.diagnosis import STUCK, diagnose
from launch.worker.failures import OF_THE_NODE, STORAGE_TROUBLE, Diagnosis, FailureClass
from launch.worker.gpu_watch import GpuWatch
from launch.worker.ladder import changed, next_step
from launch.worker.opening import SlotOpener
from launch.worker.outcome import failure_of, has_lines
from launch.worker.slots import Slot
from launch.worker.steps import Action, Fall, Step

TROUBLE_WAIT_S = 30.0
TOLD_S = 1.0
"""A decision that took so long says so: the ledger of GPU hours counts it."""


@dataclass(slots=True)
class Recovery:
    """Steps taken by slot, in order. `can_move`: Slurm can start this task again on another node.

    `opener` starts the engine processes of slots. `measured` are settings that every start has from the
    node's GPU; the ladder's go over them. `gpus` tells of errors of GPUs, which may be why an engine died.
    `count_longest_prompt` may take a while: it is asked once, for a KV cache that does not hold what was
    planned. `length_bounds` are those of the model (model/length_bounds.py), which are not crossed.
    """

    config: RunConfig
    paths: AttemptPaths
    events: Events
    opener: SlotOpener
    gpus: GpuWatch
    count_longest_prompt: Callable[[], int | None]
    on_cpu: bool
    length_bounds: tuple[int, ...] = ()
    can_move: bool = False
    measured: Mapping[str, Any] = field(default_factory=dict)
    _taken: dict[int, list[Step]] = field(default_factory=dict)

    def decide(self, slot: Slot) -> Step | None:
        """Takes the next step for a slot that has ended, if it failed and there is one; tells it."""
        failure = None if slot.end is None else failure_of(slot.end)
        if slot.end is None or failure is None:
            return None
        began = time.monotonic()
        slot.end = replace(slot.end, gpu_errors=self.gpus.errors_of(slot, began))
        step = self._step(slot, failure)
        if step is not None:
            slot.end = replace(slot.end, step=step)
            self._taken.setdefault(slot.number, []).append(step)
            row, took_s = step.as_row(), round(time.monotonic() - began, 3)
            if took_s >= TOLD_S:
                row["decided_s"] = took_s
            self.events.add("ladder", slot=slot.number, start=slot.start, **row)
        return step

    def _step(self, slot: Slot, failure: Mapping[str, Any]) -> Step | None:
        assert slot.end is not None
        if failure["class"] in (STUCK, *OF_THE_NODE):
            return self._step_of_node(slot, failure["class"])
        diagnosis = diagnose(slot.end, failure)
        if diagnosis is None:
            return None
        fall = Fall(
            diagnosis=diagnosis,
            engine=self.config_of(slot.number).engine,
            kind=self.config.model.engine,
            floor_tokens=self._floor_tokens(diagnosis),
            ran=slot.has_run,
            on_cpu=self.on_cpu,
            can_move=self.can_move,
            gpus_asked=self.config.gpus_per_task,
            as_run=_as_run(slot.paths.engine_json),
            flight=read_flight(slot.paths),
            committed=has_lines(slot.paths.commits),
            taken=tuple(self._taken.get(slot.number, ())),
        )
        return next_step(fall)

    def _step_of_node(self, slot: Slot, name: str) -> Step | None:
        """Another node; before that trouble that may pass is waited for, once."""
        taken = self._taken.get(slot.number, ())
        if name == STORAGE_TROUBLE and not any(step.failure_class == name for step in taken):
            return Step(name, Action.RESTART, wait_s=TROUBLE_WAIT_S)
        return Step(name, Action.ELSEWHERE) if self.can_move else None

    def _floor_tokens(self, diagnosis: Diagnosis) -> int:
        """What max_model_len must hold: what was planned, or what is left of it where that does not fit.

        Never less than what the model computes alike with.
        """
        least = least_length(self.length_bounds, self.config.engine.max_model_len)
        needed = self.config.max_prompt_tokens + self.config.sampling.max_tokens
        is_too_small = diagnosis.failure_class is FailureClass.KV_CACHE_TOO_SMALL
        if is_too_small and diagnosis.numbers.get("estimated", needed) < needed:
            longest = self.count_longest_prompt()
            needed = needed if longest is None else longest + self.config.sampling.max_tokens
        return max(least, needed)

    def next_start(self, slot: Slot) -> Slot:
        """The slot's next start, not opened yet: new files, the same GPUs."""
        start = slot.start + 1
        following = Slot(slot.number, start, slot.gpus, self.paths.engine(slot.number, start), slot.limits)
        following.changes = self._changes(slot.number)
        following.caution = self._caution(slot.number)
        return following

    def config_of(self, slot: int) -> RunConfig:
        """The configuration with what the GPU and the ladder changed for a slot."""
        engine = changed(self.config.engine, self._changes(slot))
        return self.config.model_copy(update={"engine": engine})

    def _changes(self, slot: int) -> dict[str, Any]:
        steps = self._taken.get(slot, ())
        shrunk = {step.setting: step.after for step in steps if step.setting and step.action is Action.SHRINK}
        return {**self.measured, **shrunk}

    def _caution(self, slot: int) -> Caution | None:
        """How carefully the next start runs: as the last step says, with all items given up so far."""
        steps = self._taken.get(slot, ())
        poison = tuple(step.after for step in steps if step.action is Action.FAIL_ITEM)
        group = steps[-1].after if steps and steps[-1].action is Action.BISECT else None
        return Caution(group, poison) if poison or group else None


def _as_run(engine_json: Path) -> Mapping[str, Any]:
    facts = read_json(engine_json) or {}
    settings = facts.get("settings")
    return settings if isinstance(settings, dict) else {}
