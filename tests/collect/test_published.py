"""A published directory that is damaged, though its manifest was made to agree, is refused by name."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from launch.collect.manifest import MANIFEST
from launch.collect.published import open_published
from launch.errors import RunError
from tests.collect.builders import read_value
from tests.collect.comparing import publish

GENERATIONS = "generations.jsonl"
SUMMARY = "inference_summary.json"


@pytest.fixture
def directory(tmp_path: Path, checkpoint: Path) -> Path:
    return publish(tmp_path, checkpoint)


def forge(directory: Path, name: str, data: bytes | None) -> None:
    """Changes a file, or removes it, and the manifest with it."""
    manifest: dict[str, Any] = read_value(directory / MANIFEST)
    if data is None:
        (directory / name).unlink()
        del manifest["files"][name]
    else:
        (directory / name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        manifest["files"][name] = {"sha256": digest, "bytes": len(data), "lines": data.count(b"\n")}
    (directory / MANIFEST).write_bytes(orjson.dumps(manifest))


def test_items_are_read_by_key(directory: Path) -> None:
    published = open_published(directory)
    with published.reader() as reader:
        for key in reversed(published.entries):
            assert reader.read(key).key == key
        assert reader.read("u1#0.1").texts == ("text 3.0\n影\u2028", "text 3.1\n影\u2028")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (GENERATIONS, lambda data: data + b"{}\n", "generations.jsonl:49: no result line"),
        (GENERATIONS, lambda data: data + b'{"key": "\xff"}\n', "generations.jsonl:49: no result line"),
        (GENERATIONS, lambda data: data + b"[]\n", "generations.jsonl:49: no result line"),
        (GENERATIONS, lambda data: data * 2, "generations.jsonl:49: a second line for 'u0#0.0'"),
        (GENERATIONS, lambda data: None, "generations.jsonl: is not in manifest.json"),
        (SUMMARY, lambda data: None, "inference_summary.json: is not in manifest.json"),
        (SUMMARY, lambda data: b"{", "inference_summary.json: no model in it"),
        (SUMMARY, lambda data: b'{"model": {}}', "inference_summary.json: no prompt in it"),
    ],
)
def test_what_is_no_result_is_refused(
    directory: Path, name: str, change: Callable[[bytes], bytes | None], said: str
) -> None:
    forge(directory, name, change((directory / name).read_bytes()))
    with pytest.raises(RunError) as raised:
        open_published(directory)
    assert said in str(raised.value) and "vllm-launch merge RUN" in str(raised.value)


def test_a_change_after_publishing_is_refused(directory: Path) -> None:
    for name in (GENERATIONS, SUMMARY):
        with (directory / name).open("ab") as handle:
            handle.write(b" ")
    with pytest.raises(
        RunError, match=r"generations\.jsonl: has .* bytes, .* \(and 1 more\); it was changed"
    ):
        open_published(directory)
