"""One life of a task: checks that nothing changed, runs an engine process per slot, leaves nothing behind.

It never opens plan or results. It writes attempt.json, events.jsonl, gpu.jsonl and heartbeat of an attempt,
and ended.json when no process of its engines is left.
"""

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from launch.config.schema import RunConfig, Scheduler
from launch.errors import ExitCode, LaunchError, RunError, StorageError
from launch.model.length_bounds import length_bounds
from launch.rundir.attempts import EngineStart, open_attempt
from launch.rundir.claim_files import is_all_done
from launch.rundir.journal import read_json, write_json
from launch.rundir.layout import AttemptPaths, RunPaths
from launch.rundir.records import (
    RunRecord,
    SubmissionRecord,
    load_run,
    load_submission,
    task_config,
)
from launch.rundir.storage_errors import storage_trouble
from launch.worker.attempt_record import Events, describe_attempt, supervisor_began, write_ended
from launch.worker.canary_watch import refuse_stopped
from launch.worker.devices import TooFewGpusError, share_gpus, visible_gpus
from launch.worker.diagnosis import explain, told
from launch.worker.exclusion import leave, may_leave, node_name
from launch.worker.failures import OF_THE_NODE, FailureClass, class_of
from launch.worker.gpu import GpuSampler
from launch.worker.gpu_settings import device_name, measured_settings
from launch.worker.gpu_watch import GpuWatch
from launch.worker.longest_prompt import count_longest_prompt
from launch.worker.monitoring import FailedWrites, Heartbeat, say
from launch.worker.opening import AttemptPlace, SlotOpener
from launch.worker.outcome import ELSEWHERE, Outcome, judge, stop_without_progress
from launch.worker.processes import adopt_orphans, end_orphans
from launch.worker.recovery import Recovery
from launch.worker.signals import Signals
from launch.worker.slots import Slot, end_slots
from launch.worker.startup.queue_wait import queue_wait_s
from launch.worker.steps import Action, Step
from launch.worker.stop_order import StopOrder
from launch.worker.unchanged import ChangedError, check_unchanged
from launch.worker.walltime import Walltime
from launch.worker.watch import SlotWatch
from launch.worker.watchdogs import limits_of

BUG = Outcome(ExitCode.BUG, "bug", {"class": "bug", "message": "the supervisor failed: the task's log"})


def supervise(run: RunPaths, submission: int, task: int, shell_began: float | None) -> ExitCode:
    """Lives one attempt of a task and says how it ended; in the main thread of a process of its own.

    `shell_began`: when the batch shell above it did, seconds since the epoch; the task had its GPUs then.

    0: nothing is left to claim; 75: work is left and the task may continue; 1: it stopped; 2: the user's to
    mend, said in one line on stderr.
    """
    record, sent = load_run(run), load_submission(run, submission)
    if not 0 <= task < sent.num_tasks:
        raise RunError(f"--task: submission {submission} has tasks 0 to {sent.num_tasks - 1}, got {task}.")
    with Signals() as signals:
        adopt_orphans()
        attempt, paths = open_attempt(run, submission, task)
        at = EngineStart(submission, task, attempt, 0, 0)
        return _Attempt(run, record, sent, at, signals, shell_began).run(paths)


class _Attempt:
    """What is known of the attempt while it lives."""

    def __init__(
        self,
        run: RunPaths,
        record: RunRecord,
        sent: SubmissionRecord,
        at: EngineStart,
        signals: Signals,
        shell_began: float | None,
    ) -> None:
        self._run = run
        self._record = record
        self._sent = sent
        self._config: RunConfig = task_config(record, sent)
        self._at = at
        self._signals = signals
        self._shell_began = shell_began
        self._slots: list[Slot] = []
        self._sampler: GpuSampler | None = None
        self._visible: list[str] = []
        self._failed = FailedWrites()
        self._excluded = run.excluded(at.submission, at.task)
        self._can_move = may_leave(self._config, self._excluded, node_name())

    def run(self, paths: AttemptPaths) -> ExitCode:
        """Works, and writes ended.json last whatever happened."""
        started = round(time.time(), 3)
        heartbeat = Heartbeat(paths.heartbeat, self._failed, time.monotonic())
        events = Events(paths, self._failed)
        outcome = BUG
        try:
            about = self._describe(paths, started, events)
            outcome = self._refrain(events) or self._work(paths, about, heartbeat, events)
        except (LaunchError, OSError) as error:
            outcome = self._outcome_of(error, events)
        finally:
            self._end_all()
            gpu = None if self._sampler is None else self._sampler.stop()
            failed = {"failed_writes": self._failed.count} if self._failed.count else {}
            events.add("ended", code=int(outcome.code), reason=outcome.reason, **failed)
            events.close()
            write_ended(paths, started, outcome, self._slots, gpu)
        return outcome.code

    def _describe(self, paths: AttemptPaths, started: float, events: Events) -> dict[str, Any]:
        """Writes attempt.json, of which others learn that the attempt is there; what it says."""
        self._visible = visible_gpus()
        ahead_s = round(started - paths.heartbeat.stat().st_mtime, 1)
        place = (self._at.submission, self._at.task, self._at.attempt)
        about = describe_attempt(started, ahead_s, self._visible, place)
        about |= {"shell_began": self._shell_began, "supervisor_began": supervisor_began()}
        about["queue_wait_s"] = queue_wait_s(self._run, *place, started)
        write_json(paths.attempt_json, about)
        events.add("started", host=about["host"], pid=about["pid"], gpus=",".join(self._visible) or "none")
        return about

    def _refrain(self, events: Events) -> Outcome | None:
        """The outcome when there is nothing to do; an error when nothing may be done."""
        if is_all_done(self._run, self._sent):
            return Outcome(ExitCode.OK, "empty")
        try:
            refuse_stopped(self._run, self._at.submission)
        except StorageError as error:
            events.add("canary", found=f"the engines look again whether the run is stopped: {error}")
        check_unchanged(self._run, self._record, self._sent)
        return None

    def _work(
        self, paths: AttemptPaths, about: dict[str, Any], heartbeat: Heartbeat, events: Events
    ) -> Outcome:
        """Runs engines until every slot has ended for good."""
        measured = self._measured(events)
        self._make_slots(paths, measured)
        sampled = self._visible if self._visible or "CUDA_VISIBLE_DEVICES" in os.environ else None
        self._sampler = GpuSampler(paths.gpu, sampled)
        place = AttemptPlace(self._run, self._config, self._at, self._visible)
        recovery = Recovery(
            self._config,
            paths,
            events,
            SlotOpener(place, about, self._failed),
            GpuWatch(self._sampler, self._visible, events),
            partial(count_longest_prompt, self._run, self._at.submission),
            on_cpu=not self._visible,
            length_bounds=length_bounds(read_json(Path(self._record.checkpoint.path, "config.json")) or {}),
            can_move=self._can_move,
            measured=measured,
        )
        watch = SlotWatch(self._slots, self._signals, events, heartbeat, self._stop_order(), recovery)
        return self._conclude(judge(watch.run()), recovery)

    def _make_slots(self, paths: AttemptPaths, measured: dict[str, Any]) -> None:
        limits = limits_of(self._config.engine, self._config.model.engine, self._config.sampling.max_tokens)
        for number, gpus in enumerate(share_gpus(self._config, self._visible)):
            slot = Slot(number, 0, gpus, paths.engine(number, 0), limits)
            slot.changes = measured
            self._slots.append(slot)

    def _stop_order(self) -> StopOrder:
        on_slurm = self._config.resources.scheduler is Scheduler.SLURM
        walltime = Walltime(self._run, self._at.submission, on_slurm=on_slurm)
        return StopOrder(self._config.resources.signal_lead_s, walltime)

    def _measured(self, events: Events) -> dict[str, Any]:
        """What this node's GPU was measured to want, told in an event."""
        device = device_name(self._visible)
        measured = measured_settings(self._config.engine, device)
        if measured:
            events.add("measured_settings", device=device, settings=measured)
        return measured

    def _conclude(self, outcome: Outcome, recovery: Recovery) -> Outcome:
        """The outcome explained and told, or a stop when two attempts got nowhere."""
        config = self._config if outcome.end is None else recovery.config_of(outcome.end.slot)
        checkpoint = Path(self._record.checkpoint.path)
        is_beside = self._run.is_beside(config.publish.output_dir)
        outcome = explain(outcome, config, checkpoint, on_cpu=recovery.on_cpu, is_beside=is_beside)
        outcome = stop_without_progress(outcome, self._run, self._at, self._config.num_engines)
        if outcome.reason == ELSEWHERE:
            leave(self._excluded, node_name())
        if outcome.failure is not None:
            say("\n".join(told(outcome.failure)))
        return outcome

    def _outcome_of(self, error: LaunchError | OSError, events: Events) -> Outcome:
        """Tells what ended the attempt before its engines did, and whether another node may do."""
        ours = error if isinstance(error, LaunchError) else storage_trouble(error)
        if ours is None:
            raise error  # a bug
        say(str(ours))
        name = FailureClass.TOO_FEW_GPUS if isinstance(ours, TooFewGpusError) else class_of(ours)
        if not self._can_move or name not in (FailureClass.TOO_FEW_GPUS, *OF_THE_NODE):
            return _refused(ours)
        try:
            leave(self._excluded, node_name())
        except (OSError, StorageError):  # Slurm would choose the same node again, and again
            return _refused(ours)
        events.add("ladder", slot=0, start=0, **Step(name, Action.ELSEWHERE).as_row())
        return Outcome(ExitCode.CONTINUE, ELSEWHERE, {"class": str(name), "message": str(ours)})

    def _end_all(self) -> None:
        """Leaves no process of an engine, on whatever way out this is."""
        end_slots(self._slots)
        end_orphans(())


def _refused(error: LaunchError) -> Outcome:
    failure_class = "changed" if isinstance(error, ChangedError) else class_of(error)
    return Outcome(error.exit_code, "refused", {"class": failure_class, "message": str(error)})
