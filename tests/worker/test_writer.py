"""The writer's promise, by the clock: what was put is durable and committed within two seconds."""

import os
import time
from pathlib import Path

import orjson
import pytest

from launch.rundir.layout import AttemptPaths
from launch.scenarios.records import Cuts, Generation, Sample
from launch.worker.writer import ResultWriter

PROMISED_S = 2.0
NUM_ITEMS = 40
PAUSES_S = (0.02, 0.11, 0.3)


def generation(number: int) -> Generation:
    return Generation(
        number=number,
        key=f"user#dialogue.{number}",
        digest="0",
        seed=number,
        num_prompt_tokens=3,
        cuts=Cuts(),
        samples=(Sample("text", "stop", 3),),
        failure=None,
    )


@pytest.mark.process
def test_items_that_trickle_in_are_durable_within_two_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For six seconds at the pace of a busy engine and of a slow one; then one comes alone."""
    paths = AttemptPaths(tmp_path).engine(0, 0)
    durable: dict[int, float] = {}
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        lines = paths.commits.read_bytes().splitlines()
        fsync(descriptor)
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(paths.commits):
            for row in (row for line in lines for row in orjson.loads(line)["items"]):
                durable.setdefault(row[0], time.monotonic())

    monkeypatch.setattr(os, "fsync", noted)
    put: dict[int, float] = {}
    writer = ResultWriter(paths, "settings", lambda chunk: None)
    writer.open_chunk(0, range(NUM_ITEMS + 1))

    def put_now(number: int) -> None:
        put[number] = time.monotonic()
        writer.put(generation(number))

    for number in range(NUM_ITEMS):
        put_now(number)
        time.sleep(PAUSES_S[number % len(PAUSES_S)])
    until = time.monotonic() + PROMISED_S
    while len(durable) < NUM_ITEMS and time.monotonic() < until:
        time.sleep(0.01)
    put_now(NUM_ITEMS)
    time.sleep(PROMISED_S)
    assert durable.keys() == put.keys(), "all of them, although nobody closed the writer"
    writer.close()
    waited = {number: durable[number] - put[number] for number in put}
    assert max(waited.values()) < PROMISED_S, waited
    assert writer.num_done == NUM_ITEMS + 1
