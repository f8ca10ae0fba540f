"""One part of a campaign: a cluster of its own, and runs under fire until enough was killed or time is up."""

import shutil
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.record import versions
from tests.chaos.campaign import Campaign
from tests.chaos.field import Field, write_scenario
from tests.chaos.kinds import Kind
from tests.chaos.outcomes import Outcome
from tests.chaos.work import Work
from tests.models import make_tiny_llama
from tests.slurm.private_slurm import PrivateSlurm

LEAST_S = 30.0


def run_part(
    work: Work,
    home: Path,
    seed: str,
    wanted: Mapping[Kind, int],
    part_s: float,
    reference: Path | None = None,
) -> dict[str, Any]:
    """The record of a part. In its last seconds it begins no new run and kills nothing.

    `reference` is where the publication of an undisturbed run is kept for parts to come.
    """
    started = time.monotonic()
    left, outcomes = Counter(wanted), []
    write_scenario(home, work)
    make_tiny_llama(home / "model")
    with PrivateSlurm(work.spec) as slurm:
        site = Field(slurm, home, work)
        undisturbed = _reference(site, reference)
        until = started + part_s - work.rhythm.reserve_s
        while left.total() > 0 and time.monotonic() < until - LEAST_S:
            name = f"run-{len(outcomes)}"
            random = Random(f"{seed} {name}")
            outcomes.append(Campaign(site, name, undisturbed, random, left).run(until))
    return record(work, seed, outcomes, time.monotonic() - started)


def _reference(site: Field, kept: Path | None) -> Path:
    if kept is not None and kept.exists():
        return kept
    made = site.generate_reference()
    if kept is not None:
        shutil.copytree(made, kept)
    return made


def record(work: Work, seed: str, outcomes: list[Outcome], duration_s: float) -> dict[str, Any]:
    """What a part did and found, as JSON."""
    counts = sum((outcome.counts() for outcome in outcomes), Counter())
    violations = [f"{outcome.name}: {said}" for outcome in outcomes for said in outcome.violations]
    return {
        "seed": seed,
        "engine": work.engine,
        "versions": versions(),
        "words": list(work.words),
        "num_items": work.num_items,
        "num_tasks": work.num_tasks,
        "window": work.window,
        "duration_s": round(duration_s, 1),
        "num_kills": counts.total(),
        "kills": {kind.value: counts[kind] for kind in work.kinds},
        "num_publishing_kills": sum(len(outcome.publishing_kills) for outcome in outcomes),
        "violations": violations,
        "runs": [outcome.as_json() for outcome in outcomes],
    }
