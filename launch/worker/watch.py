"""The supervisor's loop: it waits for signals, messages, ends and times, and for nothing else."""

import math
import selectors
import signal
import time
from collections.abc import Sequence

from launch.errors import StorageError
from launch.rundir.attempts import HEARTBEAT_PERIOD_S
from launch.worker.attempt_record import Events
from launch.worker.monitoring import UNSEEN_DRAIN_S, Heartbeat, say
from launch.worker.processes import end_orphans
from launch.worker.recovery import Recovery
from launch.worker.signals import Signals
from launch.worker.slot_record import SlotEnd
from launch.worker.slots import STUCK_AFTER_S, Slot, total_counts
from launch.worker.stop_order import Asked, StopOrder

KILL_AFTER_DEADLINE_S = 3.0
GENERATING = ("generating", "draining")


class SlotWatch:
    """Follows the slots of an attempt until every one has ended and none of their processes is left.

    A slot that fails is started again as the ladder says: the new start is added to `slots`.
    """

    def __init__(
        self,
        slots: list[Slot],
        signals: Signals,
        events: Events,
        heartbeat: Heartbeat,
        order: StopOrder,
        recovery: Recovery,
    ) -> None:
        self._slots = slots
        self._signals = signals
        self._events = events
        self._heartbeat = heartbeat
        self._order = order
        self._recovery = recovery
        self._waiting: list[tuple[float, Slot]] = []  # starts that are due at a time of the monotonic clock
        self._selector = selectors.DefaultSelector()
        self._next_beat = 0.0
        self._told: dict[str, int] = {}

    def run(self) -> list[SlotEnd]:
        """How the last start of every slot ended, in order of slots."""
        with self._selector:
            self._selector.register(self._signals, selectors.EVENT_READ)
            self._open(self._slots)
            while self._open_slots() or self._waiting:
                for key, _ in self._selector.select(self._time_left()):
                    if isinstance(key.fileobj, Slot):
                        self._listen(key.fileobj)
                self._hear_signals()
                self._close_exited()
                self._keep_time()
        ends = {slot.number: slot.end for slot in self._slots if slot.end is not None}
        return [ends[number] for number in sorted(ends)]

    def _open_slots(self) -> list[Slot]:
        return [slot for slot in self._slots if slot.is_open]

    def _time_left(self) -> float:
        """Seconds until the next thing that comes by itself."""
        now = time.monotonic()
        due = [self._next_beat - now, *(start_at - now for start_at, _ in self._waiting)]
        for slot in self._open_slots():
            if slot.killed_at is not None:
                due.append(slot.killed_at + STUCK_AFTER_S - now)
            elif self._order.deadline is not None:
                due.append(self._order.deadline + KILL_AFTER_DEADLINE_S - now)
            elif (overdue_at := slot.watchdog.due()) is not None:
                due.append(overdue_at - now)
        if self._order.warn_at is not None:
            due.append(self._order.warn_at - now)
        return max(0.0, math.ceil(min(due) * 1000) / 1000)

    def _listen(self, slot: Slot) -> None:
        messages, is_open = slot.read()
        for message in messages:
            slot.take(message)
            if "phase" in message:
                self._events.add("phase", slot=slot.number, start=slot.start, phase=message["phase"])
            if "startup" in message:
                self._events.add("startup", slot=slot.number, start=slot.start, **message["startup"])
            if "canary" in message:
                self._events.add("canary", slot=slot.number, start=slot.start, found=message["canary"])
        if not is_open:
            self._selector.unregister(slot)

    def _hear_signals(self) -> None:
        for number in self._signals.take():
            if number == signal.SIGCHLD:
                continue
            asked = self._order.hear(number, time.monotonic())
            self._events.add("signal", name=number.name, asked=asked.value, left_s=self._left_s())
            if asked is Asked.DRAIN:
                self._drain()
            elif asked is Asked.KILL:
                self._kill("told twice to stop")

    def _left_s(self) -> float | None:
        """Seconds until the deadline, if there is one."""
        deadline = self._order.deadline
        return None if deadline is None else round(deadline - time.monotonic(), 1)

    def _drain(self) -> None:
        """Slots that generate finish what they have; one that does not generate yet has nothing to finish."""
        assert self._order.deadline is not None
        self._waiting.clear()  # what was to be started again continues in the next attempt
        for slot in self._open_slots():
            slot.drain(self._order.deadline)
            if slot.phases.current not in GENERATING:
                self._kill_one(slot, "not generating yet")

    def _kill(self, why: str) -> None:
        for slot in self._open_slots():
            self._kill_one(slot, why)

    def _kill_one(self, slot: Slot, why: str) -> None:
        if slot.killed_at is None:
            self._events.add("kill", slot=slot.number, start=slot.start, why=why)
            slot.kill()

    def _close_exited(self) -> None:
        for slot in self._open_slots():
            if slot.has_exited():
                self._close(slot)

    def _close(self, slot: Slot) -> None:
        if slot in self._selector.get_map():
            self._listen(slot)  # its last words
        if slot in self._selector.get_map():  # a child of its still holds the pipe
            self._selector.unregister(slot)
        self._tell_end(slot.close())
        orphans = end_orphans({other.process.pid for other in self._open_slots()})
        if orphans:
            self._events.add("orphans", slot=slot.number, killed=orphans)
        self._recover(slot)

    def _recover(self, slot: Slot) -> None:
        """Plans the next start of a slot that failed, unless the task is to end."""
        try:
            step = self._recovery.decide(slot)
        except (OSError, StorageError) as error:
            say(f"slot {slot.number}: nothing can be decided about its failure: {error}")
            return
        if step is not None and step.is_local and self._order.deadline is None:
            start_at = time.monotonic() + step.wait_s
            self._waiting.append((start_at, self._recovery.next_start(slot)))

    def _start_waiting(self) -> None:
        due = [entry for entry in self._waiting if entry[0] <= time.monotonic()]
        for entry in due:
            self._waiting.remove(entry)
            self._slots.append(entry[1])
        self._open([slot for _, slot in due])

    def _open(self, slots: Sequence[Slot]) -> None:
        """One that cannot be opened has failed; the others go on."""
        self._recovery.opener.open(slots)
        for slot in slots:
            if slot.end is None:
                self._selector.register(slot, selectors.EVENT_READ)
            else:
                self._tell_end(slot.end)
                self._recover(slot)

    def _tell_end(self, end: SlotEnd) -> None:
        failure = end.failure["message"] if end.failure else None
        self._events.add(
            "engine_end", slot=end.slot, start=end.start, code=end.returncode, said=end.said, failure=failure
        )

    def _keep_time(self) -> None:
        if self._order.keep_time(time.monotonic()) is Asked.DRAIN:
            self._events.add("walltime", asked=Asked.DRAIN.value, left_s=self._left_s())
            self._drain()
        deadline = self._order.deadline
        if deadline is not None and time.monotonic() >= deadline + KILL_AFTER_DEADLINE_S:
            self._kill("the deadline is over")
        for slot in self._open_slots():
            if slot.killed_at is not None and time.monotonic() >= slot.killed_at + STUCK_AFTER_S:
                if slot in self._selector.get_map():
                    self._selector.unregister(slot)
                self._tell_end(slot.abandon())
                self._recover(slot)
        if deadline is None:
            self._end_overdue()
            self._start_waiting()
        self._recovery.gpus.look(self._open_slots(), time.monotonic())
        if time.monotonic() >= self._next_beat:
            self._next_beat = time.monotonic() + HEARTBEAT_PERIOD_S
            self._beat()
            self._tell_counts()
            if self._order.walltime is not None:
                self._order.walltime.look()

    def _beat(self) -> None:
        """A beat that fails ends nothing, until others are about to take the task for dead."""
        now = time.monotonic()
        self._heartbeat.beat(now)
        self._events.write_waiting()
        self._recovery.opener.record()
        if self._order.deadline is None and self._heartbeat.is_lost(now):
            silent_s = round(self._heartbeat.silent_s(now))
            self._order.stop_by(now + UNSEEN_DRAIN_S)
            self._events.add("heartbeat_lost", asked=Asked.DRAIN.value, silent_s=silent_s)
            say(
                f"the heartbeat could not be written for {silent_s} s, and others would soon take this task"
                " for dead: it finishes what it has, and continues in another attempt"
            )
            self._drain()

    def _end_overdue(self) -> None:
        for slot in self._open_slots():
            overdue = slot.watchdog.look(time.monotonic()) if slot.killed_at is None else None
            if overdue is not None:
                slot.overdue = overdue
                self._kill_one(slot, overdue.message)

    def _tell_counts(self) -> None:
        """At most with every heartbeat: a shared file system sees little of a task."""
        counts = total_counts(self._slots)
        if any(counts.values()) and counts != self._told:
            self._told = counts
            self._events.add("counts", **counts)
