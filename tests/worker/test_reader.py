"""The reader claims what its engine can work on, and leaves the rest to others."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import orjson
import pytest

from launch.rundir.attempts import EngineStart
from launch.rundir.chunks import ChunkLine, read_chunks
from launch.rundir.claim_files import EMPTY_CLAIM_S, Owner, survey_claims
from launch.rundir.claims import ClaimBook, Held
from launch.rundir.identity import settings_digest
from launch.rundir.layout import RunPaths
from launch.rundir.plan import HistoryEntries, PlannedUser, check_planned
from launch.rundir.records import load_run
from launch.scenarios.records import Cuts, Failure, Generation, Item, Request
from launch.worker.reader import Reader, claim_below
from launch.worker.writer import ResultWriter
from tests.collect.builders import make_generations, write_results
from tests.runs import make_run

OWNER = Owner(task=0, attempt=0, slot=0, start=0, job=None, host="here", pid=1)


def make_request(planned: PlannedUser, item: Item, history: HistoryEntries) -> Request | Generation:
    return Request(item.number, item.key, item.digest, (1, 2), 7, Cuts())


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    return make_run(tmp_path, "Chameleons")


def open_reader(run: RunPaths, maker: object = make_request, book: ClaimBook | None = None) -> Reader:
    paths = run.submission(1)
    run.attempt(1, 0, 0).root.mkdir(parents=True)
    book = book or ClaimBook(paths, read_chunks(paths), OWNER, lambda _: True)
    record = load_run(run)
    writer = ResultWriter(run.attempt(1, 0, 0).engine(0, 0), settings_digest(record), book.mark_done)
    return Reader(run, record, 1, book, writer, lambda: maker)  # type: ignore[arg-type, return-value]


def wait_until_ready(reader: Reader, count: int) -> None:
    deadline = time.monotonic() + 60
    while reader.num_ready < count:
        assert time.monotonic() < deadline, reader.num_ready
        time.sleep(0.01)


def test_every_item_is_given_out_once(run: RunPaths) -> None:
    reader = open_reader(run)
    reader.read_ahead(1000)
    taken = []
    while (request := reader.take(wait=True)) is not None:
        taken.append(request.number)
    assert sorted(taken) == list(range(92))


def test_before_the_engine_is_up_one_chunk_is_claimed(run: RunPaths) -> None:
    reader = open_reader(run)
    wait_until_ready(reader, 1)
    time.sleep(0.2)
    chunks, claimed = read_chunks(run.submission(1)), survey_claims(run.submission(1)).highest
    assert list(claimed) == [chunks[0].number]
    assert reader.num_ready == len(chunks[0].items), "its requests are made"
    reader.stop()


def test_a_request_that_is_taken_before_the_engine_is_up_counts(run: RunPaths) -> None:
    """The engine process waits for one before it loads: of a chunk of one item nothing is left to hold."""
    chunk = read_chunks(run.submission(1))[0]
    one = replace(chunk.users[0], items=chunk.users[0].items[:1])
    chunks = [replace(chunk, number=number, users=(one,)) for number in range(3)]
    reader = open_reader(run, book=ClaimBook(run.submission(1), chunks, OWNER, lambda _: True))
    assert reader.take(wait=True) is not None
    time.sleep(0.2)
    assert list(survey_claims(run.submission(1)).highest) == [0]
    reader.stop()


def test_an_engine_that_starts_first_leaves_a_short_shard_to_the_other(run: RunPaths) -> None:
    """Each runs one sample at a time, and the second comes up when the first has had its first item."""
    first = open_reader(run)
    first.read_ahead(2)
    assert first.take(wait=True) is not None
    time.sleep(0.2)
    chunks, claimed = read_chunks(run.submission(1)), survey_claims(run.submission(1)).highest
    assert list(claimed) == [chunks[0].number]
    first.stop()


class CountedMaker:
    """Makes requests, of some items none, and counts how often it was asked for each."""

    def __init__(self, failing: int | None = None) -> None:
        self.asked: Counter[int] = Counter()
        self._failing = failing

    def __call__(self, planned: PlannedUser, item: Item, history: HistoryEntries) -> Request | Generation:
        self.asked[item.number] += 1
        if item.number == self._failing:
            return Generation(
                item.number, item.key, item.digest, 7, 2, Cuts(), (), failure=Failure("too_long", "a test")
            )
        return make_request(planned, item, history)


def wait_for_all(made: CountedMaker, numbers: set[int]) -> None:
    deadline = time.monotonic() + 60
    while set(made.asked) != numbers:
        assert time.monotonic() < deadline, made.asked
        time.sleep(0.01)


def test_while_the_engine_starts_requests_are_made_of_what_nobody_claimed(run: RunPaths) -> None:
    made = CountedMaker()
    reader = open_reader(run, made)
    wait_for_all(made, set(range(92)))
    claimed = survey_claims(run.submission(1)).highest
    assert len(claimed) < len(read_chunks(run.submission(1))) / 2, "and they are anybody's still"
    reader.read_ahead(1000)
    taken = []
    while (request := reader.take(wait=True)) is not None:
        taken.append(request)
    order = [number for chunk in read_chunks(run.submission(1)) for number in chunk.items]
    assert [request.number for request in taken] == order
    assert set(made.asked.values()) == {1}


def test_no_more_are_made_early_than_a_full_batch(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.worker.reader.READY_AT_START", 40)
    made = CountedMaker()
    reader = open_reader(run, made)
    time.sleep(0.5)
    assert made.asked.total() == 40
    reader.stop()


def test_what_others_claim_meanwhile_is_theirs(run: RunPaths) -> None:
    made = CountedMaker(failing=read_chunks(run.submission(1))[-1].items[-1])
    reader = open_reader(run, made)
    wait_for_all(made, set(range(92)))
    paths = run.submission(1)
    other = ClaimBook(paths, read_chunks(paths), replace(OWNER, task=1), lambda _: True)
    theirs: list[int] = []
    while (held := other.claim_next()) is not None:
        theirs += held.chunk.items
    reader.read_ahead(1000)
    mine = []
    while (request := reader.take(wait=True)) is not None:
        mine.append(request.number)
    assert mine and sorted(mine + theirs) == list(range(92))
    assert reader._writer.num_failed == 0, "the failure of an item is its owner's to tell"


def test_a_failure_that_was_found_early_is_told_once(run: RunPaths) -> None:
    failing = read_chunks(run.submission(1))[-1].items[-1]
    made = CountedMaker(failing)
    reader = open_reader(run, made)
    wait_for_all(made, set(range(92)))
    assert reader._writer.num_failed == 0
    reader.read_ahead(1000)
    taken = []
    while (request := reader.take(wait=True)) is not None:
        taken.append(request.number)
    reader._writer.close()
    assert reader._writer.num_failed == 1 and failing not in taken and len(taken) == 91


def test_a_task_claims_as_much_as_runs_again_and_less_the_less_is_left() -> None:
    def of_own(num_left: int) -> int:
        return claim_below(80, num_left, is_helping=False)

    assert [of_own(num_left) for num_left in (1000, 640, 320, 40, 0)] == [80, 80, 60, 50, 50]
    assert claim_below(80, 0, is_helping=True) == 40, "what runs"
    assert claim_below(81, 0, is_helping=True) == 41


def test_a_further_chunk_is_claimed_when_reader_and_engine_hold_little(run: RunPaths) -> None:
    reader = open_reader(run)
    reader.read_ahead(16)  # of which an engine runs 8: of the 80 that are left 5 are claimed beside
    in_engine = 0
    while reader.take(wait=in_engine < 13, num_in_engine=in_engine) is not None:
        in_engine += 1
        time.sleep(0.02)  # a chunk that is just being read is read
    claimed = read_chunks(run.submission(1))[: len(survey_claims(run.submission(1)).highest)]
    assert in_engine >= 12
    assert in_engine == sum(len(chunk.items) for chunk in claimed), "nothing is ready beside"
    assert sum(len(chunk.items) for chunk in claimed[:-1]) < 13, "the last one was not needed"
    reader.close()


def test_others_are_helped_only_when_the_engine_would_run_less_than_it_can(tmp_path: Path) -> None:
    run = make_run(tmp_path, "Chameleons", num_tasks=2)
    chunks = read_chunks(run.submission(1))
    num_own = sum(len(chunk.items) for chunk in chunks if chunk.shard == OWNER.task)
    reader = open_reader(run)
    reader.read_ahead(16)  # of which an engine runs 8
    taken, in_engine = 0, 8
    deadline = time.monotonic() + 60
    while taken < num_own:  # an engine that runs all it can, and of which one ends whenever one is taken
        taken += reader.take(wait=False, num_in_engine=in_engine) is not None
        assert time.monotonic() < deadline, taken
    time.sleep(0.3)
    claimed = survey_claims(run.submission(1)).highest
    assert claimed.keys() == {chunk.number for chunk in chunks if chunk.shard == OWNER.task}
    assert reader.take(wait=False, num_in_engine=in_engine) is None

    assert reader.take(wait=False, num_in_engine=7) is None
    wait_until_ready(reader, 1)
    [of_other] = survey_claims(run.submission(1)).highest.keys() - claimed.keys()
    assert chunks[of_other].shard != OWNER.task
    reader.close()


def test_a_stopped_reader_claims_nothing_more(run: RunPaths) -> None:
    reader = open_reader(run)
    wait_until_ready(reader, 1)
    reader.stop()
    while reader.take(wait=True) is not None:
        pass
    claimed = len(survey_claims(run.submission(1)).highest)
    assert claimed < len(read_chunks(run.submission(1)))


class SlowBook(ClaimBook):
    """Takes its time to make a claim."""

    num_begun = num_made = 0

    def claim_next(self, *, helping: bool = True) -> Held | None:
        self.num_begun += 1
        time.sleep(0.3)
        held = super().claim_next(helping=helping)
        self.num_made += 1
        return held


def test_a_closed_reader_is_in_no_claim(run: RunPaths) -> None:
    paths = run.submission(1)
    book = SlowBook(paths, read_chunks(paths), OWNER, lambda _: True)
    reader = open_reader(run, book=book)
    while not book.num_begun:
        time.sleep(0.01)
    reader.close()
    assert book.num_begun == book.num_made == 1
    time.sleep(0.4)
    assert book.num_begun == 1


def test_what_stops_the_reader_reaches_the_one_who_takes(run: RunPaths) -> None:
    def refuse(planned: PlannedUser, item: Item, history: HistoryEntries) -> Request:
        raise RuntimeError("no tokenizer today")

    reader = open_reader(run, refuse)
    with pytest.raises(RuntimeError, match="no tokenizer today"):
        reader.take(wait=True)


def test_a_task_that_waits_is_woken_by_the_end(run: RunPaths) -> None:
    reader = open_reader(run)
    reader.read_ahead(1000)
    taken: list[Request] = []

    def take_all() -> None:
        while (request := reader.take(wait=True)) is not None:
            taken.append(request)

    thread = threading.Thread(target=take_all)
    thread.start()
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert len(taken) == 92


class LateBook(ClaimBook):
    """Others hold everything when one looks for the first time."""

    num_looks = 0
    """At the chunks of others; its own shard it looks through before."""

    def claim_next(self, *, helping: bool = True) -> Held | None:
        self.num_looks += helping
        return None if self.num_looks < 2 else super().claim_next(helping=helping)


def open_late(run: RunPaths) -> tuple[Reader, LateBook]:
    """A reader that has looked once, in vain."""
    paths = run.submission(1)
    book = LateBook(paths, read_chunks(paths), OWNER, lambda _: True)
    reader = open_reader(run, book=book)
    reader.read_ahead(1000)
    time.sleep(0.5)
    assert (book.num_looks, reader.num_ready) == (1, 0)
    return reader, book


@pytest.mark.parametrize(("pause_s", "num_items"), [(0.2, 92), (30.0, 0)])
def test_a_task_that_has_finished_looks_once_more_for_what_the_dead_have_left(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch, pause_s: float, num_items: int
) -> None:
    monkeypatch.setattr("launch.worker.reader.LAST_LOOK_S", pause_s)
    reader, _ = open_late(run)
    taken = []
    while (request := reader.take(wait=True)) is not None:
        taken.append(request.number)
    assert len(taken) == num_items


@pytest.mark.process
def test_an_engine_with_room_has_the_reader_look_again(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.worker.reader.LOOK_AGAIN_S", 0.2)
    reader, book = open_late(run)
    time.sleep(1.5)
    assert book.num_looks == 1, "the engine is full"
    assert reader.take(wait=False) is None
    wait_until_ready(reader, 92)
    reader.close()


@pytest.mark.process
def test_a_claim_whose_writer_was_killed_is_waited_for(run: RunPaths) -> None:
    """The first claim on a chunk is empty: its writer was killed between making and writing it."""
    chunk = read_chunks(run.submission(1))[0]
    claim = run.submission(1).claim(chunk.number, 1)
    claim.touch()
    almost = time.time() - EMPTY_CLAIM_S + 2
    os.utime(claim, (almost, almost))
    reader = open_reader(run)
    reader.read_ahead(1000)
    taken = []
    while (request := reader.take(wait=True)) is not None:
        taken.append(request.number)
    assert sorted(taken) == list(range(92))
    assert set(taken[-len(chunk.items) :]) == set(chunk.items)


def leave_to_the_dead(run: RunPaths, chunks: Iterable[ChunkLine]) -> EngineStart:
    """Chunks that a task held which died with two items of the first written, and not committed."""
    holder = replace(OWNER, task=7)
    chunks = list(chunks)
    made = [item for item in make_generations(run) if item.number in chunks[0].items[:2]]
    start = write_results(run, made, task=holder.task)
    start.paths(run).commits.write_bytes(b"")
    for chunk in chunks:
        run.submission(1).claim(chunk.number, 1).write_bytes(orjson.dumps(asdict(holder)))
    return start


def open_alone(run: RunPaths) -> Reader:
    """A reader that holds every other task for dead, and an engine of any size."""
    paths = run.submission(1)
    reader = open_reader(run, book=ClaimBook(paths, read_chunks(paths), OWNER, lambda _: False))
    reader.read_ahead(1000)
    return reader


def take_all(reader: Reader) -> list[int]:
    taken = []
    while (request := reader.take(wait=True)) is not None:
        taken.append(request.number)
    return sorted(taken)


def test_what_the_dead_settled_is_read_once_for_all_their_chunks(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines without a commit are looked up by key, in an index of the whole run."""
    chunks = read_chunks(run.submission(1))
    leave_to_the_dead(run, chunks)
    read: list[Path] = []

    def check(path: Path, sha256: str) -> None:
        read.append(path)
        check_planned(path, sha256)

    monkeypatch.setattr("launch.rundir.plan.check_planned", check)
    settled = set(chunks[0].items[:2])
    assert len(chunks) > 2 and take_all(open_alone(run)) == sorted(set(range(92)) - settled)
    assert read == [run.index]


def test_what_the_dead_settled_and_cannot_be_read_is_generated_again(run: RunPaths) -> None:
    commits = leave_to_the_dead(run, read_chunks(run.submission(1))).paths(run).commits
    commits.unlink()
    commits.symlink_to(commits.name)  # stands for a server that answers EIO or ESTALE
    reader = open_alone(run)
    assert take_all(reader) == list(range(92))
    (said,) = reader.trouble
    assert said.startswith("generated again: ") and str(commits) in said


@pytest.mark.process
def test_a_claim_that_cannot_be_read_is_waited_for(run: RunPaths) -> None:
    claim = run.submission(1).claim(0, 1)
    claim.symlink_to(claim.name)
    reader = open_alone(run)
    first = [reader.take(wait=True) for _ in range(5)]
    assert None not in first, "other chunks are worked on meanwhile"
    time.sleep(1.5)
    claim.unlink()
    assert len(take_all(reader)) == 92 - len(first) and not reader.trouble


def test_a_claim_that_stays_unreadable_keeps_no_task_alive(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.rundir.claims.UNREADABLE_CLAIM_S", 0)
    claim = run.submission(1).claim(0, 1)
    claim.symlink_to(claim.name)
    reader = open_alone(run)
    assert take_all(reader) == sorted(set(range(92)) - set(read_chunks(run.submission(1))[0].items))
    (said,) = reader.trouble
    assert said.startswith("left out, ") and str(claim) in said


def test_a_reader_that_waits_for_a_claim_can_be_stopped(run: RunPaths) -> None:
    for chunk in read_chunks(run.submission(1)):
        run.submission(1).claim(chunk.number, 1).touch()
    reader = open_reader(run)
    started = time.monotonic()
    reader.close()
    assert reader.take(wait=True) is None
    assert time.monotonic() - started < 2


def test_a_claim_on_its_own_shard_that_nobody_wrote_keeps_no_task_from_helping(tmp_path: Path) -> None:
    run = make_run(tmp_path, "Chameleons", num_tasks=2)
    chunks = read_chunks(run.submission(1))
    for chunk in chunks:
        if chunk.shard == OWNER.task:
            run.submission(1).claim(chunk.number, 1).touch()
    reader = open_reader(run)
    first = reader.take(wait=True)
    assert first is not None
    assert first.number in {item for chunk in chunks if chunk.shard != OWNER.task for item in chunk.items}
    reader.close()
