"""Every chunk has one living holder at a time, and none is lost when a holder dies."""

import os
import threading
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import orjson
import pytest

from launch.rundir import claims
from launch.rundir.chunks import ChunkLine, ChunkUser
from launch.rundir.claim_files import Owner, survey_claims
from launch.rundir.claims import ClaimBook
from launch.rundir.layout import RunPaths, SubmissionPaths
from launch.slurm.liveness import Life, Lives


def owner(task: int, attempt: int = 0) -> Owner:
    return Owner(task=task, attempt=attempt, slot=0, start=0, job="7", host="here", pid=1)


def chunks(shards: int, per_shard: int) -> list[ChunkLine]:
    return [
        ChunkLine(
            number, number // per_shard, 10.0 - number % per_shard, (ChunkUser((0, 1), None, (number,)),)
        )
        for number in range(shards * per_shard)
    ]


@pytest.fixture
def paths(tmp_path: Path) -> SubmissionPaths:
    found = SubmissionPaths(tmp_path / "1")
    found.claims.mkdir(parents=True)
    return found


def numbers(book: ClaimBook) -> list[int]:
    taken = []
    while (held := book.claim_next()) is not None:
        taken.append(held.chunk.number)
    return taken


def test_owner_and_helpers_take_from_the_front_so_that_small_chunks_are_left_for_the_end(
    paths: SubmissionPaths,
) -> None:
    book = ClaimBook(paths, chunks(2, 3), owner(0), lambda _: True)
    assert numbers(book) == [0, 1, 2, 3, 4, 5]


def test_a_helper_goes_where_most_work_is_left(paths: SubmissionPaths) -> None:
    plan = chunks(3, 3)
    first = ClaimBook(paths, plan, owner(1), lambda _: True)
    first.claim_next()
    helper = ClaimBook(paths, plan, owner(0), lambda _: True)
    assert numbers(helper)[3:] == [6, 4, 7, 5, 8]


def test_a_start_after_a_crash_takes_first_what_it_crashed_over(paths: SubmissionPaths) -> None:
    """Chunk 4 is of a shard without other work left; what others hold is no reason."""
    plan = chunks(3, 3)
    for number, holder in ((3, owner(1)), (5, owner(1)), (4, owner(0))):
        ClaimBook(paths, [plan[number]], holder, lambda _: True).claim_next()
    again = ClaimBook(paths, plan, replace(owner(0), start=1), lambda holder: holder.task != 0)
    assert numbers(again) == [0, 1, 2, 4, 6, 7, 8]


def test_who_does_not_help_takes_of_the_own_shard_alone(paths: SubmissionPaths) -> None:
    plan = chunks(3, 3)
    book = ClaimBook(paths, plan, owner(1), lambda _: True)
    own = []
    while (held := book.claim_next(helping=False)) is not None:
        own.append(held.chunk.number)
    assert own == [chunk.number for chunk in plan if chunk.shard == 1]
    rest = book.claim_next()
    assert rest is not None and rest.chunk.shard != 1


def test_what_the_living_hold_is_left_alone(paths: SubmissionPaths) -> None:
    plan = chunks(1, 4)
    first = ClaimBook(paths, plan, owner(0), lambda _: True)
    first.claim_next()
    first.claim_next()
    assert numbers(ClaimBook(paths, plan, owner(1), lambda _: True)) == [2, 3]


def test_a_dead_holders_claim_is_broken_by_the_next_number_and_named(paths: SubmissionPaths) -> None:
    plan = chunks(1, 1)
    ClaimBook(paths, plan, owner(0), lambda _: True).claim_next()
    held = ClaimBook(paths, plan, owner(0, attempt=1), lambda holder: holder.attempt != 0).claim_next()
    assert held is not None
    assert held.earlier == (owner(0),)
    assert sorted(os.listdir(paths.claims)) == ["0.1", "0.2"]


def test_a_done_chunk_is_never_taken(paths: SubmissionPaths) -> None:
    book = ClaimBook(paths, chunks(1, 2), owner(0), lambda _: False)
    book.mark_done(0)
    assert numbers(book) == [1]
    assert survey_claims(paths).done == {0}


def test_an_empty_claim_is_somebodys_for_a_minute_and_then_nobodys(paths: SubmissionPaths) -> None:
    plan = chunks(1, 1)
    paths.claim(0, 1).touch()
    assert ClaimBook(paths, plan, owner(0), lambda _: True).claim_next() is None
    old = paths.claim(0, 1).stat().st_mtime - 90
    os.utime(paths.claim(0, 1), (old, old))
    held = ClaimBook(paths, plan, owner(0), lambda _: True).claim_next()
    assert held is not None
    assert held.earlier == ()


def make_unreadable(path: Path) -> None:
    """A link to itself stands for a server that answers EIO or ESTALE."""
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


def test_a_claim_that_cannot_be_read_is_neither_taken_over_nor_the_end(
    paths: SubmissionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_unreadable(paths.claim(0, 1))
    book = ClaimBook(paths, chunks(1, 3), owner(0), lambda _: False)
    assert numbers(book) == [1, 2]
    assert book.has_unjudged and list(book.unreadable) == [0]
    with monkeypatch.context() as later:
        later.setattr(claims, "UNREADABLE_CLAIM_S", 0)
        assert numbers(book) == [] and not book.has_unjudged, "nobody waits for it for ever"
        assert list(book.unreadable) == [0]
    paths.claim(0, 1).unlink()
    paths.claim(0, 1).write_bytes(orjson.dumps(asdict(owner(5))))
    held = book.claim_next()
    assert held is not None and held.earlier == (owner(5),)
    assert not book.has_unjudged and not book.unreadable


def test_a_claim_of_the_living_is_read_once(paths: SubmissionPaths) -> None:
    """At the end of a run every task looks at all that is held, again and again."""
    plan, alive = chunks(1, 3), {1}
    numbers(ClaimBook(paths, plan, owner(1), lambda _: True))
    book = ClaimBook(paths, plan, owner(0), lambda holder: holder.task in alive)
    assert numbers(book) == []
    for number in range(3):
        make_unreadable(paths.claim(number, 1))
    assert numbers(book) == [] and not book.has_unjudged
    alive.clear()
    assert numbers(book) == [] and book.has_unjudged, "a death is held against the file"


def test_a_chunk_claimed_anew_after_its_claim_was_deleted_is_its_new_holders(paths: SubmissionPaths) -> None:
    plan, alive = chunks(1, 1), {1, 2}
    ClaimBook(paths, plan, owner(1), lambda _: True).claim_next()
    book = ClaimBook(paths, plan, owner(0), lambda holder: holder.task in alive)
    assert book.claim_next() is None
    paths.claim(0, 1).unlink()
    ClaimBook(paths, plan, owner(2), lambda _: True).claim_next()
    alive.remove(1)
    assert book.claim_next() is None
    alive.remove(2)
    held = book.claim_next()
    assert held is not None and held.earlier == (owner(2),)


def test_a_claim_that_is_listed_and_never_to_be_seen_is_waited_for_a_minute(
    paths: SubmissionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.claim(0, 1).symlink_to("nowhere")
    book = ClaimBook(paths, chunks(1, 1), owner(0), lambda _: False)
    assert book.claim_next() is None and book.has_unjudged
    monkeypatch.setattr(claims, "UNREADABLE_CLAIM_S", 0)
    assert book.claim_next() is None and not book.has_unjudged


@pytest.mark.parametrize("name", ["attempt.json", "heartbeat"])
def test_a_holder_whose_signs_cannot_be_read_keeps_its_chunk(tmp_path: Path, name: str) -> None:
    run = RunPaths(tmp_path)
    run.submission(1).claims.mkdir(parents=True)
    plan = chunks(2, 1)
    ClaimBook(run.submission(1), plan, owner(1), lambda _: True).claim_next()
    root = run.attempt(1, 1, 0).root
    root.mkdir(parents=True)
    make_unreadable(root / name)
    lives = Lives(run, 1, on_slurm=False)

    def is_alive(holder: Owner) -> bool:
        return lives.of(holder.task, holder.attempt) is not Life.DEAD

    book = ClaimBook(run.submission(1), plan, owner(0), is_alive)
    assert numbers(book) == [0]
    assert book.has_unjudged and list(book.unreadable) == [1]
    (root / name).unlink()
    run.attempt(1, 1, 0).ended.touch()
    assert numbers(book) == [1]


def test_an_earlier_claim_that_cannot_be_read_costs_only_what_its_owner_settled(
    paths: SubmissionPaths,
) -> None:
    make_unreadable(paths.claim(0, 1))
    paths.claim(0, 2).write_bytes(orjson.dumps(asdict(owner(5))))
    held = ClaimBook(paths, chunks(1, 1), owner(0), lambda _: False).claim_next()
    assert held is not None and held.earlier == (owner(5),)


def test_a_chunk_of_an_unreadable_claim_that_was_done_is_left_out_no_more(paths: SubmissionPaths) -> None:
    make_unreadable(paths.claim(0, 1))
    book = ClaimBook(paths, chunks(1, 2), owner(0), lambda _: False)
    book.claim_next()
    paths.done(0).touch()
    assert book.claim_next() is None and not book.has_unjudged and not book.unreadable


def test_racing_tasks_take_every_chunk_once(paths: SubmissionPaths) -> None:
    plan = chunks(8, 16)
    taken: list[list[int]] = [[] for _ in range(8)]

    def run(task: int) -> None:
        taken[task] = numbers(ClaimBook(paths, plan, owner(task), lambda _: True))

    threads = [threading.Thread(target=run, args=(task,)) for task in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(number for part in taken for number in part) == Counter(range(128))
