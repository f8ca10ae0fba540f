"""Makes the timeline of a run out of its directory: spans of phases, GPU readings, failures, references."""

from collections.abc import Sequence

from launch.collect.attempt_files import AttemptFiles, read_attempts
from launch.collect.ledger import spans as ledger
from launch.collect.ledger.phases import PHASES
from launch.collect.manifest import GENERATIONS_FILE, Manifest
from launch.collect.run_page.command import submit_command
from launch.collect.run_page.gpu_series import GpuFile, gpu_series
from launch.collect.run_page.timeline_record import AttemptSpans, GpuSeries, Span, Timeline
from launch.collect.run_page.troubles import Place, end_of, find_troubles
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_run

MAX_SPANS = 40_000
DECIMALS = 2


def make_timeline(run: RunPaths, manifest: Manifest, references: dict[str, str]) -> Timeline:
    """The timeline of what `manifest` published of a run."""
    attempts = list(read_attempts(run))
    spans = list(ledger.phase_spans(run))
    begin = min((each.begin for each in spans), default=None)
    by_place = {(each.submission, each.task, each.attempt): each for each in attempts}
    rows = [
        _row(each, by_place.get((each.submission, each.task, each.attempt)), begin or 0.0) for each in spans
    ]
    is_thinned = sum(len(row.spans) for row in rows) > MAX_SPANS
    ends = {(each.submission, each.task, each.attempt): each.end for each in spans}
    places = [Place(each, run.attempt(*place), ends.get(place)) for place, each in by_place.items()]
    troubles = find_troubles(places, begin)
    gpu, no_gpu = _gpu(run, attempts, spans)
    return Timeline(
        run_id=manifest.run_id,
        generations_sha256=manifest.files[GENERATIONS_FILE].sha256,
        command=submit_command(load_run(run)),
        begin=None if begin is None else round(begin, 3),
        phases=tuple(phase.value for phase in PHASES),
        num_tasks=len({(each.submission, each.task) for each in spans}),
        num_attempts=len(spans),
        attempts=tuple(_first_slot(row) for row in rows) if is_thinned else tuple(rows),
        first_slots_only=is_thinned,
        gpu=gpu,
        no_gpu=no_gpu,
        num_troubles=sum(troubles.by_class.values()),
        troubles_by_class=troubles.by_class,
        troubles=troubles.first,
        references=references,
    )


def _row(attempt: ledger.AttemptSpans, files: AttemptFiles | None, begin: float) -> AttemptSpans:
    spans = (
        Span(
            PHASES.index(span.phase),
            -1 if span.slot is None else span.slot,
            round(span.begin - begin, DECIMALS),
            round(span.end - begin, DECIMALS),
        )
        for span in attempt.spans
    )
    ended = {} if files is None else files.ended
    return AttemptSpans(
        submission=attempt.submission,
        task=attempt.task,
        attempt=attempt.attempt,
        host=attempt.host,
        num_gpus=len(attempt.gpus),
        end="killed" if files is None else end_of(files),
        reason=ended.get("reason"),
        spans=tuple(span for span in spans if span.end_s > span.begin_s),
    )


def _first_slot(row: AttemptSpans) -> AttemptSpans:
    """An attempt with the spans of its first slot, where those of all tasks would be too many to show."""
    slots = [span.slot for span in row.spans if span.slot >= 0]
    first = min(slots, default=-1)
    return row.model_copy(update={"spans": tuple(span for span in row.spans if span.slot in (-1, first))})


def _gpu(
    run: RunPaths, attempts: Sequence[AttemptFiles], spans: Sequence[ledger.AttemptSpans]
) -> tuple[GpuSeries | None, str | None]:
    files = [
        GpuFile(run.attempt(each.submission, each.task, each.attempt).gpu, each.about["clock_ahead_s"])
        for each in attempts
    ]
    if not spans:
        return None, "no attempt was sampled"
    return gpu_series(files, min(each.begin for each in spans), max(each.end for each in spans))
