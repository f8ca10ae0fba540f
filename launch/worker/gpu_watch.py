"""The supervisor's look at what its GPU sampler knows: a GPU that idles beside work, a GPU that failed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from launch.worker.attempt_record import Events
from launch.worker.gpu import GpuSampler
from launch.worker.slots import Slot

IDLE_S = 60.0
NEAR_S = 30.0
"""An engine that dies so soon after an error of its GPU is taken to have died of it."""
REFRESH_S = 2.0
WORKING = ("generating", "draining")


@dataclass(slots=True)
class GpuWatch:
    """`visible` are the ids of the task's GPUs: of a slot that has no GPUs of its own, all."""

    sampler: GpuSampler
    visible: Sequence[str]
    events: Events
    _busy_since: dict[int, float] = field(default_factory=dict)
    _told: set[tuple[int, str]] = field(default_factory=set)

    def look(self, slots: Iterable[Slot], now: float) -> None:
        """Tells new errors, and once each spell of 60 s in which a GPU idles beside requests of its engine.

        `now` is that of time.monotonic(). What a GPU does not tell (MIG has no utilisation) is no idling.
        """
        for error in self.sampler.state.take_errors():
            self.events.add("gpu_error", gpu=error.gpu, what=error.what)
        idle_s = self.sampler.state.idle_s(now)
        for slot in slots:
            self._look_at(slot, idle_s, now)

    def _look_at(self, slot: Slot, idle_s: dict[str, float], now: float) -> None:
        in_flight, waiting = slot.counts.get("in_flight", 0), slot.counts.get("waiting", 0)
        if slot.phases.current not in WORKING or in_flight + waiting == 0:
            self._busy_since.pop(slot.number, None)
            return
        busy_s = now - self._busy_since.setdefault(slot.number, now)
        for gpu in self.visible if slot.gpus is None else slot.gpus:
            spell = (slot.number, gpu)
            idle = min(busy_s, idle_s.get(gpu, 0.0))
            if idle < IDLE_S:
                self._told.discard(spell)
            elif spell not in self._told:
                self._told.add(spell)
                counts = {"in_flight": in_flight, "waiting": waiting}
                self.events.add(
                    "gpu_idle", slot=slot.number, start=slot.start, gpu=gpu, idle_s=round(idle), **counts
                )

    def errors_of(self, slot: Slot, now: float) -> tuple[str, ...]:
        """What its GPUs told shortly before a slot's engine died, as sentences; asks them once more.

        `now` is when it died. One that stood still until its time was over died of what came before that.
        """
        self.sampler.refresh(REFRESH_S)
        limit = 0.0
        if slot.overdue is not None:
            limit = slot.limits.progress_s or 0.0 if slot.has_run else slot.limits.start_s
        errors = self.sampler.state.errors_since(now - NEAR_S - limit)
        own = set(self.visible if slot.gpus is None else slot.gpus)
        return tuple(error.sentence for error in errors if error.gpu is None or error.gpu in own)
