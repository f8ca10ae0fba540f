"""What a task does by itself about an engine that failed: the next rung of its class, or none. Pure.

Each rung of a class is tried once before any is tried again; a slot gets MAX_LOCAL_STARTS more starts in one
attempt. A class without rungs, a configuration that cannot work among them, fails at once. When an engine
dies a second time while it runs, the item that kills it is searched for.
"""

from collections.abc import Mapping
from typing import Any

from launch.config.schema import EngineConfig
from launch.worker.caution import FIRST_GROUP
from launch.worker.failures import FailureClass
from launch.worker.rungs import LADDER
from launch.worker.steps import Action, Fall, Step

MAX_LOCAL_STARTS = 3


def next_step(fall: Fall) -> Step | None:
    """What to do about a failed start; None: nothing, the slot has failed."""
    if fall.taken and fall.taken[-1].action is Action.FAIL_ITEM and not fall.committed:
        return None  # without that item it died as well
    search = _search(fall)
    if search is not None:
        return search
    rungs = LADDER.get(fall.diagnosis.failure_class, ())
    is_spent = _is_spent(fall)
    places = {rung.action is Action.ELSEWHERE for rung in rungs}
    for last in sorted(places):  # another node comes after all that can be done here
        group = [rung for rung in rungs if (rung.action is Action.ELSEWHERE) == last]
        for rung in sorted(group, key=lambda each: each.times(fall.taken)):
            step = rung.step(fall)
            if step is not None and not (step.is_local and is_spent):
                return step
    return None


def _search(fall: Fall) -> Step | None:
    """A step towards the item that kills the engine, when it died a second time while it ran."""
    name = fall.diagnosis.failure_class
    if name is not FailureClass.ENGINE_DEAD or not fall.ran:
        return None
    if len(fall.flight) == 1:
        return Step(name, Action.FAIL_ITEM, "item", None, fall.flight[0])
    if fall.flight:
        return Step(name, Action.BISECT, "in_flight", len(fall.flight), 1)
    if any(step.failure_class == name for step in fall.taken) and not _is_spent(fall):
        return Step(name, Action.BISECT, "in_flight", None, FIRST_GROUP)
    return None


def _is_spent(fall: Fall) -> bool:
    num_starts = sum(step.is_local and not step.is_narrowing for step in fall.taken)
    return num_starts >= MAX_LOCAL_STARTS


def changed(engine: EngineConfig, changes: Mapping[str, Any]) -> EngineConfig:
    """The settings with `changes`, validated as the rest was."""
    return EngineConfig.model_validate(engine.model_dump() | dict(changes))
