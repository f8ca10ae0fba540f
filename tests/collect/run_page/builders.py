"""Items and attempts for run pages, small."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from launch.collect.run_page.items import PublishedItem
from launch.rundir.journal import Journal, json_line, write_json
from launch.rundir.layout import AttemptPaths


def item(
    key: str = "u1#0.0",
    texts: Sequence[str] = ("yes",),
    *,
    time: float | None = 100.0,
    data: Mapping[str, Any] | None = None,
    row: Mapping[str, Any] | None = None,
    prompt_tokens: int = 10,
) -> PublishedItem:
    """A dialogue item whose samples have as many tokens as characters; the last of several is cut."""
    samples = [
        {"text": text, "finish_reason": "length" if place else "stop", "tokens": len(text)}
        for place, text in enumerate(texts)
    ]
    made = {
        "key": key,
        "prompt_tokens": prompt_tokens,
        "cuts": {"history": 2, "context": 0},
        "samples": samples,
    }
    return PublishedItem(
        key=key,
        user=key.rpartition("#")[0],
        name="ADA",
        item_type="dialogue",
        data={"context": [{"source": "BEN", "content": "Well?"}]} if data is None else data,
        row=made if row is None else {"key": key, **row},
        time=time,
    )


def write_attempt(
    paths: AttemptPaths,
    began: float,
    *,
    ended: Mapping[str, Any] | None,
    events: Sequence[Mapping[str, Any]] = (),
    ahead_s: float = 0.0,
) -> None:
    """The small files of an attempt of one slot, beside its results, which are committed after 50 s.

    It loads for 10 s and generates for 50. Times are by the file system's clock, and the attempt's own is
    `ahead_s` ahead. Without `ended` it was killed.
    """
    clock = began + ahead_s
    slot = {"slot": 0, "start": 0, "gpus": [], "opened": clock + 1}
    about = {"host": "n1", "started": clock, "gpus": [], "slots": [slot], "clock_ahead_s": ahead_s}
    write_json(paths.attempt_json, about)
    journal = Journal(paths.events)
    for after, phase in ((1, "loading"), (11, "generating"), (61, "draining"))[: 2 if ended is None else 3]:
        journal.append({"time": clock + after, "event": "phase", "slot": 0, "start": 0, "phase": phase})
    for event in events:
        journal.append({**event, "time": clock + event["time"]})
    if ended is not None:
        journal.append({"time": clock + 62, "event": "engine_end", "slot": 0, "start": 0, "said": "empty"})
        write_json(paths.ended, {"code": 0, "reason": "empty", "ended": clock + 63, **ended})
    journal.close()
    paths.heartbeat.touch()
    os.utime(paths.heartbeat, (began + 55, began + 55))
    commits = paths.engine(0, 0).commits
    lines = [orjson.loads(line) | {"time": clock + 50} for line in commits.read_bytes().splitlines()]
    commits.write_bytes(b"".join(map(json_line, lines)))
