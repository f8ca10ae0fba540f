"""The sums of the ledger, by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from launch.collect.ledger.account import Held, Output, Price, make_ledger, most_at_once
from launch.collect.ledger.phases import PHASES, Phase
from launch.collect.ledger.repeated import repeated_s
from launch.collect.ledger.spans import AttemptSpans, Span
from launch.collect.ledger.unattended import Unattended
from launch.collect.ledger.view import ledger_line
from launch.collect.merge import merge
from launch.collect.schemas import read_schema
from launch.rundir.journal import Journal, read_json, write_json
from launch.rundir.layout import EnginePaths, RunPaths
from tests.collect.builders import make_generations, published, read_value, write_events, write_results

OUTPUT = Output(1800, 36_000, 7.2e6, 3600)
EURO = Price(2.5, "EUR")


def span(phase: Phase, begin: float, end: float, share: float = 2.0) -> Span:
    return Span(phase, begin, end, 0, 0, ("0", "1"), share)


def attempt(**changes: Any) -> AttemptSpans:
    """An hour of two GPUs, of which 18 s nobody explains."""
    whole = AttemptSpans(
        submission=1,
        task=0,
        attempt=0,
        host="n1",
        gpus=("0", "1"),
        begin=0,
        end=3600,
        end_by="sacct",
        queued_s=60,
        clock_ahead_s=0,
        spans=(
            span(Phase.SETUP, 0, 100),
            span(Phase.LOADING, 100, 400),
            span(Phase.GENERATING, 400, 3400),
            span(Phase.LOST, 3400, 3591),
        ),
    )
    return replace(whole, **changes)


def ledger(
    *attempts: AttemptSpans,
    repeated: dict[Any, Any] | None = None,
    output: Output = OUTPUT,
    prices: dict[int, Price | None] | None = None,
    unattended: tuple[Unattended, ...] = (),
) -> dict[str, Any]:
    """The ledger, which has the form that its schema says."""
    found = make_ledger(Held(attempts, repeated or {}, unattended), output, prices or {}, None)
    Draft202012Validator(read_schema("inference_summary")["properties"]["ledger"]).validate(found)
    return found


def test_an_hour_of_two_gpus() -> None:
    found = ledger(attempt(), prices={1: EURO})
    assert (found["gpu_hours"], found["num_gpus"], found["allocated_s"]) == (2.0, 2, 7200)
    assert found["phases"] == {
        **dict.fromkeys(PHASES, 0.0),
        "setup": 200,
        "loading": 600,
        "generating": 6000,
        "lost": 382,
    }
    assert (found["unexplained"], found["queued_s"], found["no_gpu"]) == (18, 60, None)
    assert (found["energy_kwh"], found["energy_covers"]) == (2.0, 0.5)
    assert (found["tokens_per_gpu_second"], found["samples_per_gpu_hour"]) == (5.0, 900)
    assert found["cost"] == {"price_per_gpu_hour": 2.5, "currency": "EUR", "amount": 5.0}


def test_a_run_in_a_line() -> None:
    assert ledger_line(ledger(attempt(), prices={1: EURO})) == (
        "2.00 GPU-hours: generating 83%, loading 8%, lost 5%, setup 3%; 2.00 kWh; 5.00 EUR"
    )
    bare = ledger_line(ledger(attempt(), output=Output(0, 0, None, 0)))
    assert bare is not None and bare.endswith("setup 3%")
    assert ledger_line(ledger(attempt(gpus=()))) is None


def test_by_task_and_attempt() -> None:
    again = attempt(attempt=1, begin=4000, end=4010, spans=(span(Phase.SETUP, 4000, 4010),), queued_s=None)
    found = ledger(attempt(), again, attempt(task=1))
    first, second = found["tasks"]
    assert (first["task"], first["allocated_s"], first["phases"]["setup"]) == (0, 7220, 220)
    assert [each["allocated_s"] for each in first["attempts"]] == [7200, 20]
    assert "draining" not in first["phases"] and first["queued_s"] == 60
    assert (second["task"], len(second["attempts"])) == (1, 1)
    assert found["num_gpus"] == 4 and found["num_attempts"] == 3


def test_what_was_generated_twice_is_taken_out_of_where_it_was_spent() -> None:
    moved = {Phase.GENERATING: 1000.0, Phase.DRAINING: 0.0}
    found = ledger(attempt(), repeated={(1, 0, 0): moved})
    assert (found["phases"]["generating"], found["phases"]["repeated"]) == (5000, 1000)
    assert found["unexplained"] == 18


def test_without_a_gpu_there_are_seconds_and_no_gpu_hours() -> None:
    found = ledger(attempt(gpus=(), spans=(span(Phase.SETUP, 0, 3600, 1.0),)), prices={1: EURO})
    assert (found["gpu_hours"], found["cost"], found["tokens_per_gpu_second"]) == (None, None, None)
    assert "no GPU" in found["no_gpu"] and (found["allocated_s"], found["num_gpus"]) == (3600, 0)
    assert found["phases"]["setup"] == 3600


def test_attempts_without_gpus_are_told_and_not_added_to_gpu_hours() -> None:
    found = ledger(attempt(), attempt(task=1, gpus=()))
    assert (found["gpu_hours"], found["num_attempts"], found["num_attempts_without_gpu"]) == (2.0, 1, 1)


@pytest.mark.parametrize(
    ("prices", "cost"),
    [
        ({1: EURO, 2: Price(5.0, "EUR")}, {"price_per_gpu_hour": None, "currency": "EUR", "amount": 15.0}),
        ({1: EURO, 2: Price(5.0, "USD")}, None),
        ({1: EURO}, None),
        ({}, None),
    ],
)
def test_a_cost_is_that_of_all_or_none(prices: dict[int, Price | None], cost: dict[str, Any] | None) -> None:
    assert ledger(attempt(), attempt(submission=2), prices=prices)["cost"] == cost


def test_jobs_that_began_no_attempt_cost_as_much() -> None:
    others = (Unattended(1, 0, 100, 2, setup_s=90), Unattended(1, 1, 30, 2, setup_s=0))
    found = ledger(attempt(), unattended=others, prices={1: EURO})
    assert found["allocated_s"] == 7200 + 260 and found["phases"]["setup"] == 200 + 180
    assert found["unexplained"] == 18 + 20 + 60
    assert found["without_attempt"] == {"num_jobs": 2, "allocated_s": 260}
    assert found["cost"]["amount"] == pytest.approx(7460 / 3600 * 2.5, abs=0.01)
    assert sum(task["allocated_s"] for task in found["tasks"]) == 7200


def test_nothing_at_all() -> None:
    found = ledger(output=Output(0, 0, None, 0))
    assert (found["allocated_s"], found["energy_kwh"], found["queued_s"], found["tasks"]) == (
        0,
        None,
        None,
        [],
    )


def test_the_most_gpus_at_once() -> None:
    """One ends in the moment in which another begins."""
    assert most_at_once([attempt(), attempt(begin=3600, end=4000), attempt(begin=10, end=20)]) == 4


def commits(tmp_path: Path, *lines: tuple[float, list[tuple[int, int, int]]]) -> EnginePaths:
    """Commit lines: time, and (number, offset, output tokens) of each item."""
    paths = EnginePaths(tmp_path, 0, 0)
    journal = Journal(paths.commits)
    for time, items in lines:
        rows = [[number, offset, 10, 0, 5, tokens, 0] for number, offset, tokens in items]
        journal.append({"time": time, "items": rows})
    journal.close()
    return paths


def test_the_seconds_of_lines_that_do_not_count(tmp_path: Path) -> None:
    """30 of 40 tokens of 10 s, and all of the 20 s that end in the drain; by a clock that is 1000 s ahead."""
    paths = commits(
        tmp_path,
        (1010.0, [(0, 0, 10), (1, 10, 30)]),
        (1020.0, [(2, 20, 7)]),
        (1040.0, [(3, 30, 0)]),
    )
    spans = (span(Phase.GENERATING, 0, 25), span(Phase.DRAINING, 25, 45))
    assert repeated_s(paths, {10, 30}, spans, 1000.0) == {Phase.GENERATING: 7.5 + 5, Phase.DRAINING: 15}
    assert repeated_s(paths, {10}, (), 0.0) == {Phase.GENERATING: 0, Phase.DRAINING: 0}


def test_a_merge_finds_what_was_generated_twice(run: RunPaths) -> None:
    """Two tasks generate the same items, half of which are the second one's alone."""
    everything = make_generations(run)
    first, second = write_results(run, everything[:6]), write_results(run, everything, task=1)
    for start in (first, second):
        paths = run.attempt(start.submission, start.task, start.attempt)
        about = {"host": "n", "started": 100.0, "gpus": ["0"]}
        slot = {"slot": 0, "start": 0, "opened": 101.0, "gpus": ["0"]}
        write_json(paths.attempt_json, {**about, "slots": [slot]})
        place = {"slot": 0, "start": 0}
        phases = [(110.0, "phase", {**place, "phase": "generating"})]
        write_events(run, start, [*phases, (130.0, "engine_end", {**place, "said": "empty"})])
        write_json(paths.ended, {"code": 0, "reason": "empty", "ended": 131.0})
        lines = [read_json(start.paths(run).commits) or {}]
        start.paths(run).commits.unlink()
        journal = Journal(start.paths(run).commits)
        for line in lines:
            journal.append({**line, "time": 130.0})
        journal.close()
    merge(run)
    found = read_value(published(run) / "inference_summary.json")["ledger"]
    assert found["phases"] == {
        **dict.fromkeys(PHASES, 0.0),
        "setup": 4,
        "loading": 18,
        "generating": 30,
        "repeated": 10,
    }
    assert (found["allocated_s"], found["ends_known_by"]) == (62, {"itself": 2})
    assert found["no_sacct"] == "no attempt was a job of Slurm"
