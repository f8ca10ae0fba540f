"""Merges a run: every item exactly once, checked, published whole, or a sentence that says what is missing.

It decides from files alone, so it may be run at any time, by hand or as the last job of a submission.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import orjson

from launch.collect.canary import canary_at_the_end
from launch.collect.damage import write_damage
from launch.collect.incomplete import check_complete
from launch.collect.manifest import MANIFEST, SUMMARY_FILE, Manifest, read_published
from launch.collect.merge_claim import MergeClaim
from launch.collect.publish import (
    check_output_dir,
    complete_cut_publication,
    open_partial,
    partial_dir,
    put_in_place,
    real_path,
)
from launch.collect.published_files import PublishedFiles, write_value
from launch.collect.results import Results, open_results
from launch.collect.summary import Sources, read_sources, summarise
from launch.collect.user_files import resolve_user_files
from launch.collect.verify import PublishedReport, verify_published
from launch.config.schema import PublishConfig
from launch.rundir.identity import settings_digest
from launch.rundir.journal import size_of
from launch.rundir.layout import RunPaths
from launch.rundir.plan import PlanReader, load_counts
from launch.rundir.records import now


@dataclass(frozen=True, slots=True)
class Published:
    """A published run as it was proved or written just now; `is_new`: this merge had anything to publish."""

    report: PublishedReport
    is_new: bool

    @property
    def output_dir(self) -> Path:
        """Where."""
        return self.report.output_dir

    @property
    def manifest(self) -> Manifest:
        """What its manifest says."""
        return self.report.manifest


def output_dir_of(run: RunPaths, publish: PublishConfig) -> Path:
    """Where a run is published: as set, else leaderboards/<run id> beside runs/; symbolic links followed."""
    if publish.output_dir is not None:
        return real_path(publish.output_dir.expanduser())
    return real_path(run.root).parent.parent / "leaderboards" / run.root.name


def merge(run: RunPaths, *, assume_dead: bool = False) -> Published:
    """Checks every result of a run and publishes it as its newest submission asks.

    IncompleteError when items are missing or failed beyond what is allowed: nothing is published then, and
    what was published before stays. RunError when another merge is at work (or may be, and is not to be
    assumed dead), when another has taken this one for dead, or the directory is not ours.
    """
    sources = read_sources(run)
    publish = sources.submissions[-1].publish
    output_dir, run_id = output_dir_of(run, publish), sources.record.run_id
    with MergeClaim(run, assume_dead=assume_dead) as claim:
        complete_cut_publication(output_dir, run_id, claim.number)
        check_output_dir(output_dir, run_id)
        digest = sources_digest(sources, publish)
        earlier = read_published(output_dir)
        if earlier is not None and earlier.sources_digest == digest:
            found = verify_published(output_dir)
            if found.is_whole:
                return Published(found, is_new=False)
        with open_results(sources, claim) as results:
            check_complete(run, publish, results.tally_by_commits())
            partial = partial_dir(output_dir, run_id, claim.number)
            open_partial(partial)
            try:
                manifest = _write(partial, results, output_dir, digest)
                write_damage(run, sources.starts, results.findings)
                check_complete(run, publish, results.tally)
                put_in_place(partial, output_dir, run_id, claim.check)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return Published(PublishedReport(output_dir, manifest, problems=(), num_unpacked=0), is_new=True)


def sources_digest(sources: Sources, publish: PublishConfig) -> str:
    """Changes when a result was added, another way of publishing was asked for, or it is another run.

    A run made anew in the place of an earlier one has its id, and may have results of the same size.
    """
    rows = [
        [start.submission, start.task, start.attempt, start.slot, start.start, *_sizes(sources, index)]
        for index, start in enumerate(sources.starts)
    ]
    asked = publish.model_dump(mode="json", exclude={"output_dir", "references"})
    record = sources.record
    which = [record.run_id, record.identity_digest, record.created]
    text = orjson.dumps([rows, asked, which], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()


def _sizes(sources: Sources, index: int) -> list[int]:
    paths = sources.starts[index].paths(sources.run)
    return [size_of(path) for path in (paths.results, paths.commits)]


def _write(partial: Path, results: Results, output_dir: Path, digest: str) -> Manifest:
    """Writes every file, the manifest last."""
    sources = results.sources
    asked = sources.submissions[-1].publish.user_files
    user_files = resolve_user_files(asked, load_counts(sources.run).num_users)
    reader = PlanReader(sources.run)
    try:
        with PublishedFiles(partial, sources, user_files) as files:
            for entry, outcomes in results.users():
                files.add_user(reader.user(entry.span), outcomes)
    finally:
        reader.close()
    newest = sources.submissions[-1]
    canary = None
    if not results.findings.num_damaged:  # else a resume brings those items again, and is followed by a merge
        canary = canary_at_the_end(sources.run, newest.canary, newest.submission)
    summary = summarise(sources, results.tally, results.findings, output_dir, canary)
    files.files[SUMMARY_FILE] = write_value(partial, SUMMARY_FILE, summary)
    manifest = _manifest(results, files, digest)
    write_value(partial, MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def _manifest(results: Results, files: PublishedFiles, digest: str) -> Manifest:
    record, tally = results.sources.record, results.tally
    return Manifest(
        run_id=record.run_id,
        published=now(),
        complete=tally.num_done == tally.num_items,
        engine=record.model.engine.value,
        stub=record.model.engine.value == "stub",
        subset=record.subset,
        identity_digest=record.identity_digest,
        settings_digest=settings_digest(record),
        checkpoint_digest=record.checkpoint.digest,
        scenario_digest=record.scenario_digest,
        code=results.sources.submissions[-1].code,
        sources_digest=digest,
        num_users=tally.num_users,
        num_items=tally.num_items,
        num_done=tally.num_done,
        num_failed=len(tally.failed),
        num_missing=len(tally.missing),
        failed_items=tuple(tally.failed),
        missing_items=tuple(tally.missing_keys),
        files=dict(sorted(files.files.items())),
    )
