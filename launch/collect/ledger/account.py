"""The ledger of a run: its attempts' spans added up by attempt, task and run. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from launch.collect.ledger.phases import PHASES, Phase
from launch.collect.ledger.spans import AttemptSpans, Place
from launch.collect.ledger.unattended import Unattended

MEANS = (
    "GPU-seconds of all attempts (of slots, where there is no GPU) by what the GPU was held for. Each is"
    " measured, between two times that were written down; `unexplained` is what they leave of the allocation."
    " `queued_s` are seconds of waiting, in which no GPU is held. docs/ledger.md has the definitions."
)
JOULES_PER_KWH = 3.6e6
SECONDS_PER_HOUR = 3600
Moved = Mapping[Phase, float]
"""GPU-seconds that are REPEATED, by the phase out of which they come."""


class Output(NamedTuple):
    """What a run has to show for its GPU hours: what counts of its samples and tokens, and joules as sampled.

    `energy_j` is None where nobody measured; `sampled_gpu_s` are the GPU-seconds during which somebody did.
    """

    num_samples: int
    num_output_tokens: int
    energy_j: float | None
    sampled_gpu_s: float


class Price(NamedTuple):
    """Of one GPU for an hour."""

    per_gpu_hour: float
    currency: str


class Held(NamedTuple):
    """All that held GPUs: attempts, what of them is repeated, and lives of jobs without an attempt."""

    attempts: Sequence[AttemptSpans]
    repeated: Mapping[Place, Moved]
    unattended: Sequence[Unattended]


def make_ledger(
    held: Held,
    output: Output,
    prices: Mapping[int, Price | None],
    no_sacct: str | None,
) -> dict[str, Any]:
    """The `ledger` part of the summary. `prices` are by submission, each of which may run elsewhere.

    `no_sacct`: why accounting told no begins and ends, if it did not.

    Attempts without GPUs count only where no attempt of the run has one.
    """
    with_gpus = [each for each in held.attempts if each.gpus]
    counted = with_gpus or held.attempts
    rows = [_attempt(each, held.repeated.get(each.place, {})) for each in counted]
    others = [_unattended(each) for each in held.unattended] if with_gpus else []
    total = _sum([*rows, *others])
    allocated, is_gpu = total["allocated_s"], bool(with_gpus)
    gpu_hours = allocated / SECONDS_PER_HOUR if is_gpu else None
    return {
        "means": MEANS,
        "gpu_hours": _rounded(gpu_hours, 4),
        "no_gpu": None if is_gpu else "no GPU was visible to any attempt: seconds are those of slots",
        "num_gpus": most_at_once(with_gpus),
        **total,
        "energy_kwh": None if output.energy_j is None else round(output.energy_j / JOULES_PER_KWH, 6),
        "energy_covers": _rate(output.sampled_gpu_s, allocated) if is_gpu else None,
        "tokens_per_gpu_second": _rate(output.num_output_tokens, allocated) if is_gpu else None,
        "samples_per_gpu_hour": _rate(output.num_samples, gpu_hours) if gpu_hours else None,
        "cost": _cost([*rows, *others], prices) if is_gpu else None,
        "num_attempts": len(rows),
        "num_attempts_without_gpu": len(held.attempts) - len(with_gpus),
        "without_attempt": {
            "num_jobs": len(others),
            "allocated_s": round(sum(row["allocated_s"] for row in others), 3),
        },
        "ends_known_by": dict(sorted(Counter(each.end_by for each in counted).items())),
        "no_sacct": no_sacct,
        "tasks": _tasks(rows),
    }


def most_at_once(attempts: Iterable[AttemptSpans]) -> int:
    """The most GPUs that attempts held at one time."""
    changes = [
        change for each in attempts for change in ((each.begin, len(each.gpus)), (each.end, -len(each.gpus)))
    ]
    held = most = 0
    for _, change in sorted(changes):
        held += change
        most = max(most, held)
    return most


def _attempt(attempt: AttemptSpans, repeated: Moved) -> dict[str, Any]:
    seconds = dict.fromkeys(PHASES, 0.0)
    for span in attempt.spans:
        seconds[span.phase] += span.gpu_seconds
    for phase, moved in repeated.items():
        seconds[phase] -= moved
        seconds[Phase.REPEATED] += moved
    allocated = attempt.num_lanes * (attempt.end - attempt.begin)
    return {
        "submission": attempt.submission,
        "task": attempt.task,
        "attempt": attempt.attempt,
        "host": attempt.host,
        "num_gpus": len(attempt.gpus),
        "begin": round(attempt.begin, 3),
        "end": round(attempt.end, 3),
        "end_by": attempt.end_by,
        "allocated_s": round(allocated, 3),
        "phases": {phase.value: round(spent, 3) for phase, spent in seconds.items()},
        "unexplained": _unexplained(allocated, sum(seconds.values())),
        "queued_s": _rounded(attempt.queued_s, 3),
    }


def _unattended(life: Unattended) -> dict[str, Any]:
    """A row of the sums: setup while its batch shell told that it ran, else nobody knows."""
    allocated, setup = life.seconds * life.num_gpus, life.setup_s * life.num_gpus
    return {
        "submission": life.submission,
        "allocated_s": allocated,
        "phases": {phase.value: setup if phase is Phase.SETUP else 0.0 for phase in PHASES},
        "unexplained": _unexplained(allocated, setup),
        "queued_s": None,
    }


def _unexplained(allocated: float, explained: float) -> float:
    """What no span covers; spans lie side by side within their allocation, so only rounding is below 0."""
    return max(0.0, round(allocated - explained, 3))


def _sum(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What rows have in common, added up; of the queue what is known, None where nobody knows any of it."""
    queued = [row["queued_s"] for row in rows if row["queued_s"] is not None]
    return {
        "allocated_s": round(sum(row["allocated_s"] for row in rows), 3),
        "phases": {
            phase.value: round(sum(row["phases"][phase.value] for row in rows), 3) for phase in PHASES
        },
        "unexplained": round(sum(row["unexplained"] for row in rows), 3),
        "queued_s": round(sum(queued), 3) if queued else None,
    }


def _tasks(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a task with its attempts, from which what is 0 is left out."""
    tasks = []
    for (submission, task), group in groupby(rows, key=lambda row: (row["submission"], row["task"])):
        attempts = list(group)
        total = _short(_sum(attempts))
        shown = [
            _short({name: row[name] for name in row if name not in ("submission", "task")})
            for row in attempts
        ]
        tasks.append({"submission": submission, "task": task, **total, "attempts": shown})
    return tasks


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "phases": {name: seconds for name, seconds in row["phases"].items() if seconds}}


def _cost(rows: Sequence[Mapping[str, Any]], prices: Mapping[int, Price | None]) -> dict[str, Any] | None:
    """None where a submission has no price, or two have different currencies: a sum would be of some."""
    amount, used = 0.0, set()
    for row in rows:
        price = prices.get(row["submission"])
        if price is None:
            return None
        used.add(price)
        amount += row["allocated_s"] / SECONDS_PER_HOUR * price.per_gpu_hour
    currencies = {price.currency for price in used}
    if len(currencies) != 1:
        return None
    return {
        "price_per_gpu_hour": used.pop().per_gpu_hour if len(used) == 1 else None,
        "currency": currencies.pop(),
        "amount": round(amount, 2),
    }


def _rate(count: float, size: float) -> float | None:
    return round(count / size, 3) if size > 0 else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
