"""The supervisor's look at what its GPU sampler knows: a GPU that idles beside work, a GPU that failed."""

from collections import Counter
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
    _spells: Counter[tuple[int, str]] = field(default_factory=Counter)
    _idle_since: dict[tuple[int, str], float] = field(default_factory=dict)
    """Of spells that were told and go on."""

    def look(self, slots: Iterable[Slot], now: float) -> None:
        """Tells new errors, and of each spell of 60 s in which a GPU idles beside requests of its engine that
        it goes on and, once, that it is over.

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
            busy_s = 0.0
        else:
            busy_s = now - self._busy_since.setdefault(slot.number, now)
        for gpu in self.visible if slot.gpus is None else slot.gpus:
            idle = min(busy_s, idle_s.get(gpu, 0.0))
            place, spell = {"slot": slot.number, "start": slot.start, "gpu": gpu}, (slot.number, gpu)
            if idle >= IDLE_S and spell not in self._idle_since:
                self._idle_since[spell] = now - idle
                self._spells[spell] += 1
                counts = {"spell": self._spells[spell], "in_flight": in_flight, "waiting": waiting}
                self.events.add("gpu_idle", **place, idle_s=round(idle), **counts)
            elif idle < IDLE_S and spell in self._idle_since:
                lasted_s = now - self._idle_since.pop(spell)
                self.events.add("gpu_idle_end", **place, lasted_s=round(lasted_s))

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
