"""Staged copies: whole or not there, never taken from a living task, the least recently used first."""

import errno
import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from launch.worker.startup import staging
from launch.worker.startup.node_lock import NodeLock
from launch.worker.startup.staging import Content, StagingArea, StagingError
from tests.worker.distorted.full_disk import FullDisk
from tests.worker.startup.trees import contents, start

MIB = 2**20
SHIPPED_RESERVE_BYTES = staging.RESERVE_BYTES

PLACE = """
import sys, time
from pathlib import Path
from launch.worker.startup.staging import StagingArea
from tests.worker.startup.test_staging import content
area = StagingArea(Path(sys.argv[1]), int(sys.argv[2]) or None)
print("begins", flush=True)
path, made = area.place(content(sys.argv[3], num_files=40), 30)
print(made, flush=True)
time.sleep(float(sys.argv[4]))
"""


def content(name: str, num_bytes: int = MIB, num_files: int = 1) -> Content:
    """Files of so many bytes in all, which take a moment each when there are many."""
    wanted = {f"{number}.bin": bytes([number]) * (num_bytes // num_files) for number in range(num_files)}

    def fill(target: Path) -> None:
        for file, data in wanted.items():
            (target / file).write_bytes(data)
            time.sleep(0.005 if num_files > 1 else 0)

    return Content(name, num_bytes, fill, lambda target: contents(target) == wanted)


@pytest.fixture(autouse=True)
def no_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test fills is small."""
    monkeypatch.setattr(staging, "RESERVE_BYTES", 0)


def forget(area: StagingArea) -> None:
    """As if the process had ended."""
    for use in area.uses:
        use.release()


def staged(scratch: Path) -> set[str]:
    """What is there, whole or not."""
    return {path.name for path in (scratch / "staged").iterdir() if path.is_dir()}


def use_at(scratch: Path, name: str, time_s: float) -> None:
    """Sets when a copy was last used."""
    os.utime(scratch / "staged" / f"{name}.use", (time_s, time_s))


def test_made_once_and_found_again(tmp_path: Path):
    first, second = StagingArea(tmp_path, None), StagingArea(tmp_path, None)
    assert first.place(content("a"), 0) == (tmp_path / "staged" / "a", True)
    assert second.place(content("a"), 0) == (tmp_path / "staged" / "a", False)
    assert (tmp_path / "staged").stat().st_mode & 0o077 == 0


def test_what_is_not_as_it_should_be_is_made_anew(tmp_path: Path):
    area = StagingArea(tmp_path, None)
    path, _ = area.place(content("a"), 0)
    (path / "0.bin").write_bytes(b"changed")
    assert StagingArea(tmp_path, None).place(content("a"), 0) == (path, True)
    assert len((path / "0.bin").read_bytes()) == MIB


def test_one_that_is_used_keeps_its_place_until_a_whole_one_takes_it(tmp_path: Path):
    user, wanted = StagingArea(tmp_path, None), content("a", num_files=4)
    path, _ = user.place(wanted, 0)
    (path / "0.bin").unlink()
    left: list[set[str]] = []

    def fill(target: Path) -> None:
        left.append(set(contents(path)))
        wanted.fill(target)

    with (path / "1.bin").open("rb") as opened:
        again = StagingArea(tmp_path, None).place(Content("a", MIB, fill, wanted.is_whole), 0)
        assert again == (path, True)
        assert len(opened.read()) == MIB // 4, "what a process has open of it stays"
    assert left == [{"1.bin", "2.bin", "3.bin"}]
    assert wanted.is_whole(path)
    assert staged(tmp_path) == {"a"}


def test_one_that_nobody_uses_makes_room_for_its_own_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    area, wanted = StagingArea(tmp_path, None), content("a", 4 * MIB, num_files=4)
    path, _ = area.place(wanted, 0)
    (path / "0.bin").unlink()

    def of_six_mib(root: Path) -> SimpleNamespace:
        return SimpleNamespace(free=6 * MIB - sum(file.stat().st_size for file in root.rglob("*.bin")))

    monkeypatch.setattr(shutil, "disk_usage", of_six_mib)
    with pytest.raises(StagingError, match="to spare"):
        StagingArea(tmp_path, None).place(wanted, 0)
    assert staged(tmp_path) == {"a"}, "it is used"
    forget(area)
    assert StagingArea(tmp_path, None).place(wanted, 0) == (path, True)


def test_the_disk_is_full_at_any_write_while_one_that_lost_files_is_used(tmp_path: Path):
    wanted = content("a", num_files=3)
    at, num_failed = 0, 0
    while num_failed == at:  # until the disk is full only after all is written
        at += 1
        scratch = tmp_path / str(at)
        user = StagingArea(scratch, None)
        path, _ = user.place(wanted, 0)
        (path / "0.bin").unlink()
        with FullDisk(str(scratch), at, once=True):
            try:
                StagingArea(scratch, None).place(wanted, 0)
            except StagingError:
                num_failed += 1
                assert set(contents(path)) == {"1.bin", "2.bin"}, "what it had is there still"
        assert staged(scratch) == {"a"}
    assert wanted.is_whole(path)
    assert num_failed > 5


@pytest.mark.parametrize("is_full", [False, True])
def test_a_copy_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_full: bool
):
    """After a power cut digests of three blocks, or a size, would not tell what is lacking."""
    synced: list[dict[str, int]] = []
    sync = staging.sync_file_system

    def noted(directory: Path) -> None:
        assert staged(tmp_path) == {directory.name} and directory.name.startswith(".filling-")
        synced.append({name: len(data) for name, data in contents(directory).items()})
        if is_full:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        sync(directory)

    monkeypatch.setattr(staging, "sync_file_system", noted)
    area = StagingArea(tmp_path, None)
    if is_full:
        with pytest.raises(StagingError, match="quota"):
            area.place(content("a"), 0)
    else:
        assert area.place(content("a"), 0)[1]
    assert synced == [{"0.bin": MIB}]
    assert staged(tmp_path) == (set() if is_full else {"a"})


def test_the_least_recently_used_go_first(tmp_path: Path):
    for number, name in enumerate("abc"):
        area = StagingArea(tmp_path, 3 * MIB)
        area.place(content(name), 0)
        forget(area)
        use_at(tmp_path, name, 1000 + number)
    again = StagingArea(tmp_path, 3 * MIB)
    again.place(content("a"), 0)
    forget(again)
    StagingArea(tmp_path, 3 * MIB).place(content("d"), 0)
    assert staged(tmp_path) == {"a", "c", "d"}
    StagingArea(tmp_path, 3 * MIB).place(content("e", 2 * MIB), 0)
    assert staged(tmp_path) == {"d", "e"}  # "a" was used after "c", and both had to go; "d" is in use


def test_what_a_living_process_uses_is_never_removed(tmp_path: Path):
    process = start(PLACE, tmp_path, 2 * MIB, "used", 60)
    assert process.stdout is not None
    assert [process.stdout.readline(), process.stdout.readline()] == ["begins\n", "True\n"]
    area = StagingArea(tmp_path, 2 * MIB)
    with pytest.raises(StagingError, match=r"takes 0\.0 GiB, but copies that are in use take"):
        area.place(content("b", 2 * MIB), 0)
    assert staged(tmp_path) == {"used"}
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert area.place(content("b", 2 * MIB), 0)[1]
    assert staged(tmp_path) == {"b"}


def test_more_than_the_budget_removes_nothing(tmp_path: Path):
    area = StagingArea(tmp_path, 2 * MIB)
    area.place(content("a"), 0)
    forget(area)
    with pytest.raises(StagingError, match=r"resources\.stage_budget_gib is 0"):
        area.place(content("b", 3 * MIB), 0)
    assert staged(tmp_path) == {"a"}


def test_more_than_the_disk_has_to_spare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(staging, "RESERVE_BYTES", shutil.disk_usage(tmp_path).total)
    with pytest.raises(StagingError, match=r"but .*staged has 0\.0 GiB to spare"):
        StagingArea(tmp_path, None).place(content("a"), 0)
    assert staged(tmp_path) == set()


@pytest.mark.parametrize(("free_mib", "is_made"), [(1000, False), (1100, True)])
def test_engines_keep_a_gib_of_the_disk_for_their_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, is_made: bool
):
    monkeypatch.setattr(staging, "RESERVE_BYTES", SHIPPED_RESERVE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_mib * MIB))
    area = StagingArea(tmp_path, None)
    if is_made:
        assert area.place(content("a"), 0)[1]
    else:
        with pytest.raises(StagingError, match=r"but .*staged has 0\.0 GiB to spare"):
            area.place(content("a"), 0)
    assert staged(tmp_path) == ({"a"} if is_made else set())


def test_what_is_larger_than_it_was_said_counts_as_it_is(tmp_path: Path):
    packed = content("a", 3 * MIB)
    said = Content("a", MIB, packed.fill, packed.is_whole)
    with pytest.raises(StagingError, match=r"resources\.stage_budget_gib"):
        StagingArea(tmp_path, 2 * MIB).place(said, 0)
    assert staged(tmp_path) == set()
    area = StagingArea(tmp_path, 4 * MIB)
    other = StagingArea(tmp_path, 4 * MIB)
    other.place(content("b", 2 * MIB), 0)
    forget(other)
    assert area.place(said, 0)[1]
    assert staged(tmp_path) == {"a"}


def test_what_is_unpacked_already_is_not_asked_for_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def of_five_mib(root: Path) -> SimpleNamespace:
        used = sum(path.stat().st_size for path in root.rglob("*.bin"))
        return SimpleNamespace(free=5 * MIB - used)

    monkeypatch.setattr(shutil, "disk_usage", of_five_mib)
    unpacked = content("a", 4 * MIB)
    assert StagingArea(tmp_path, None).place(Content("a", MIB, unpacked.fill, unpacked.is_whole), 0)[1]
    larger = content("b", 2 * MIB)
    with pytest.raises(StagingError, match="to spare"):  # the reserve is what is left: nothing
        StagingArea(tmp_path, None).place(Content("b", MIB, larger.fill, larger.is_whole), 0)
    assert staged(tmp_path) == {"a"}


def test_another_task_that_copies_is_waited_for_within_a_bound(tmp_path: Path):
    (tmp_path / "staged").mkdir()
    with NodeLock(tmp_path / "staged" / "a.lock") as lock:
        assert lock.acquire()
        with pytest.raises(StagingError, match="another task was not done with it"):
            StagingArea(tmp_path, None).place(content("a"), 0.3)


def test_of_several_tasks_one_copies(tmp_path: Path):
    processes = [start(PLACE, tmp_path, 0, "a", 0) for _ in range(4)]
    said = [process.communicate(timeout=60)[0].split() for process in processes]
    assert sorted(words[1] for words in said) == ["False", "False", "False", "True"]


@pytest.mark.process
def test_killed_at_any_instant_of_copying(tmp_path: Path):
    num_cut = 0
    for number in range(8):
        process = start(PLACE, tmp_path, 0, "a", 60)
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        time.sleep(number * 0.03)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if (tmp_path / "staged").exists():
            names = staged(tmp_path)
            num_cut += ".filling-a" in names
            assert names <= {"a", ".filling-a"}
            if "a" in names:
                assert content("a", num_files=40).is_whole(tmp_path / "staged" / "a")
                shutil.rmtree(tmp_path / "staged" / "a")
    assert num_cut > 0
    StagingArea(tmp_path, None).place(content("b"), 0)
    assert staged(tmp_path) == {"b"}  # what the killed ones left is gone
    assert StagingArea(tmp_path, None).place(content("a", num_files=40), 0)[1]


def test_the_disk_is_full_at_any_write(tmp_path: Path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with FullDisk(str(scratch)) as disk:
        StagingArea(scratch, None).place(content("a"), 0)
    for at in range(1, len(disk.calls) + 1):
        shutil.rmtree(scratch / "staged")
        area = StagingArea(scratch, None)
        with FullDisk(str(scratch), at):
            try:
                area.place(content("a"), 0)
            except StagingError:
                assert area.uses == []
        left = staged(scratch) if (scratch / "staged").exists() else set()
        assert left <= {"a"}, (at, disk.calls[at - 1])
        assert area.place(content("a"), 0)[0] == scratch / "staged" / "a"
        forget(area)
