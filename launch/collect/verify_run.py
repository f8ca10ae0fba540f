"""Checks every result of a run again and compares it with what is published; publishes nothing."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launch.collect.damage import write_damage
from launch.collect.last_published import published_elsewhere, was_published
from launch.collect.manifest import GENERATIONS_FILE, MANIFEST, Manifest, read_published
from launch.collect.merge import output_dir_of
from launch.collect.merge_claim import MergeClaim
from launch.collect.moved import moved_publication
from launch.collect.outcomes import Findings
from launch.collect.published_files import generations_line
from launch.collect.results import open_results
from launch.collect.summary import read_sources
from launch.collect.tally import Tally
from launch.collect.verify import PublishedReport, verify_published
from launch.config.wording import printable
from launch.errors import RunError
from launch.rundir.layout import RunPaths
from launch.rundir.plan import check_planned, load_counts


@dataclass(frozen=True, slots=True)
class RunReport:
    """What the results of a run hold, and a sentence for everything that is not as it should be.

    `published` is what is in the run's `output_dir` (or beside the run, when both were moved together), None
    where that is not published, or is another run's.
    `elsewhere` is where the run was published last, if that is another place.
    """

    tally: Tally
    findings: Findings
    problems: tuple[str, ...]
    output_dir: Path
    published: PublishedReport | None
    elsewhere: Path | None


def verify_run(run: RunPaths, claim: MergeClaim | None = None) -> RunReport:
    """Reads every result line as a merge does, and what is published; RunError while a merge is at work.

    `claim` is another than a merge's own, which is entered here.
    """
    sources = read_sources(run)
    moved = moved_publication(run)
    output_dir = output_dir_of(run, sources.submissions[-1].publish) if moved is None else moved[1]
    digest = hashlib.sha256()
    with claim or MergeClaim(run) as held, open_results(sources, held) as results:
        results.tally_by_commits()
        for _, outcomes in results.users():
            for outcome in outcomes:
                digest.update(generations_line(outcome))
        write_damage(run, sources.starts, results.findings)
        held.check()
        manifest = read_published(output_dir)
    tally, findings = results.tally, results.findings
    problems = [*_plan_problems(run)]
    problems += [f"damaged: {sentence}" for sentence in findings.damaged]
    problems += [f"differing: {sentence}" for sentence in findings.differing]
    if tally.missing:
        problems.append(f"{len(tally.missing)} of {tally.num_items} items are missing")
    if tally.failed:
        problems.append(f"{len(tally.failed)} of {tally.num_items} items failed")
    published = None
    if manifest is not None and manifest.run_id == sources.record.run_id:
        problems += _compare(manifest, digest.hexdigest())
        published = verify_published(output_dir)
    else:
        problems += _nothing_of_it(run, output_dir, manifest)
    return RunReport(
        tally, findings, tuple(problems), output_dir, published, published_elsewhere(run, output_dir)
    )


def _nothing_of_it(run: RunPaths, output_dir: Path, manifest: Manifest | None) -> Iterator[str]:
    """Why nothing that is published is the run's; nothing for one that was never published."""
    if manifest is not None:
        yield f"{output_dir}: holds the results of run {printable(manifest.run_id)}"
    elif output_dir.is_dir() and any(output_dir.iterdir()):
        yield f"{output_dir}: no {MANIFEST} of vllm-launch here. Move the directory away, and merge again."
    elif was_published(run, output_dir):
        yield f"{output_dir}: what was published there is gone. Publish it again with `vllm-launch merge`."


def _plan_problems(run: RunPaths) -> Iterator[str]:
    """Files of the plan that a task or a merge would refuse; the index was read already."""
    counts = load_counts(run)
    for path, sha256 in ((run.users, counts.users_sha256), (run.history, counts.history_sha256)):
        try:
            check_planned(path, sha256)
        except RunError as error:
            yield str(error)


def _compare(manifest: Manifest, sha256: str) -> list[str]:
    published = manifest.files.get(GENERATIONS_FILE)
    is_same = published is not None and published.sha256 == sha256
    return [] if is_same else ["published generations are not those that the run holds now"]
