"""One engine on its GPUs: claim and tokenise (a thread), step (this one), write (a thread).

`python -m launch.worker.engine_process RUN --submission S --task T --attempt A --slot K --start N`, started
by the supervisor in a session of its own, with pipes as stdin and stdout (launch/worker/channel.py).
`--scratch` is the user's folder on the node, for caches and staged weights (launch/worker/startup).
`--changes` are engine settings that the ladder changed after an earlier start (launch/worker/ladder.py), and
`--caution` how to run items of which one killed it (launch/worker/caution.py).
"""

import argparse
import contextlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from launch.config.schema import RunConfig, Scheduler, engines_of_task
from launch.errors import ExitCode, LaunchError
from launch.rundir.attempts import EngineStart
from launch.rundir.chunks import read_chunks
from launch.rundir.claim_files import Owner, is_all_done
from launch.rundir.claims import ClaimBook
from launch.rundir.identity import settings_digest
from launch.rundir.journal import write_json
from launch.rundir.layout import EnginePaths, RunPaths
from launch.rundir.records import (
    RunRecord,
    SubmissionRecord,
    adapter_dir,
    load_run,
    load_submission,
    task_config,
)
from launch.rundir.signs import job_of
from launch.rundir.storage_errors import storage_trouble
from launch.scenarios.records import Request
from launch.slurm.liveness import Life, Lives
from launch.worker.canary_watch import CanaryWatch
from launch.worker.caution import Caution, note_flight, read_caution
from launch.worker.channel import Channel, tether
from launch.worker.engines.protocol import Engine, EngineDied, EngineSetup
from launch.worker.engines.select import open_engine
from launch.worker.failures import class_of
from launch.worker.forked import before_or_after_forks
from launch.worker.generator import Counts, Generator, Safeguards
from launch.worker.ladder import changed
from launch.worker.reader import Reader
from launch.worker.requests import open_request_maker
from launch.worker.startup.imports import fast_imports
from launch.worker.startup.ledger import StartLedger
from launch.worker.startup.preparation import Preparation, prepared
from launch.worker.writer import ResultWriter

# The log may be on the disk that is full: the pipe and the exit code still say why.
LOG_MAY_BE_FULL = contextlib.suppress(OSError)
StartEngine = Callable[[EngineSetup, Callable[[str], None]], Engine]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine process works: the user's folder on the node, None for no caches and no staging.

    `start` opens its engine; benchmarks, which give one engine to several runs, have another.
    """

    scratch: Path | None = None
    start: StartEngine = open_engine


ANYWHERE = Place()


def work(
    run: RunPaths,
    at: EngineStart,
    channel: Channel,
    changes: Mapping[str, Any],
    caution: Caution,
    place: Place = ANYWHERE,
) -> tuple[ExitCode, Counts]:
    """Generates until nothing is left to claim or a drain is over; `changes` go over the engine settings."""
    ledger = StartLedger()
    record, submission = load_run(run), load_submission(run, at.submission)
    config = task_config(record, submission)
    reader, writer = _open_ends(run, record, config, submission, at)
    first = _take_first(reader, config, ledger)
    if first is None:
        writer.close()  # items that could not become requests have failed and are written
        _tell_trouble(channel, reader)
        return ExitCode.OK, Counts(done=writer.num_done, failed=writer.num_failed)
    channel.send(phase="loading")
    config = config.model_copy(update={"engine": changed(config.engine, changes)})
    preparation = Preparation(run, record, config, place.scratch, partial(_tell, channel), ledger)
    started = time.monotonic()
    # Whatever ends this, what is generated becomes durable.
    with closing(writer), closing(reader), prepared(preparation):
        setup = _setup(record, config, preparation, changes)
        engine = place.start(setup, partial(_end_dead, channel, reader, writer))
        paths = at.paths(run)
        _record_ready(engine, preparation, paths, started)
        reader.read_ahead(engine.window)
        channel.send(phase="generating")
        with closing(_open_watch(run, at, submission, channel, writer)) as watch:
            safeguards = Safeguards(watch.check, caution, partial(note_flight, paths))
            generator = Generator(engine, reader, writer, channel, safeguards)
            generator.run(first)
        channel.send(phase="draining")
        preparation.finish(channel.drain_asked)
    _tell_trouble(channel, reader)
    generator.refresh_counts()
    return _outcome(run, submission, channel, engine.num_aborted), generator.counts


def _open_ends(
    run: RunPaths, record: RunRecord, config: RunConfig, submission: SubmissionRecord, at: EngineStart
) -> tuple[Reader, ResultWriter]:
    """What claims chunks and makes requests, and what writes their results."""
    book = _open_book(run, at, submission)
    writer = ResultWriter(at.paths(run), settings_digest(record), book.mark_done)
    reader = Reader(
        *(run, record, at.submission, book, writer),
        lambda: before_or_after_forks(open_request_maker(run, record, config)),
    )
    return reader, writer


def _take_first(reader: Reader, config: RunConfig, ledger: StartLedger) -> Request | None:
    """The first request, which imports transformers; None when nothing is left to claim."""
    imports = fast_imports(hides_sklearn=not config.model.trust_remote_code)
    with ledger.part("first_request"), imports:
        return reader.take(wait=True)


def _setup(
    record: RunRecord, config: RunConfig, preparation: Preparation, changes: Mapping[str, Any]
) -> EngineSetup:
    """What the engine is opened with: the run's, and its weights from where they are read.

    Where the ladder chose max_model_len, it has counted that all prompts that are left fit it.
    """
    max_prompt_tokens = config.max_prompt_tokens
    if "max_model_len" in changes:
        room = config.engine.max_model_len - config.sampling.max_tokens
        max_prompt_tokens = min(room, max_prompt_tokens)
    return EngineSetup(
        checkpoint=preparation.checkpoint,
        adapter=adapter_dir(record),
        adapter_rank=record.checkpoint.adapter_rank,
        tokenizer=preparation.tokenizer,
        model=config.model,
        engine=config.engine,
        sampling=config.sampling,
        reasoning_end=config.prompt.reasoning_end,
        eos_token_ids=record.checkpoint.eos_token_ids,
        max_prompt_tokens=max_prompt_tokens,
        reasoning_opened=record.reasoning_opened,
    )


def _record_ready(engine: Engine, preparation: Preparation, paths: EnginePaths, started: float) -> None:
    """Writes engine.json of an engine whose start, begun at `started`, is over, and lets others go on."""
    startup = preparation.as_json(paths.log, engine.facts.phases_s)
    facts = {**asdict(engine.facts), "start_s": time.monotonic() - started, "startup": startup}
    write_json(paths.engine_json, facts)
    preparation.ready(startup["total_s"])


def _tell(channel: Channel, what: str, **details: Any) -> None:
    channel.send(startup={"what": what, **details})


def _tell_trouble(channel: Channel, reader: Reader) -> None:
    """An event for what the claims, or results of the dead, did not let this start do or use."""
    for why in reader.trouble:
        _tell(channel, "unreadable", why=why)


def _open_watch(
    run: RunPaths, at: EngineStart, sent: SubmissionRecord, channel: Channel, writer: ResultWriter
) -> CanaryWatch:
    num_tasks = min(sent.num_tasks, sent.resources.max_concurrent or sent.num_tasks)

    def tell(found: str) -> None:
        channel.send(canary=found)

    num_engines = num_tasks * engines_of_task(sent.engine, sent.resources)
    watch = CanaryWatch(run, at, sent.canary, num_engines, lambda: writer.num_done, tell)
    watch.start()
    return watch


def _outcome(run: RunPaths, sent: SubmissionRecord, channel: Channel, num_aborted: int) -> ExitCode:
    """CONTINUE when a drain, or requests that the engine aborted, left something of the submission."""
    if not channel.drain_asked.is_set() and not num_aborted:
        return ExitCode.OK
    return ExitCode.OK if is_all_done(run, sent) else ExitCode.CONTINUE


def _open_book(run: RunPaths, at: EngineStart, sent: SubmissionRecord) -> ClaimBook:
    paths, on_slurm = run.submission(at.submission), sent.resources.scheduler is Scheduler.SLURM
    job = job_of(dict(os.environ)) if on_slurm else None
    owner = Owner(
        task=at.task,
        attempt=at.attempt,
        slot=at.slot,
        start=at.start,
        job=job.name if job else None,
        host=socket.gethostname(),
        pid=os.getpid(),
    )
    lives = Lives(run, at.submission, on_slurm=on_slurm, own_jobs=[job.array] if job else [])

    def is_alive(holder: Owner) -> bool:
        if (holder.task, holder.attempt, holder.slot) == (at.task, at.attempt, at.slot):
            return False
        return lives.of(holder.task, holder.attempt) is not Life.DEAD

    return ClaimBook(paths, read_chunks(paths, sent.chunks_sha256), owner, is_alive)


def _end_dead(channel: Channel, reader: Reader, writer: ResultWriter, message: str) -> None:
    """The engine's core died under us: saves what is generated, says so, and ends at once."""
    traceback.print_stack()
    reader.close()
    try:
        writer.close()
    finally:
        channel.send(ended="failed", failure={"class": "engine_dead", "message": message})
        os._exit(ExitCode.BUG)


def _parse(argv: Sequence[str]) -> tuple[RunPaths, EngineStart, dict[str, Any], Caution, Path | None]:
    parser = argparse.ArgumentParser(prog="launch.worker.engine_process")
    parser.add_argument("run", type=Path)
    for name in ("submission", "task", "attempt", "slot", "start"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--changes", type=orjson.loads, default={})
    parser.add_argument("--caution", type=read_caution, default=Caution())
    parser.add_argument("--scratch", type=Path)
    values = parser.parse_args(argv)
    at = EngineStart(values.submission, values.task, values.attempt, values.slot, values.start)
    return RunPaths(values.run), at, values.changes, values.caution, values.scratch


def main(argv: Sequence[str]) -> ExitCode:
    """Runs one engine start to its end and reports it on the pipe; the exit code says the same."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # Slurm signals every process of a job; the supervisor drains
    run, at, changes, caution, scratch = _parse(argv)
    channel = Channel()
    tether()
    channel.listen()
    channel.send(phase="starting")
    counts: dict[str, Any] | None = None
    failure: dict[str, str] | None = None
    try:
        code, numbers = work(run, at, channel, changes, caution, Place(scratch))
        counts = asdict(numbers)
    except Exception as error:  # noqa: BLE001  the supervisor is told, whatever it was
        code, failure = _failed(error)
    ended = {ExitCode.OK: "empty", ExitCode.CONTINUE: "drained"}.get(code, "failed")
    channel.send(ended=ended, failure=failure, counts=counts)
    return code


def _failed(error: Exception) -> tuple[ExitCode, dict[str, str]]:
    """Tells an error in the log; the exit code, and what the supervisor is told."""
    ours = error if isinstance(error, LaunchError) else storage_trouble(error)
    with LOG_MAY_BE_FULL:
        if ours is None:
            traceback.print_exception(error)
        else:
            print(ours, file=sys.stderr)
    if ours is not None:
        return ExitCode.USER, {"class": class_of(ours), "message": str(ours)}
    failure_class = "engine_dead" if isinstance(error, EngineDied) else type(error).__name__
    return ExitCode.BUG, {"class": failure_class, "message": _one_line(error)}


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


if __name__ == "__main__":
    status = main(sys.argv[1:])
    with LOG_MAY_BE_FULL:
        sys.stderr.flush()
    os._exit(status)  # no exit handlers: vLLM's wait for children that the supervisor is about to kill
