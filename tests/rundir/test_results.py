"""What a kill leaves of results is read back: commits first, then the whole lines behind them."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launch.rundir.attempts import EngineStart, list_engine_starts, open_attempt
from launch.rundir.identity import settings_digest
from launch.rundir.journal import read_journal
from launch.rundir.layout import RunPaths
from launch.rundir.plan import KeyIndex, PlanReader, load_counts, read_index
from launch.rundir.progress import survey_settled
from launch.rundir.records import load_run
from launch.rundir.results import recover
from launch.scenarios.records import Cuts, Failure, Generation, Sample
from launch.worker.writer import ResultWriter
from tests.runs import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    return make_run(tmp_path_factory.mktemp("results"), "DMSC")


def generations(run: RunPaths, *, failed: frozenset[int] = frozenset()) -> list[Generation]:
    found = []
    for entry in read_index(run):
        for place, key in enumerate(entry.keys):
            number = entry.first_item + place
            failure = Failure("too_long", "so long") if number in failed else None
            samples = () if failure else (Sample(f"文 {number}\n\u2028", "stop", 3),)
            found.append(Generation(number, key, entry.digests[place], 7, 11, Cuts(), samples, failure))
    return found


def write(run: RunPaths, chosen: list[Generation]) -> EngineStart:
    attempt, paths = open_attempt(run, 1, 0)
    done: list[int] = []
    writer = ResultWriter(paths.engine(0, 0), settings_digest(load_run(run)), done.append)
    writer.open_chunk(5, [generation.number for generation in chosen])
    for generation in chosen:
        writer.put(generation)
    writer.close()
    assert done == [5]
    return EngineStart(1, 0, attempt, 0, 0)


def read(run: RunPaths, start: EngineStart) -> list[tuple[int, bytes]]:
    data = start.paths(run).results.read_bytes()
    found = recover(run, start, KeyIndex(run), settings_digest(load_run(run)))
    return [(item.number, data[item.offset : item.offset + item.length]) for item in found]


def test_what_is_written_is_read(run: RunPaths) -> None:
    chosen = generations(run, failed=frozenset({1}))
    assert [number for number, _ in read(run, write(run, chosen))] == [each.number for each in chosen]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(kept_commits=st.floats(0, 1), kept_results=st.floats(0, 1))
def test_cut_anywhere_nothing_whole_is_lost(run: RunPaths, kept_commits: float, kept_results: float) -> None:
    """Results are never cut before what is committed: a commit follows the fsync of its lines."""
    start = write(run, generations(run))
    paths = start.paths(run)
    whole = read(run, start)
    os.truncate(paths.commits, int(kept_commits * paths.commits.stat().st_size))
    committed = [row[1] + row[2] for line in read_journal(paths.commits) for row in line["items"]]
    size = max([int(kept_results * paths.results.stat().st_size), *committed])
    os.truncate(paths.results, size)
    ends = [sum(len(line) for _, line in whole[: count + 1]) for count in range(len(whole))]
    assert read(run, start) == whole[: sum(end <= size for end in ends)]


def test_lines_of_another_run_and_of_other_settings_are_not_taken_from_a_tail(run: RunPaths) -> None:
    start = write(run, generations(run)[:3])
    paths = start.paths(run)
    lines = paths.results.read_bytes().splitlines(keepends=True)
    paths.commits.unlink()
    foreign = lines[0].replace(b'"key":"', b'"key":"x')
    other = lines[1].replace(settings_digest(load_run(run)).encode(), b"0" * 16)
    changed = lines[2].replace(b'"digest":"', b'"digest":"0')
    paths.results.write_bytes(foreign + other + changed + b"no json\n" + lines[1])
    assert [number for number, _ in read(run, start)] == [1]


def test_done_beats_failed_and_the_rest_is_missing(tmp_path: Path) -> None:
    run = make_run(tmp_path, "DMSC")
    everything = generations(run, failed=frozenset({0, 1}))
    write(run, everything[:4])
    write(run, generations(run)[:1])
    settled = survey_settled(run)
    assert (settled.num_done, settled.num_failed) == (3, 1)
    assert settled.missing() == list(range(4, load_counts(run).num_items))
    assert settled.missing(retry_failed=True) == [1, *range(4, load_counts(run).num_items)]


def test_a_users_record_and_history_are_read_by_span(tmp_path: Path) -> None:
    run = make_run(tmp_path, "DMSC", {"prompt.ablation_config": "profile_and_history"})
    reader = PlanReader(run)
    for entry in read_index(run):
        user = reader.user(entry.span)
        assert (user.user_hash, user.first_item, user.digests) == (
            entry.user_hash,
            entry.first_item,
            entry.digests,
        )
        assert user.record["user_hash"] == entry.user_hash
        assert reader.history(entry.history_span)
    reader.close()


def test_starts_are_listed_in_the_order_that_decides(tmp_path: Path) -> None:
    run = make_run(tmp_path, "DMSC")
    for _ in range(11):
        write(run, [])
    assert [start.attempt for start in list_engine_starts(run)] == list(range(11))
