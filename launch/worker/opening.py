"""Starts the engine processes of an attempt, and keeps attempt.json true of them."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from launch.config.schema import RunConfig
from launch.errors import LaunchError
from launch.rundir.attempts import EngineStart
from launch.rundir.journal import write_json
from launch.rundir.layout import RunPaths
from launch.worker.commands import engine_command
from launch.worker.monitoring import FailedWrites
from launch.worker.slot_environment import scratch_folder, slot_environment
from launch.worker.slots import Slot
from launch.worker.startup.bytecode import forget_earlier_bytecode


@dataclass(frozen=True, slots=True)
class AttemptPlace:
    """An attempt, and what its engines get: `at` names it, slot and start aside; `visible` are its GPUs."""

    run: RunPaths
    config: RunConfig
    at: EngineStart
    visible: Sequence[str]

    @property
    def attempt_json(self) -> Path:
        """Where the attempt is described."""
        return self.run.attempt(self.at.submission, self.at.task, self.at.attempt).attempt_json


@dataclass(slots=True)
class SlotOpener:
    """`about` is what attempt.json says; its `slots` grow by one for each engine process."""

    place: AttemptPlace
    about: dict[str, Any]
    failed: FailedWrites
    _is_recorded: bool = field(default=True)

    def open(self, slots: Sequence[Slot]) -> None:
        """Starts an engine process for each slot; one that cannot be started ends with the reason."""
        for slot in slots:
            try:
                self.about["slots"].append(self._open(slot))
            except (LaunchError, OSError) as error:
                slot.give_up(error)
        if slots:
            self._is_recorded = False
            self.record()

    def record(self) -> None:
        """Writes attempt.json, unless it is as it should be."""
        if not self._is_recorded:
            path = self.place.attempt_json
            with self.failed.tolerated(path):
                write_json(path, self.about)
                self._is_recorded = True

    def _open(self, slot: Slot) -> dict[str, Any]:
        run, config, visible = self.place.run, self.place.config, self.place.visible
        environment = slot_environment(config, self.place.at.task, slot.gpus, visible, start=slot.start)
        scratch = scratch_folder(config.resources.scratch_dir, os.environ)
        forget_earlier_bytecode(scratch)
        environment.make_folders()
        at = replace(self.place.at, slot=slot.number, start=slot.start)
        words = engine_command(run, at, config, slot.changes, slot.caution, scratch)
        opened = round(time.time(), 3)
        slot.open(words, environment.variables)
        return {
            "slot": slot.number,
            "start": slot.start,
            "opened": opened,
            "pid": slot.process.pid,
            "gpus": list(visible if slot.gpus is None else slot.gpus),
            "command": words,
            "environment": environment.report,
        }
