"""A published directory that is damaged, though its manifest was made to agree, is refused by name."""

import errno
import hashlib
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from launch.collect import published as published_module
from launch.collect.manifest import MANIFEST
from launch.collect.published import ResultReader, open_published
from launch.collect.reference_texts import references_of
from launch.collect.run_page.items import read_items
from launch.collect.verify import verify_published
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


def first_failed(path: Path) -> None:
    """The first line becomes a failure of the same item, as long as it was."""
    first, *others = path.read_bytes().splitlines(keepends=True)
    row = orjson.loads(first)
    failed = orjson.dumps({name: row[name] for name in ("key", "digest")} | {"failure": {}})
    path.write_bytes(failed.ljust(len(first) - 1) + b"\n" + b"".join(others))


def stale(*_: object) -> Any:
    """What NFS says of a file that was replaced under who has it open."""
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def replace_by(other: Path | None, directory: Path) -> None:
    """The second rename of a publication: the one of the old directory, and none of the new one for None."""
    directory.rename(directory.with_name("old"))
    if other is not None:
        shutil.copytree(other, directory)


def test_items_are_read_by_key(directory: Path) -> None:
    published = open_published(directory)
    with published.reader() as reader:
        for key in reversed(published.entries):
            assert reader.read(key).key == key
        assert reader.read("u1#0.1").texts == ("text 3.0\n影\u2028", "text 3.1\n影\u2028")


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(path.read_bytes().replace(b'"digest":"', b'"digest":"0', 1)),
        lambda path: path.write_bytes(b"{}\n" + path.read_bytes()),
        lambda path: path.write_bytes(path.read_bytes()[:20]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        first_failed,
    ],
    ids=["another_digest", "shifted", "cut", "empty", "gone", "failed"],
)
def test_what_is_changed_while_it_is_read_is_one_line(
    directory: Path, change: Callable[[Path], object]
) -> None:
    published = open_published(directory)
    change(directory / GENERATIONS)
    first = next(iter(published.entries))
    with (
        pytest.raises(RunError, match=r"generations\.jsonl: was changed while it was read"),
        published.reader() as reader,
    ):
        reader.read(first)


@pytest.mark.parametrize("of", ["seek", "read"])
def test_a_file_that_nfs_takes_away_is_one_line(directory: Path, of: str) -> None:
    published = open_published(directory)
    path = directory / GENERATIONS
    handle = type("Stale", (io.BytesIO,), {of: stale})(path.read_bytes())
    with pytest.raises(RunError, match=r"generations\.jsonl: was changed while it was read"):
        ResultReader(path, handle, published.entries).read("u0#0.0")


@pytest.mark.parametrize("by", [None, "another"])
def test_a_directory_that_is_replaced_once_it_is_proved_is_one_line(
    directory: Path, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, by: str | None
) -> None:
    other = None if by is None else publish(tmp_path, checkpoint, failed=[0], name=by)

    def proved_then_replaced(path: Path) -> object:
        report = verify_published(path)
        replace_by(other, path)
        return report

    monkeypatch.setattr(published_module, "verify_published", proved_then_replaced)
    with pytest.raises(RunError, match=rf"{directory.name}: was changed while it was read"):
        open_published(directory)


@pytest.mark.parametrize("read", [references_of, lambda published: list(read_items(published.path))])
def test_items_that_nfs_takes_away_are_one_line(
    directory: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Any], object]
) -> None:
    published = open_published(directory)
    monkeypatch.setattr("launch.scenarios.json_stream._Reader.elements", stale)
    with pytest.raises(RunError, match="was changed while it was read"):
        read(published)


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
