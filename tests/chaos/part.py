"""One part of a campaign: a cluster of its own, and runs under fire until enough was killed or time is up."""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos.campaign import Campaign, Outcome
from tests.chaos.field import (
    ITEMS_PER_KILL,
    NUM_ITEMS,
    NUM_TASKS,
    SECONDS_PER_ITEM,
    SPEC,
    WINDOW,
    Field,
    write_scenario,
)
from tests.chaos.kinds import Kind
from tests.models import make_tiny_llama
from tests.slurm.private_slurm import PrivateSlurm

RESERVE_S = 100.0  # for the run that is under way to be published and checked
LEAST_S = 30.0


def run_part(home: Path, seed: str, wanted: Mapping[Kind, int], part_s: float) -> dict[str, Any]:
    """The record of a part. It begins no new run and kills nothing in its last 100 s."""
    started = time.monotonic()
    left, outcomes = Counter(wanted), []
    write_scenario(home)
    make_tiny_llama(home / "model")
    with PrivateSlurm(SPEC) as slurm:
        site = Field(slurm, home)
        reference = site.generate_reference()
        until = started + part_s - RESERVE_S
        while left.total() > 0 and time.monotonic() < until - LEAST_S:
            name = f"run-{len(outcomes)}"
            random = Random(f"{seed} {name}")
            outcomes.append(Campaign(site, name, reference, random, left).run(until))
    return record(seed, outcomes, time.monotonic() - started)


def record(seed: str, outcomes: list[Outcome], duration_s: float) -> dict[str, Any]:
    """What a part did and found, as JSON."""
    counts = sum((outcome.counts() for outcome in outcomes), Counter())
    violations = [f"{outcome.name}: {said}" for outcome in outcomes for said in outcome.violations]
    return {
        "seed": seed,
        "num_items": NUM_ITEMS,
        "num_tasks": NUM_TASKS,
        "window": WINDOW,
        "seconds_per_item": SECONDS_PER_ITEM,
        "items_per_kill": ITEMS_PER_KILL,
        "duration_s": round(duration_s, 1),
        "num_kills": counts.total(),
        "kills": {kind.value: counts[kind] for kind in Kind},
        "num_publishing_kills": sum(len(outcome.publishing_kills) for outcome in outcomes),
        "violations": violations,
        "runs": [outcome.as_json() for outcome in outcomes],
    }
