"""Checks every result of a run again and compares it with what is published; publishes nothing."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from launch.collect.damage import write_damage
from launch.collect.manifest import GENERATIONS_FILE, Manifest, read_published
from launch.collect.merge import output_dir_of
from launch.collect.merge_claim import MergeClaim
from launch.collect.outcomes import Findings
from launch.collect.published_files import generations_line
from launch.collect.results import open_results
from launch.collect.summary import read_sources
from launch.collect.tally import Tally
from launch.errors import RunError
from launch.rundir.layout import RunPaths
from launch.rundir.plan import check_planned, load_counts


@dataclass(frozen=True, slots=True)
class RunReport:
    """What the results of a run hold, and a sentence for everything that is not as it should be."""

    tally: Tally
    findings: Findings
    problems: tuple[str, ...]


def verify_run(run: RunPaths) -> RunReport:
    """Reads every result line as a merge does; RunError while a merge is at work."""
    sources = read_sources(run)
    digest = hashlib.sha256()
    with MergeClaim(run) as claim, open_results(sources, claim) as results:
        results.tally_by_commits()
        for _, outcomes in results.users():
            for outcome in outcomes:
                digest.update(generations_line(outcome))
        write_damage(run, sources.starts, results.findings)
        manifest = read_published(output_dir_of(run, sources.submissions[-1].publish))
    tally, findings = results.tally, results.findings
    problems = [*_plan_problems(run)]
    problems += [f"damaged: {sentence}" for sentence in findings.damaged]
    problems += [f"differing: {sentence}" for sentence in findings.differing]
    if tally.missing:
        problems.append(f"{len(tally.missing)} of {tally.num_items} items are missing")
    if tally.failed:
        problems.append(f"{len(tally.failed)} of {tally.num_items} items failed")
    if manifest is not None and manifest.run_id == sources.record.run_id:
        problems += _compare(manifest, digest.hexdigest())
    return RunReport(tally, findings, tuple(problems))


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
