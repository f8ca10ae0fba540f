"""The shared cache: what is written is whole, what is read is checked, and of many tasks one writes."""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from io import BytesIO
from pathlib import Path

import pytest

from launch.errors import StorageError
from launch.rundir.journal import read_json, write_json
from launch.rundir.process_mark import mark_process
from launch.worker.startup import cache_store
from launch.worker.startup.cache_store import CacheStore, store_of
from launch.worker.startup.cache_tree import CacheRefusedError
from launch.worker.startup.cache_writing import CLAIM_DEAD_S, claim_next
from tests.worker.distorted.full_disk import FullDisk
from tests.worker.startup.trees import FILES, KEY, contents, make_tree, start

WRITE = """
import json, sys
from pathlib import Path
from launch.worker.startup.cache_store import CacheStore
store = CacheStore(Path(sys.argv[1]), json.loads(sys.argv[3]))
print("ready", flush=True)
print(store.write_back(Path(sys.argv[2])), flush=True)
"""


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A node's caches, compiled."""
    return make_tree(tmp_path / "local")


@pytest.fixture
def store(tmp_path: Path) -> CacheStore:
    """An empty shared place."""
    return CacheStore(tmp_path / "shared", KEY)


def seeded(store: CacheStore, root: Path) -> dict[str, bytes]:
    """What another node gets."""
    root.mkdir()
    assert store.seed(root) is not None
    return contents(root)


def test_another_node_gets_every_file_with_its_time(store: CacheStore, local: Path, tmp_path: Path):
    assert store.newest() is None
    assert store.seed(local) is None
    assert store.write_back(local) == "generation 1: 5 files, 0.2 MiB"
    assert seeded(store, tmp_path / "other") == FILES
    for name in FILES:
        assert (tmp_path / "other" / name).stat().st_mtime_ns == (local / name).stat().st_mtime_ns
    assert list(tmp_path.glob(".incoming*")) == []


def test_ninjas_log_is_packed_before_what_it_speaks_of(store: CacheStore, local: Path, tmp_path: Path):
    store.write_back(local)
    with tarfile.open(tmp_path / "shared" / "1.tar") as tar:
        assert tar.getnames()[0] == "flashinfer/.cache/ops/.ninja_log"


def test_ninja_finds_nothing_to_do_where_the_path_is_the_same(store: CacheStore, tmp_path: Path):
    """FlashInfer lets ninja decide whether to build, by absolute paths (flashinfer/jit/cpp_ext.py)."""
    ninja = shutil.which("ninja", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if ninja is None:
        pytest.skip("needs ninja, which vLLM brings along")
    node = tmp_path / "node"
    (node / "ops").mkdir(parents=True)
    for name in "abcdefgh":
        (node / "ops" / f"{name}.cpp").write_text('extern "C" int one() { return 1; }\n')
    rule = "rule cc\n  command = c++ -MMD -MF $out.d -c $in -o $out\n  depfile = $out.d\n  deps = gcc\n"
    builds = [f"build {node}/ops/{name}.o: cc {node}/ops/{name}.cpp\n" for name in "abcdefgh"]
    (node / "ops" / "build.ninja").write_text(rule + "".join(builds))

    def build() -> str:
        command = [ninja, "-C", str(node / "ops")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "[8/8]" in build()
    assert "no work to do" in build()
    store.write_back(node)
    shutil.rmtree(node)
    assert len(seeded(store, node)) == 19  # sources, objects, build.ninja and its two logs
    assert "no work to do" in build()


def test_written_once_and_again_only_with_something_new(store: CacheStore, local: Path, tmp_path: Path):
    store.write_back(local)
    assert store.write_back(local) == "generation 1 has it all"
    (local / "triton" / "new.cubin").write_bytes(b"new")
    assert store.write_back(local) == "generation 2: 6 files, 0.2 MiB"
    (local / "triton" / "newer.cubin").write_bytes(b"newer")
    assert store.write_back(local).startswith("generation 3: 7 files")
    assert sorted(path.name for path in (tmp_path / "shared").glob("*.tar")) == ["2.tar", "3.tar"]
    assert len(seeded(store, tmp_path / "other")) == 7


def test_numbers_have_no_end_and_two_generations_are_kept(store: CacheStore, local: Path, tmp_path: Path):
    for number in range(1, 41):
        (local / "triton" / f"{number}.cubin").write_bytes(b"x")
        assert store.write_back(local).startswith(f"generation {number}: {5 + number} files")
    left = {path.name for path in (tmp_path / "shared").iterdir()}
    assert left == {f"{number}.{suffix}" for number in (39, 40) for suffix in ("claim", "json", "tar")}
    assert len(seeded(store, tmp_path / "other")) == 45


def test_there_is_an_end_to_what_is_kept(
    store: CacheStore, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cache_store, "MAX_BYTES", 200_000)
    store.write_back(local)
    (local / "triton" / "new.cubin").write_bytes(b"new")
    said = store.write_back(local)
    assert said.startswith("not written: generation 1 has 0.0 GiB, and more is not kept. Remove ")
    shutil.rmtree(tmp_path / "shared")
    assert store.write_back(local).startswith("generation 1: 6 files")


def test_that_there_is_nothing_to_compile_is_kept_once(store: CacheStore, tmp_path: Path):
    (tmp_path / "local").mkdir()
    assert store.write_back(tmp_path / "local") == "generation 1: 0 files, 0.0 MiB"
    assert store.write_back(tmp_path / "local") == "generation 1 has it all"
    assert seeded(store, tmp_path / "other") == {}


def test_what_a_node_has_stays_and_what_it_lacks_comes(store: CacheStore, local: Path, tmp_path: Path):
    store.write_back(local)
    other = tmp_path / "other"
    mine = other / "triton/ab/kernel.json"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    store.seed(other)
    assert contents(other) == {**FILES, "triton/ab/kernel.json": b"mine"}


def damage_tar(shared: Path, number: int = 1) -> None:
    data = bytearray((shared / f"{number}.tar").read_bytes())
    data[1024] ^= 1
    (shared / f"{number}.tar").write_bytes(data)


def cut_tar(shared: Path, number: int = 1) -> None:
    data = (shared / f"{number}.tar").read_bytes()
    (shared / f"{number}.tar").write_bytes(data[: len(data) // 2])


def damage_manifest(shared: Path, number: int = 1) -> None:
    (shared / f"{number}.json").write_bytes(b"{}")


def mistell_a_file(shared: Path, number: int = 1) -> None:
    value = read_json(shared / f"{number}.json")
    assert value is not None
    value["files"]["triton/ab/kernel.json"] = "2"
    write_json(shared / f"{number}.json", value)


def tear_manifest(shared: Path, number: int = 1) -> None:
    data = (shared / f"{number}.json").read_bytes()
    (shared / f"{number}.json").write_bytes(data[:40])


def change_key(shared: Path, number: int = 1) -> None:
    value = read_json(shared / f"{number}.json")
    assert value is not None
    value["key"] = KEY | {"device": "NVIDIA H100"}
    write_json(shared / f"{number}.json", value)


def remove_tar(shared: Path, number: int = 1) -> None:
    (shared / f"{number}.tar").unlink()


def let_others_write(shared: Path, number: int = 1) -> None:
    (shared / f"{number}.tar").chmod(0o666)


def link_tar(shared: Path, number: int = 1) -> None:
    (shared / f"{number}.tar").rename(shared / "elsewhere")
    (shared / f"{number}.tar").symlink_to(shared / "elsewhere")


def give_away(shared: Path, number: int = 1) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: it gives a file to another user")
    os.chown(shared / f"{number}.json", 12345, 12345)


def retell(shared: Path, number: int, member: tarfile.TarInfo, data: bytes) -> None:
    """A tar of another content, and a manifest that vouches for it: only what unpacking checks is left."""
    with tarfile.open(shared / f"{number}.tar", "w") as tar:
        tar.addfile(member, BytesIO(data))
    value = read_json(shared / f"{number}.json")
    assert value is not None
    value["digest"] = hashlib.blake2b((shared / f"{number}.tar").read_bytes(), digest_size=16).hexdigest()
    write_json(shared / f"{number}.json", value)


def lead_out(shared: Path, number: int = 1) -> None:
    member = tarfile.TarInfo("../../escaped")
    member.size = 3
    retell(shared, number, member, b"bad")


def other_files(shared: Path, number: int = 1) -> None:
    member = tarfile.TarInfo("triton/ab/kernel.json")
    member.size = 3
    retell(shared, number, member, b"bad")


KINDS = [
    (damage_tar, "is corrupt: its digest is not the manifest's"),
    (cut_tar, "is corrupt: its digest is not the manifest's"),
    (damage_manifest, "is damaged"),
    (tear_manifest, "is damaged"),
    (mistell_a_file, "is damaged"),
    (change_key, "was made for another GPU, software or model"),
    (remove_tar, "cannot be read: No such file"),
    (let_others_write, "is foreign"),
    (link_tar, "is foreign"),
    (give_away, "is foreign"),
    (lead_out, "is corrupt: it cannot be unpacked"),
    (other_files, "5 of its files are not as the manifest says"),
]


@pytest.mark.parametrize(("damage", "said"), KINDS)
def test_what_is_corrupt_or_foreign_is_noticed_and_not_used(
    store: CacheStore, local: Path, tmp_path: Path, damage, said: str
):
    store.write_back(local)
    damage(tmp_path / "shared")
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(CacheRefusedError, match=said):
        store.seed(other)
    assert contents(other) == {}
    assert not (tmp_path / "escaped").exists()
    assert list(tmp_path.glob(".incoming*")) == []


@pytest.mark.parametrize(("damage", "said"), KINDS)
def test_the_one_before_stands_in_for_it_and_the_next_is_sound(
    store: CacheStore, local: Path, tmp_path: Path, damage, said: str
):
    store.write_back(local)
    (local / "triton" / "new.cubin").write_bytes(b"new")
    store.write_back(local)
    damage(tmp_path / "shared", 2)
    other, new = tmp_path / "other", {"triton/other.cubin": b"compiled here"}
    other.mkdir()
    found = store.seed(other)
    assert found is not None
    assert (found.number, contents(other)) == (1, FILES)
    (why,) = store.refused.values()
    assert re.search(said.replace("5 of", "6 of"), why)
    make_tree(other, new)
    assert store.write_back(other).startswith("generation 3: 6 files")
    assert seeded(CacheStore(tmp_path / "shared", KEY), tmp_path / "next") == {**FILES, **new}
    assert {path.name for path in (tmp_path / "shared").glob("*.json")} == {"1.json", "3.json"}


def test_a_writer_that_finds_the_newest_corrupt_keeps_what_the_one_before_has(
    store: CacheStore, local: Path, tmp_path: Path
):
    store.write_back(local)
    (local / "triton" / "new.cubin").write_bytes(b"new")
    store.write_back(local)
    damage_tar(tmp_path / "shared", 2)
    (tmp_path / "warm").mkdir()
    warm = make_tree(tmp_path / "warm", {"triton/warm.cubin": b"warm"})
    assert CacheStore(tmp_path / "shared", KEY).write_back(warm).startswith("generation 3: 6 files")


@pytest.mark.parametrize("damage", [damage_manifest, change_key, remove_tar, let_others_write])
def test_a_sound_generation_follows_a_bad_one(store: CacheStore, local: Path, tmp_path: Path, damage):
    store.write_back(local)
    damage(tmp_path / "shared")
    assert store.write_back(local).startswith("generation 2: 5 files")
    assert seeded(store, tmp_path / "other") == FILES


def test_a_tar_found_corrupt_only_when_read_is_replaced_by_who_read_it(
    store: CacheStore, local: Path, tmp_path: Path
):
    store.write_back(local)
    damage_tar(tmp_path / "shared")
    with pytest.raises(CacheRefusedError):
        store.seed(tmp_path / "elsewhere")
    assert store.write_back(local).startswith("generation 2: 5 files")
    assert seeded(store, tmp_path / "other") == FILES


def test_keys_and_users_have_places_of_their_own(tmp_path: Path, local: Path):
    one, other = store_of(tmp_path, "kernels-1", KEY), store_of(tmp_path, "kernels-2", {})
    one.write_back(local)
    assert other.newest() is None
    assert (tmp_path / f"user-{os.getuid()}" / "kernels-1" / "1.json").exists()
    assert (tmp_path / f"user-{os.getuid()}" / "kernels-1").stat().st_mode & 0o077 == 0


def test_a_file_that_changes_while_it_is_read_is_left_out(
    store: CacheStore, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = local / "triton/ab/kernel.cubin"
    fstat = os.fstat
    seen: list[int] = []

    def fstat_of_a_growing_file(descriptor: int) -> os.stat_result:
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(path):
            seen.append(descriptor)
            if len(seen) == 2:
                with path.open("ab") as more:
                    more.write(b"more")
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", fstat_of_a_growing_file)
    assert store.write_back(local).startswith("generation 1: 4 files")
    assert "triton/ab/kernel.cubin" not in seeded(store, tmp_path / "other")


def test_the_disk_is_full_at_any_write_of_a_write_back(local: Path, tmp_path: Path):
    shared = tmp_path / "shared"
    with FullDisk(str(shared)) as disk:
        CacheStore(shared, KEY).write_back(local)
    num_calls = len(disk.calls)
    assert num_calls > 5
    for at in range(1, num_calls + 1):
        shutil.rmtree(shared)
        store = CacheStore(shared, KEY)
        with FullDisk(str(shared), at):
            said = store.write_back(local)
        assert said.startswith(("not written: ", "generation 1: ")), (at, said)
        newest = store.newest()
        assert newest is None or newest.files.keys() == FILES.keys()
        assert list(shared.glob(".*.tar.*")) == []
        assert store.write_back(local).startswith("generation "), at  # there is room again
        shutil.rmtree(tmp_path / "other", ignore_errors=True)
        assert seeded(store, tmp_path / "other") == FILES


def test_the_disk_is_full_at_any_write_of_a_further_one(local: Path, tmp_path: Path):
    """What was there stays, until the new one is whole."""
    at, said = 0, "not written: "
    while said.startswith("not written: "):
        at += 1
        shared, node = tmp_path / str(at), tmp_path / f"node {at}"
        for number in range(3):
            (local / "triton" / f"{at}-{number}.cubin").write_bytes(b"x")
            CacheStore(shared, KEY).write_back(local)
        before = CacheStore(shared, KEY).newest()
        assert before is not None
        (local / "triton" / f"{at}.cubin").write_bytes(b"x")
        with FullDisk(str(shared), at):
            said = CacheStore(shared, KEY).write_back(local)
        if said.startswith("not written: "):
            assert {path.name for path in shared.glob("*.tar")} == {"2.tar", "3.tar"}
        assert seeded(CacheStore(shared, KEY), node).keys() >= before.files.keys()
    assert at > 5
    assert said.startswith("generation 4: ")


def test_the_nodes_disk_is_full_at_any_write_of_a_seeding(store: CacheStore, local: Path, tmp_path: Path):
    store.write_back(local)
    node = tmp_path / "node"
    node.mkdir()
    with FullDisk(str(node)) as disk:
        store.seed(node / "a")
    assert contents(node / "a") == FILES
    for at in range(1, len(disk.calls) + 1):
        shutil.rmtree(node / "a", ignore_errors=True)
        with FullDisk(str(node), at), contextlib.suppress(StorageError):
            store.seed(node / "a")
        left = contents(node / "a") if (node / "a").exists() else {}
        assert left.items() <= FILES.items()  # whole ones, each
        store.seed(node / "a")
        assert contents(node / "a") == FILES


def test_of_many_tasks_one_writes(local: Path, tmp_path: Path):
    processes = [start(WRITE, tmp_path / "shared", local, '{"k": "v"}') for _ in range(6)]
    said = sorted(process.communicate(timeout=60)[0].split("\n")[1] for process in processes)
    wrote = [words for words in said if words.startswith("generation 1: 5 files")]
    assert len(wrote) == 1
    assert set(said) - set(wrote) <= {"another task writes it", "generation 1 has it all"}
    assert seeded(CacheStore(tmp_path / "shared", {"k": "v"}), tmp_path / "other") == FILES


def test_what_another_made_between_the_look_and_the_claim_is_not_made_again(
    store: CacheStore, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def after_another(root: Path) -> int | None:
        monkeypatch.setattr(cache_store, "claim_next", claim_next)
        assert CacheStore(root, KEY).write_back(local).startswith("generation 1: 5 files")
        return claim_next(root)

    monkeypatch.setattr(cache_store, "claim_next", after_another)
    assert store.write_back(local) == "generation 1 has it all"
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == ["1.claim", "1.json", "1.tar"]
    (local / "new").write_bytes(b"new")
    assert store.write_back(local).startswith("generation 2: 6 files")


def test_a_claim_of_somebody_dead_is_not_waited_for(store: CacheStore, local: Path, tmp_path: Path):
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o700)
    write_json(shared / "1.claim", {"host": "another", "pid": 3})
    assert store.write_back(local) == "another task writes it"
    long_ago = time.time() - CLAIM_DEAD_S - 60
    os.utime(shared / "1.claim", (long_ago, long_ago))
    assert store.write_back(local).startswith("generation 2: 5 files")


def test_claims_of_many_dead_writers_stop_nobody(store: CacheStore, local: Path, tmp_path: Path):
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o700)
    ended = start("input()")
    mark = mark_process(ended.pid)
    ended.communicate("\n", timeout=60)
    for number in range(1, 41):
        write_json(shared / f"{number}.claim", mark.as_json())
    assert store.write_back(local).startswith("generation 41: 5 files")
    assert [path.name for path in shared.glob("*.claim")] == ["41.claim"]


@pytest.mark.process
def test_killed_while_it_writes_a_further_one(tmp_path: Path):
    big = {f"triton/{number}/k.cubin": random.Random(number).randbytes(300_000) for number in range(20)}
    local = make_tree(tmp_path / "local", big)
    shared, key = tmp_path / "shared", {"k": "v"}
    CacheStore(shared, key).write_back(local)
    num_killed_at_work = 0
    for number in range(20):
        (local / f"{number}").write_bytes(b"x")
        process = start(WRITE, shared, local, '{"k": "v"}')
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(number % 10 * 0.008)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        whole = {path.stem for path in shared.glob("*.json")}
        claims = [claim for claim in shared.glob("*.claim") if claim.stem not in whole]
        num_killed_at_work += bool(claims)
        for claim in claims:  # one that was killed before it could say who it is
            os.utime(claim, (0, 0))
        found = seeded(CacheStore(shared, key), tmp_path / str(number))
        assert found.keys() >= big.keys()
        shutil.rmtree(tmp_path / str(number))
    assert num_killed_at_work > 0
    (local / "last").write_bytes(b"x")
    assert CacheStore(shared, key).write_back(local).startswith("generation ")
    assert len(list(shared.glob("*.tar"))) <= 2
    assert list(shared.glob(".*.tar.*")) == []


@pytest.mark.process
def test_killed_at_any_instant_nothing_torn_is_found(tmp_path: Path):
    big = {f"triton/{number}/k.cubin": random.Random(number).randbytes(300_000) for number in range(60)}
    local = make_tree(tmp_path / "local", big)
    shared, key = tmp_path / "shared", {"k": "v"}
    store = CacheStore(shared, key)
    num_killed_at_work = 0
    for number in range(12):
        process = start(WRITE, shared, local, '{"k": "v"}')
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(number * 0.012)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        newest = store.newest()
        if newest is None:
            num_killed_at_work += bool(list(shared.glob("*.claim")))
        else:
            assert newest.files.keys() == big.keys()
            shutil.rmtree(shared)
    assert num_killed_at_work > 0
    for claim in shared.glob("*.claim"):  # one that was killed before it could say who it is
        os.utime(claim, (0, 0))
    shutil.rmtree(tmp_path / "other", ignore_errors=True)
    store.write_back(local)
    assert seeded(store, tmp_path / "other") == big
    (local / "new").write_bytes(b"x")
    store.write_back(local)
    assert list(shared.glob(".*.tar.*")) == []


SEED = """
import json, sys
from pathlib import Path
from launch.worker.startup.cache_store import CacheStore
store = CacheStore(Path(sys.argv[1]), json.loads(sys.argv[3]))
print("ready", flush=True)
print(store.seed(Path(sys.argv[2])).number, flush=True)
"""


def test_engines_of_several_models_seed_what_they_share_at_the_same_time(store: CacheStore, tmp_path: Path):
    many = {f"triton/{number:03}/kernel.cubin": os.urandom(20_000) for number in range(200)}
    store.write_back(make_tree(tmp_path / "local", many))
    for attempt in range(3):
        node = tmp_path / f"node{attempt}"
        node.mkdir()
        words = [str(tmp_path / "shared"), str(node), json.dumps(KEY)]
        seeders = [start(SEED, *words) for _ in range(4)]
        for process in seeders:
            out, errors = process.communicate(timeout=60)
            assert (process.returncode, out.splitlines()[-1:]) == (0, ["1"]), errors
        assert contents(node) == many
    assert store.write_back(node) == "generation 1 has it all"


def test_a_generation_holds_what_other_nodes_have_made_meanwhile(store: CacheStore, tmp_path: Path):
    base = {"flashinfer/a.so": b"base"}
    store.write_back(make_tree(tmp_path / "local", base))
    nodes = [tmp_path / "one", tmp_path / "two"]
    for node in nodes:
        seeded(store, node)
    for node in nodes:
        (node / "triton").mkdir()
        (node / "triton" / f"{node.name}.cubin").write_bytes(node.name.encode())
    for number, node in enumerate(nodes, 2):
        assert store.write_back(node).startswith(f"generation {number}: {number} files")
    everything = {**base, "triton/one.cubin": b"one", "triton/two.cubin": b"two"}
    assert seeded(store, tmp_path / "three") == everything
    assert store.write_back(nodes[0]) == "generation 3 has it all"


def test_a_corrupt_generation_is_followed_by_a_sound_one_of_what_is_here(
    store: CacheStore, local: Path, tmp_path: Path
):
    """Found corrupt by the writer itself, which took it for sound before."""
    store.write_back(local)
    with (tmp_path / "shared" / "1.tar").open("r+b") as handle:
        handle.seek(1000)
        handle.write(b"wrong")
    (tmp_path / "node").mkdir()
    other = make_tree(tmp_path / "node", {"triton/new.cubin": b"new"})
    assert CacheStore(tmp_path / "shared", KEY).write_back(other).startswith("generation 2: 1 files")
    assert seeded(store, tmp_path / "next") == {"triton/new.cubin": b"new"}
