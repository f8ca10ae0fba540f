"""The caches of several engine starts on a node and on others: who compiles, who waits, who is seeded."""

import json
import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch.errors import StorageError
from launch.rundir.journal import write_json
from launch.rundir.process_mark import ProcessMark
from launch.worker.startup import node_caches
from launch.worker.startup.boot_mark import BOOT_MARK
from launch.worker.startup.cache_layers import GRAPHS, KERNELS, CacheLayer
from launch.worker.startup.node_caches import NodeCaches, own_variables, shared_cache_dir
from launch.worker.startup.start_records import MAX_RECORDS, read_starts
from tests.worker.startup.trees import contents

LAYERS = [
    CacheLayer(KERNELS, {"gpu": "H200"}, {"TRITON_CACHE_DIR": "triton"}),
    CacheLayer(GRAPHS, {"gpu": "H200", "model": "8b"}, {"VLLM_CACHE_ROOT": "vllm"}),
]


class Node:
    """A node's scratch, and what its engines told."""

    def __init__(self, root: Path, cache_dir: Path | None) -> None:
        self.root, self.cache_dir = root, cache_dir
        self.told: list[dict[str, Any]] = []

    def open(self) -> NodeCaches:
        """One engine start."""
        return NodeCaches(
            self.root, LAYERS, self.cache_dir, lambda what, **more: self.told.append({"what": what, **more})
        )

    def whats(self) -> list[str]:
        """The names of what was told."""
        return [each["what"] for each in self.told]


def compile_into(caches: NodeCaches) -> None:
    """What libraries would leave."""
    for variable, place in caches.variables.items():
        Path(place, "made").write_text(variable)


def start(caches: NodeCaches, wait_s: float = 0) -> str:
    """Begins a start and says what it found."""
    caches.wait(wait_s)
    caches.seed()
    return caches.state


def become_ready(caches: NodeCaches, start_s: float | None = None) -> None:
    """The engine is ready, and what is written back is written."""
    compile_into(caches)
    caches.ready(start_s)
    caches.finish(threading.Event())
    caches.close()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node without a shared directory."""
    return Node(tmp_path / "node", None)


def test_the_first_compiles_the_second_finds_it(node: Node):
    first = node.open()
    assert start(first) == "compiles"
    assert all(Path(place).is_dir() for place in first.variables.values())
    become_ready(first)
    assert start(node.open()) == "warm"
    assert node.told == []


def test_what_vllm_found_out_about_models_is_shared_by_all_of_a_node(tmp_path: Path):
    """It lies in the layer that does not depend on the model, and another node gets it with that."""
    shared = tmp_path / "shared"
    node, other = Node(tmp_path / "node", shared), Node(tmp_path / "other", shared)
    first = node.open()
    start(first)
    (Path(first.variables["VLLM_CACHE_ROOT"]) / "modelinfos" / "llama.json").write_text("{}")
    become_ready(first)
    kernels, graphs = LAYERS
    another_model = replace(graphs, key={"gpu": "H200", "model": "1b"})
    for place in (node, other):
        caches = NodeCaches(place.root, [kernels, another_model], shared, lambda what, **more: None)
        assert start(caches) == "compiles", "the model's own layer is in no cache"
        assert (Path(caches.variables["VLLM_CACHE_ROOT"]) / "modelinfos" / "llama.json").read_text() == "{}"
        caches.close()
    caches = other.open()
    assert start(caches) == "seeded"
    facts = Path(caches.variables["VLLM_CACHE_ROOT"]) / "modelinfos"
    assert facts.is_symlink() and (facts / "llama.json").exists()


def test_who_comes_meanwhile_waits_for_it(node: Node):
    first, second = node.open(), node.open()
    assert start(first) == "compiles"
    threading.Timer(0.5, become_ready, [first]).start()
    began, done = time.monotonic(), []
    second.wait(20, lambda: done.append(first.state))
    assert done == ["compiles"], "what is to be done meanwhile was done, and before the wait"
    assert second.state == "after_another"
    assert 0.4 < time.monotonic() - began < 15
    assert (Path(second.variables["VLLM_CACHE_ROOT"]) / "made").exists()


def test_nothing_is_done_meanwhile_where_there_is_nobody_to_wait_for(node: Node):
    def refuse() -> None:
        raise AssertionError

    first = node.open()
    first.wait(0, refuse)
    become_ready(first)
    warm = node.open()
    warm.wait(0, refuse)
    assert (first.state, warm.state) == ("compiles", "warm")


def test_what_fails_meanwhile_is_no_fault_of_the_caches(node: Node):
    def no_torch() -> None:
        raise OSError("libcudart.so: cannot open shared object file")

    first, second = node.open(), node.open()
    start(first)
    with pytest.raises(OSError, match="libcudart"):
        second.wait(20, no_torch)
    assert node.told == []


def test_an_eager_engine_waits_for_kernels_and_for_no_graphs(tmp_path: Path):
    shared = tmp_path / "shared"
    kernels, graphs = LAYERS[0], replace(LAYERS[1], is_awaited=False)

    def open_on(place: str, key: dict[str, str] = graphs.key) -> NodeCaches:
        layers = [kernels, replace(graphs, key=key)]
        return NodeCaches(tmp_path / place, layers, shared, lambda what, **more: None)

    first = open_on("node")
    assert start(first) == "compiles"
    assert start(open_on("node")) == "unlocked", "it waited, for as long as it may"
    become_ready(first)
    another = {"gpu": "H200", "model": "1b"}
    assert start(open_on("node", another)) == start(open_on("node", another)) == "warm"
    assert start(open_on("other", another)) == "seeded"


def test_the_wait_has_a_bound(node: Node):
    first, second = node.open(), node.open()
    assert start(first) == "compiles"
    assert start(second, 0.3) == "unlocked"
    assert node.told == [{"what": "cache_wait_over", "waited_s": 0}]
    become_ready(second)
    become_ready(first)
    assert start(node.open()) == "warm"


def test_one_that_dies_leaves_the_compiling_to_the_next(node: Node):
    first, second = node.open(), node.open()
    assert start(first) == "compiles"
    threading.Timer(0.3, first.close).start()
    assert start(second, 20) == "compiles"


def test_another_node_is_seeded_and_makes_nobody_wait(tmp_path: Path):
    shared = tmp_path / "shared"
    one, other = Node(tmp_path / "one", shared), Node(tmp_path / "other", shared)
    caches = one.open()
    assert start(caches) == "compiles"
    become_ready(caches)
    assert one.whats() == ["cache_written", "cache_written"]
    assert all(each["what"] == "cache_written" for each in one.told)
    seeded, beside = other.open(), other.open()
    assert start(seeded) == "seeded"
    assert start(beside) == "warm"  # while the seeded one still starts
    assert other.told == [
        {"what": "cache_seeded", "layer": KERNELS, "generation": 1},
        {"what": "cache_seeded", "layer": GRAPHS, "generation": 1},
    ]
    for name in ("TRITON_CACHE_DIR", "VLLM_CACHE_ROOT"):
        assert contents(Path(seeded.variables[name])) == contents(Path(caches.variables[name]))
    become_ready(seeded)
    assert [each["what"] for each in other.told[2:]] == ["cache_written"] * 2
    assert seeded.written == {KERNELS: "generation 1 has it all", GRAPHS: "generation 1 has it all"}


def test_kernels_are_shared_by_models_and_the_rest_is_compiled(tmp_path: Path):
    shared = tmp_path / "shared"
    one, other = Node(tmp_path / "one", shared), Node(tmp_path / "other", shared)
    caches = one.open()
    start(caches)
    become_ready(caches)
    shutil.rmtree(next(shared.glob("user-*/graphs-*")))
    seeded = other.open()
    assert start(seeded) == "compiles"
    assert contents(Path(seeded.variables["TRITON_CACHE_DIR"])) == {"made": b"TRITON_CACHE_DIR"}


def test_a_corrupt_seed_is_told_and_costs_a_compilation(tmp_path: Path):
    shared = tmp_path / "shared"
    one, other = Node(tmp_path / "one", shared), Node(tmp_path / "other", shared)
    caches = one.open()
    start(caches)
    become_ready(caches)
    for tar in shared.rglob("1.tar"):
        tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    second = other.open()
    assert start(second) == "compiles"
    assert other.whats() == ["cache_refused"] * 2
    assert "is corrupt" in other.told[0]["why"]
    become_ready(second)
    assert second.written == dict.fromkeys((KERNELS, GRAPHS), "generation 2: 1 files, 0.0 MiB")


def test_an_older_generation_stands_in_and_what_it_lacks_is_compiled_once(tmp_path: Path):
    shared = tmp_path / "shared"
    one = Node(tmp_path / "one", shared)
    for name in ("first", "second"):
        caches = one.open()
        start(caches)
        Path(caches.variables["TRITON_CACHE_DIR"], name).write_text(name)
        become_ready(caches)
    (kernels,) = shared.glob("user-*/kernels-*")
    (kernels / "2.tar").write_bytes(b"torn")
    other = Node(tmp_path / "other", shared)
    caches, beside = other.open(), other.open()
    assert start(caches) == "compiles", "it lacks what only the second had"
    assert start(beside) == "unlocked"
    assert other.whats() == ["cache_refused", "cache_seeded", "cache_seeded", "cache_wait_over"]
    assert [other.told[0]["layer"], other.told[1]["generation"]] == [KERNELS, 1]
    kept = contents(Path(caches.variables["TRITON_CACHE_DIR"]))
    assert kept.keys() == {"first", "made"}
    become_ready(caches)
    assert caches.written[KERNELS].startswith("generation 3: ")
    assert start(Node(tmp_path / "third", shared).open()) == "seeded"


def test_a_scratch_folder_that_cannot_be_used_costs_a_compilation(tmp_path: Path):
    (tmp_path / "node").write_text("a file")
    node = Node(tmp_path / "node", tmp_path / "shared")
    caches = node.open()
    assert start(caches) == "unusable"
    caches.ready()
    caches.finish(threading.Event())
    assert node.whats() == ["cache_unusable"]
    assert not (tmp_path / "shared").exists()  # that nothing is there says nothing


def test_a_write_back_is_not_waited_for_in_a_hurry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(node_caches.CacheStore, "write_back", lambda *_: time.sleep(5))
    caches = Node(tmp_path / "node", tmp_path / "shared").open()
    start(caches)
    caches.ready()
    hurry = threading.Event()
    hurry.set()
    began = time.monotonic()
    caches.finish(hurry)
    assert time.monotonic() - began < 2


def test_variables_of_the_user_are_left_alone(tmp_path: Path):
    environment = {
        "VLLM_CACHE_ROOT": "/home/u/.cache",
        "TRITON_CACHE_DIR": f"{tmp_path}/caches/triton",
        "HOME": "/h",
    }
    assert own_variables(tmp_path, environment) == {"TRITON_CACHE_DIR": f"{tmp_path}/caches/triton"}


def test_where_the_shared_directory_is(monkeypatch: pytest.MonkeyPatch):
    run = Path("/p/outputs/runs/r")
    assert shared_cache_dir(None, run, on_slurm=True) == Path("/p/outputs/caches")
    assert shared_cache_dir(None, Path("/p/mine/r"), on_slurm=True) == Path("/p/mine/caches")
    assert shared_cache_dir(None, run, on_slurm=False) is None
    assert shared_cache_dir(Path("none"), run, on_slurm=True) is None
    monkeypatch.setenv("PROJECT", "/project")
    assert shared_cache_dir(Path("$PROJECT/c"), run, on_slurm=False) == Path("/project/c")
    assert os.environ["PROJECT"] == "/project"


def test_after_a_crash_of_the_machine_nothing_of_before_is_used(node: Node):
    become_ready_of(node)
    mark = node.root / "caches" / BOOT_MARK
    write_json(mark, {**json.loads(mark.read_text()), "boot": "an earlier one"})
    again = node.open()
    assert start(again) == "compiles"
    assert node.whats() == ["cache_removed"]
    assert not any(Path(place, "made").exists() for place in again.variables.values())
    become_ready(again)
    assert start(node.open()) == "warm"
    assert node.whats() == ["cache_removed"]


def test_a_disk_that_is_full_then_costs_the_caches_and_no_start(node: Node, monkeypatch: pytest.MonkeyPatch):
    def full(path: Path, value: object) -> None:
        raise StorageError(f"{path}: cannot write: the disk is full.")

    monkeypatch.setattr("launch.worker.startup.boot_mark.write_json", full)
    assert start(node.open()) == "unusable"
    (told,) = node.told
    assert told["what"] == "cache_unusable" and "the disk is full" in told["why"]


def test_caches_that_another_host_made_there_are_left(node: Node):
    """A scratch folder that is no node's own."""
    become_ready_of(node)
    mark = node.root / "caches" / BOOT_MARK
    write_json(mark, {**json.loads(mark.read_text()), "host": "other", "boot": "its own"})
    assert start(node.open()) == "warm"
    assert node.told == []


def test_a_host_that_was_started_anew_leaves_what_others_use_with_it(
    node: Node, monkeypatch: pytest.MonkeyPatch
):
    become_ready_of(node)
    first = node.root / "caches" / BOOT_MARK
    here = json.loads(first.read_text())
    write_json(first, {**here, "host": "other", "boot": "before"})
    assert start(node.open()) == "warm"
    mark = ProcessMark("other", 1, boot="after")
    monkeypatch.setattr("launch.worker.startup.boot_mark.mark_process", lambda: mark)
    assert start(node.open()) == "warm"
    assert node.told == []


def become_ready_of(node: Node) -> None:
    caches = node.open()
    start(caches)
    become_ready(caches)


def folder_of_graphs(root: Path) -> Path:
    """The one in a node's caches or in the shared directory."""
    (folder,) = root.glob("graphs-*")
    return folder


def test_warm_starts_leave_what_they_took_on_a_node_of_its_own(node: Node):
    for start_s in (100.0, 11.0, 12.0):
        caches = node.open()
        start(caches)
        become_ready(caches, start_s)
    assert sorted(read_starts(folder_of_graphs(node.root / "caches"))) == [11.0, 12.0], "the first compiled"
    assert node.told == []


def test_warm_starts_leave_what_they_took_where_nodes_share(tmp_path: Path):
    shared = tmp_path / "shared"
    for name, start_s in (("one", 100.0), ("one", 11.0), ("two", 20.0)):
        caches = Node(tmp_path / name, shared).open()
        start(caches)
        become_ready(caches, start_s)
    (user,) = shared.iterdir()
    assert sorted(read_starts(folder_of_graphs(user))) == [11.0, 20.0]
    for name in ("one", "two"):
        assert read_starts(folder_of_graphs(tmp_path / name / "caches")) == []


def test_a_start_that_cannot_be_written_down_is_told_and_goes_on(node: Node):
    first = node.open()
    start(first)
    become_ready(first, 100.0)
    for number in range(MAX_RECORDS):
        (folder_of_graphs(node.root / "caches") / f".vllm-launch-start-{number}").mkdir()
    second = node.open()
    assert start(second) == "warm"
    become_ready(second, 11.0)
    assert node.whats() == ["start_not_recorded"]


def test_layers_are_this_users_alone_whatever_the_umask(node: Node):
    before = os.umask(0o002)
    try:
        start(node.open())
    finally:
        os.umask(before)
    assert folder_of_graphs(node.root / "caches").stat().st_mode & 0o077 == 0
