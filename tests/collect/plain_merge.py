"""A merge as plain as it can be: all in memory, the standard library's json, one loop after the other.

It says what launch.collect.merge has to publish, byte for byte. Nothing that was made fast is used.
"""

import copy
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from launch.collect.user_names import UserNames
from launch.rundir.attempts import EngineStart, list_engine_starts
from launch.rundir.identity import settings_digest
from launch.rundir.layout import RunPaths
from launch.rundir.records import RunRecord, load_run
from launch.rundir.results import is_result
from launch.scenarios.records import item_seed


@dataclass(frozen=True)
class Found:
    """A line of an item, and whose it is."""

    failed: bool
    source: int
    offset: int
    crc32: int
    time: float | None
    data: bytes


def publish_plainly(run: RunPaths) -> dict[str, bytes]:
    """The files whose bytes follow from the plan and the results, and provenance.jsonl; by name."""
    record, starts = load_run(run), list_engine_starts(run)
    users = [json.loads(line) for line in run.users.read_bytes().splitlines()]
    items = {
        f"{user['user_hash']}#{collection}.{place}": (user["first_item"] + count, digest)
        for user in users
        for count, ((collection, place), digest) in enumerate(
            zip(user["places"], user["digests"], strict=True)
        )
    }
    found: dict[int, list[Found]] = {}
    for source, start in enumerate(starts):
        for number, line in read_start(run, source, start, items, settings_digest(record)):
            found.setdefault(number, []).append(line)
    chosen = {
        key: choose(record, key, digest, found.get(number, ())) for key, (number, digest) in items.items()
    }
    files = {
        "generations.jsonl": b"".join(
            to_line({"key": key, "missing": True}) if line is None else line.data
            for key, (line, _) in chosen.items()
        ),
        "provenance.jsonl": b"".join(
            to_line(provenance(run, starts, key, *kept) | marks(record)) for key, kept in chosen.items()
        ),
    }
    names, filled_users = UserNames(), []
    for user in users:
        filled, samples = fill(user, {key: row for key, (_, row) in chosen.items()}, marks(record))
        filled_users.append(to_line(filled)[:-1])
        files[f"users/{names.name(user['user_hash'])}"] = to_line({**filled, "generated_samples": samples})
    files["test_leaderboard.json"] = b"[\n" + b",\n".join(filled_users) + b"\n]\n"
    return files


def to_line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def read_start(
    run: RunPaths, source: int, start: EngineStart, items: Mapping[str, tuple[int, str]], settings: str
) -> Iterator[tuple[int, Found]]:
    """The committed lines that lie in the file, and whole lines of this run between and behind them."""
    data = start.paths(run).results.read_bytes()
    covered = bytearray(len(data))
    for commit in start.paths(run).commits.read_bytes().splitlines(keepends=True):
        for number, offset, length, crc32, _, _, failed in json.loads(commit)["items"]:
            if offset + length <= len(data):
                covered[offset : offset + length] = b"\1" * length
                line = data[offset : offset + length]
                yield number, Found(bool(failed), source, offset, crc32, json.loads(commit)["time"], line)
    offset = 0
    for line in data.split(b"\n")[:-1]:
        whole = line + b"\n"
        if not any(covered[offset : offset + len(whole)]):
            row = parse(whole)
            number, digest = items.get(row.get("key", ""), (-1, ""))
            if (
                number >= 0
                and row.get("digest") == digest
                and row.get("settings") == settings
                and is_result(row)
            ):
                yield number, Found("failure" in row, source, offset, zlib.crc32(whole), None, whole)
        offset += len(whole)


def parse(line: bytes) -> dict[str, Any]:
    """The object of a line; empty for what is none."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def choose(
    record: RunRecord, key: str, digest: str, lines: Any
) -> tuple[Found | None, dict[str, Any] | None]:
    """Done before failed, then the lowest start and offset: the first line that stands the checks."""
    for line in sorted(lines, key=lambda each: (each.failed, each.source, each.offset)):
        if zlib.crc32(line.data) != line.crc32:
            continue
        row = parse(line.data)
        expected = {
            "key": key,
            "digest": digest,
            "settings": settings_digest(record),
            "seed": item_seed(record.sampling.seed, key),
        }
        samples = row.get("samples", [])
        is_whole = "failure" in row or (
            len(samples) == record.sampling.samples_per_item
            and all(sample.get("finish_reason") in ("stop", "length") for sample in samples)
        )
        if is_whole and is_result(row) and expected.items() <= row.items():
            return line, row
    return None, None


def fill(
    user: Mapping[str, Any], rows: Mapping[str, dict[str, Any] | None], marked: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The record with continuations, without items that are not of the run; its samples by key."""
    record = copy.deepcopy(user["record"])
    samples = []
    for number, collection in enumerate(record["task"]["task_behavior_collections"]):
        data = []
        for place, item in enumerate(collection.get("data") or ()):
            if [number, place] in user["places"]:
                key = f"{user['user_hash']}#{number}.{place}"
                row = rows[key]
                prefix = item.get("continuation_prefix") or ""
                texts = [sample["text"] for sample in (row or {}).get("samples", ())]
                item["continuations"] = [text.removeprefix(prefix) for text in texts]
                failed = {} if row is None or "failure" not in row else {"failure": row["failure"]}
                more = {"missing": True} if row is None else failed
                data.append({**item, **more})
                samples.append({"key": key, "continuations": item["continuations"], **more})
        collection["data"] = data
    return {**record, **marked}, samples


def marks(record: RunRecord) -> dict[str, Any]:
    """What every record says of itself: the runs of these tests are the stub engine's."""
    return {"stub": True} | ({} if record.subset is None else {"limited": record.subset.model_dump()})


def provenance(
    run: RunPaths, starts: list[EngineStart], key: str, line: Found | None, row: dict[str, Any] | None
) -> dict[str, Any]:
    """Where the line of an item came from."""
    if line is None or row is None:
        return {"key": key, "missing": True}
    start = starts[line.source]
    attempt = run.attempt(start.submission, start.task, start.attempt)
    engine = json.loads(start.paths(run).engine_json.read_bytes())
    return {
        "key": key,
        **asdict(start),
        "time": line.time,
        "host": json.loads(attempt.attempt_json.read_bytes())["host"],
        "engine": {name: engine[name] for name in ("kind", "version", "device")},
        **({"failed": row["failure"]["class"]} if "failure" in row else {}),
    }


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
