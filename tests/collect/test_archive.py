"""The archive's bytes follow from its members; it is written front to back and holds any number of them."""

import hashlib
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from launch.collect.archive import Archive
from launch.collect.digested_file import DigestedFile
from launch.collect.manifest import FileDigest

LONG = b"y" * 3_000 + b"\n" + b"z" * 3_000


def write(path: Path, members: dict[str, bytes]) -> FileDigest:
    with DigestedFile(path) as file, Archive(file) as archive:
        for name, content in members.items():
            archive.add(name, content)
    return file.digest


def test_the_same_members_give_the_same_bytes_everywhere(tmp_path: Path) -> None:
    members = {"users/a.json": b'{"text":"\xe5\xbd\xb1"}\n', "users/b.json": b"{}\n", "users/c.json": b""}
    digest = write(tmp_path / "a.zip", members)
    data = (tmp_path / "a.zip").read_bytes()
    assert (digest.sha256, digest.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    # Of any supported Python, machine and day. A change here changes what is published.
    assert digest.sha256 == "ee24aa0a70e3eab00190062312779f9dbd4a96e6699d09c64868d7f2e4079457"
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == members
        assert {about.compress_type for about in archive.infolist()} == {zipfile.ZIP_STORED}


def test_a_digest_is_of_what_was_written_so_far(tmp_path: Path) -> None:
    with DigestedFile(tmp_path / "a") as file:
        for data in (b"", b"one\n", b"two\n" * 300_000, b"x" * 5_000 + b"\n", b"\n" * 3 + LONG * 400):
            file.write(data)
            written = (tmp_path / "a").read_bytes() if file.digest.bytes else b""
            expected = hashlib.sha256(written).hexdigest(), len(written), written.count(b"\n")
            assert (file.digest.sha256, file.digest.bytes, file.digest.lines) == expected
        assert file.digest.bytes == 1_200_004 + 5_001 + 3 + 400 * len(LONG)


def test_sizes_stand_before_each_member(tmp_path: Path) -> None:
    """So that it can be read from a pipe: no member has its sizes behind it (flag bit 3)."""
    write(tmp_path / "a.zip", {"a": b"one", "b": b"two"})
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert [about.flag_bits & 8 for about in archive.infolist()] == [0, 0]
    data = (tmp_path / "a.zip").read_bytes()
    assert data[18:26] == (3).to_bytes(4, "little") * 2, "of the first member, packed and unpacked"


@pytest.mark.process
def test_more_members_than_a_plain_zip_holds(tmp_path: Path) -> None:
    count = 65_536 + 3
    write(tmp_path / "a.zip", {f"users/{number}.json": str(number).encode() for number in range(count)})
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert len(archive.namelist()) == count
        assert archive.read(f"users/{count - 1}.json") == str(count - 1).encode()


@pytest.mark.process
def test_more_bytes_than_a_plain_zip_holds(tmp_path: Path) -> None:
    """4 GiB of zeros: the member behind them lies where 32 bits do not reach."""
    block, path = bytes(64 << 20), tmp_path / "a.zip"
    with DigestedFile(path) as file, Archive(file) as archive:
        for number in range(65):
            archive.add(f"{number}", block)
        archive.add("last", b"the last one")
    with zipfile.ZipFile(path) as opened:
        assert opened.getinfo("last").header_offset > 1 << 32
        assert opened.read("last") == b"the last one"
        assert opened.read("64") == block
    path.unlink()


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")
def test_unzip_reads_it_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.zip", {"users/a.json": b"{}\n", "users/b.json": b"[]\n"})
    done = subprocess.run(
        ["unzip", "-p", tmp_path / "a.zip", "users/b.json"], capture_output=True, check=True
    )
    assert done.stdout == b"[]\n"
    subprocess.run(["unzip", "-tq", tmp_path / "a.zip"], check=True, capture_output=True)


def test_an_error_leaves_no_whole_archive(tmp_path: Path) -> None:
    def fail() -> None:
        with DigestedFile(tmp_path / "a.zip") as file, Archive(file) as archive:
            archive.add("a", b"x" * 3_000_000)
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert not zipfile.is_zipfile(tmp_path / "a.zip")
