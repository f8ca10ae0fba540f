"""The reader claims what its engine can work on, and leaves the rest to others."""

import os
import threading
import time
from pathlib import Path

import pytest

from launch.rundir.chunks import read_chunks
from launch.rundir.claims import EMPTY_CLAIM_S, ClaimBook, Held, Owner, survey_claims
from launch.rundir.identity import settings_digest
from launch.rundir.layout import RunPaths
from launch.rundir.plan import HistoryEntries, PlannedUser
from launch.rundir.records import load_run
from launch.scenarios.records import Cuts, Generation, Item, Request
from launch.worker.reader import FIRST_READ_AHEAD, Reader
from launch.worker.writer import ResultWriter
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
    deadline = time.monotonic() + 20
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


def test_before_the_engine_is_up_few_chunks_are_claimed(run: RunPaths) -> None:
    reader = open_reader(run)
    wait_until_ready(reader, FIRST_READ_AHEAD)
    time.sleep(0.2)
    chunks, claimed = read_chunks(run.submission(1)), survey_claims(run.submission(1)).highest
    assert sum(len(chunks[number].items) for number in sorted(claimed)[:-1]) < FIRST_READ_AHEAD
    assert reader.num_ready == sum(len(chunks[number].items) for number in claimed), "their requests are made"
    assert len(claimed) < len(chunks) / 2
    reader.stop()


def test_a_further_chunk_is_claimed_when_reader_and_engine_hold_little(run: RunPaths) -> None:
    reader = open_reader(run)
    reader.read_ahead(16)  # of which an engine runs 8: less than 10 is little
    in_engine = 0
    while reader.take(wait=in_engine < 10, num_in_engine=in_engine) is not None:
        in_engine += 1
        time.sleep(0.02)  # a chunk that is just being read is read
    claimed = read_chunks(run.submission(1))[: len(survey_claims(run.submission(1)).highest)]
    assert in_engine >= 10
    assert in_engine == sum(len(chunk.items) for chunk in claimed), "nothing is ready beside"
    assert sum(len(chunk.items) for chunk in claimed[:-1]) < 10, "the last one was not needed"
    reader.close()


def test_a_stopped_reader_claims_nothing_more(run: RunPaths) -> None:
    reader = open_reader(run)
    wait_until_ready(reader, FIRST_READ_AHEAD)
    reader.stop()
    while reader.take(wait=True) is not None:
        pass
    claimed = len(survey_claims(run.submission(1)).highest)
    assert claimed < len(read_chunks(run.submission(1)))


class SlowBook(ClaimBook):
    """Takes its time to make a claim."""

    num_begun = num_made = 0

    def claim_next(self) -> Held | None:
        self.num_begun += 1
        time.sleep(0.3)
        held = super().claim_next()
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

    def claim_next(self) -> Held | None:
        self.num_looks += 1
        return None if self.num_looks == 1 else super().claim_next()


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


def test_a_reader_that_waits_for_a_claim_can_be_stopped(run: RunPaths) -> None:
    for chunk in read_chunks(run.submission(1)):
        run.submission(1).claim(chunk.number, 1).touch()
    reader = open_reader(run)
    started = time.monotonic()
    reader.close()
    assert reader.take(wait=True) is None
    assert time.monotonic() - started < 2
