"""What submit sees of caches beforehand is what engines then find: with the keys that tasks make."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from launch.config.schema import RunConfig
from launch.planning.forecast import Warmth
from launch.planning.rates import EarlierStarts
from launch.rundir.records import RunRecord, load_run, load_submission, task_config
from launch.worker.gpu_settings import measured_settings
from launch.worker.slot_environment import scratch_folder
from launch.worker.startup import cache_layers
from launch.worker.startup.boot_mark import BOOT_MARK
from launch.worker.startup.expected_caches import expect_here, expect_on_nodes
from launch.worker.startup.node_caches import NodeCaches, own_variables
from tests.worker.build_run import build_run

H200 = {"device": "NVIDIA H200", "compute_capability": "9.0", "driver": "580.1"}
COLD, ALL = Warmth(), Warmth(compiled=True, uncompiled=True)


def on_gpus(config: RunConfig, gpu_type: str | None, gpus: int = 1) -> RunConfig:
    """The same for a cluster with such GPUs."""
    asked = {"gpu_type": gpu_type, "gpus_per_task": gpus}
    return config.model_copy(update={"resources": config.resources.model_copy(update=asked)})


def of(starts: EarlierStarts | None) -> list[float]:
    """Their seconds, the shortest first."""
    return [] if starts is None else sorted(starts.seconds)


class Site:
    """A run, and engines that start for it on nodes with an H200 of their own."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.shared = root, root / "shared"
        self._monkeypatch = monkeypatch
        self.record, self.config = self.make("run")

    def asking(self, gpu_type: str | None, gpus: int = 1) -> RunConfig:
        """The run's settings on such GPUs."""
        return on_gpus(self.config, gpu_type, gpus)

    def make(self, name: str, **sections: Any) -> tuple[RunRecord, RunConfig]:
        """Another run, with other settings; what a task of it would see."""
        run = build_run(self.root / name, num_users=1, items_per_user=1, **sections)
        return load_run(run), task_config(load_run(run), load_submission(run, 1))

    def start_engine(self, node: str, *, compiles: bool, start_s: float | None = None, **gpu: str) -> str:
        """A start to its end as a task makes it; what it found."""
        engine = self.config.engine.model_copy(update={"torch_compile": compiles})
        engine = engine.model_copy(update=measured_settings(engine, {**H200, **gpu}["device"]))
        scratch = self.root / node
        folders = {**cache_layers.FOLDERS[cache_layers.KERNELS], **cache_layers.FOLDERS[cache_layers.GRAPHS]}
        own = own_variables(scratch, {name: str(scratch / "caches" / at) for name, at in folders.items()})
        with self._monkeypatch.context() as patched:
            patched.setattr(cache_layers, "visible_gpus", lambda: ["0"])
            patched.setattr(cache_layers, "describe_compiler_target", lambda _: {**H200, **gpu})
            layers = cache_layers.cache_layers(self.record, engine, own)
        caches = NodeCaches(scratch, layers, self.shared, lambda *_, **__: None)
        caches.wait(0)
        caches.seed()
        state = caches.state
        for layer, place in caches.variables.items():
            if compiles or layer in cache_layers.FOLDERS[cache_layers.KERNELS]:
                Path(place, "made").write_text(layer)
        caches.ready(start_s)
        caches.finish(threading.Event())
        caches.close()
        return state


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


def test_nothing_is_expected_of_a_directory_that_is_not_there(site: Site) -> None:
    assert expect_on_nodes(site.record, site.asking("h200"), site.shared) == COLD
    assert expect_on_nodes(site.record, site.asking("h200"), None) == COLD


@pytest.mark.parametrize("gpu_type", ["h200", None])
def test_what_one_node_wrote_back_is_expected_by_the_next(site: Site, gpu_type: str | None) -> None:
    assert site.start_engine("n1", compiles=True) == "compiles"
    assert expect_on_nodes(site.record, site.asking(gpu_type), site.shared) == ALL
    assert site.start_engine("n2", compiles=True) == "seeded"


def test_a_gpu_type_without_measured_speed_is_known_by_its_name(site: Site) -> None:
    site.start_engine("n1", compiles=True, device="NVIDIA A100-SXM4-80GB", compute_capability="8.0")
    for gpu_type in ("a100", "a100-80gb", "NVIDIA-A100-SXM4-80GB", None):
        assert expect_on_nodes(site.record, site.asking(gpu_type), site.shared) == ALL, gpu_type
    for gpu_type in ("a100-40gb", "h200", "a40"):
        assert expect_on_nodes(site.record, site.asking(gpu_type), site.shared) == COLD, gpu_type


def test_another_gpu_model_or_shape_is_not_expected_to_be_warm(site: Site) -> None:
    site.start_engine("n1", compiles=True)
    for gpu_type in ("h100", "a100", "v100", "nonesuch"):
        assert expect_on_nodes(site.record, site.asking(gpu_type), site.shared) == COLD, gpu_type
    assert expect_on_nodes(site.record, site.asking("h200", gpus=0), site.shared) == COLD, "on CPUs"
    for name, changed in (
        ("longer", {"engine": {"max_model_len": 256}}),
        ("half", {"model": {"dtype": "float16"}}),
    ):
        record, config = site.make(name, **changed)
        found = expect_on_nodes(record, on_gpus(config, "h200"), site.shared)
        assert found == Warmth(compiled=False, uncompiled=True), name


def test_other_software_is_not_expected_to_be_warm(site: Site) -> None:
    site.start_engine("n1", compiles=True)
    for manifest in site.shared.rglob("*.json"):
        value = json.loads(manifest.read_text())
        value["key"]["torch"] = "1.0"
        manifest.write_text(json.dumps(value))
    assert expect_on_nodes(site.record, site.asking("h200"), site.shared) == COLD


def test_of_software_in_a_container_nothing_is_known(site: Site) -> None:
    site.start_engine("n1", compiles=True)
    record, config = site.make("boxed", resources={"container": ["box", "run"]})
    assert expect_on_nodes(record, on_gpus(config, "h200"), site.shared) == COLD
    assert expect_here(record, config, site.shared) == COLD


def test_a_damaged_manifest_is_nothing(site: Site) -> None:
    site.start_engine("n1", compiles=True)
    for manifest in site.shared.rglob("*.json"):
        manifest.write_text('{"key": 1}')
    assert expect_on_nodes(site.record, site.asking("h200"), site.shared) == COLD


def start_here(
    record: RunRecord, config: RunConfig, shared: Path | None, start_s: float | None = None
) -> str:
    """A start on this machine, whatever it has to compile for."""
    scratch = scratch_folder(config.resources.scratch_dir, {})
    folders = {**cache_layers.FOLDERS[cache_layers.KERNELS], **cache_layers.FOLDERS[cache_layers.GRAPHS]}
    own = own_variables(scratch, {name: str(scratch / "caches" / at) for name, at in folders.items()})
    caches = NodeCaches(
        scratch, cache_layers.cache_layers(record, config.engine, own), shared, lambda *_, **__: None
    )
    caches.wait(0)
    caches.seed()
    caches.ready(start_s)
    caches.finish(threading.Event())
    caches.close()
    return caches.state


@pytest.mark.parametrize("shares", [False, True])
def test_a_machine_knows_its_own_and_what_is_shared(
    site: Site, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    shared = site.shared if shares else None
    assert expect_here(site.record, site.config, shared) == COLD
    assert start_here(site.record, site.config, shared) == "compiles"
    assert expect_here(site.record, site.config, shared) == ALL
    if shared is not None:
        assert expect_on_nodes(site.record, site.asking(None, gpus=0), shared) == ALL, "nodes of such CPUs"
        assert expect_on_nodes(site.record, site.asking("h200"), shared) == COLD
    record, config = site.make("other", engine={"max_model_len": 256})
    assert expect_here(record, config, shared).compiled is False
    moved = config.resources.model_copy(update={"scratch_dir": site.root / "elsewhere"})
    same = site.config.model_copy(update={"resources": moved})
    assert expect_here(site.record, same, shared) == (ALL if shares else COLD)


def test_what_a_user_keeps_elsewhere_is_not_expected(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    start_here(site.record, site.config, None)
    for name in cache_layers.FOLDERS[cache_layers.GRAPHS]:
        monkeypatch.setenv(name, "/elsewhere")
    assert expect_here(site.record, site.config, None) == Warmth(compiled=False, uncompiled=True)


def test_what_the_next_engine_will_remove_is_not_expected(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of before the machine was started anew."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    start_here(site.record, site.config, None)
    assert expect_here(site.record, site.config, None) == ALL
    mark = scratch_folder(site.config.resources.scratch_dir, {}) / "caches" / BOOT_MARK
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "boot": "an earlier one"}))
    assert expect_here(site.record, site.config, None) == COLD


@pytest.mark.parametrize("compiles", [True, False])
def test_what_starts_took_on_nodes_is_known_of_their_kind(site: Site, compiles: bool) -> None:
    site.start_engine("n0", compiles=compiles, start_s=200.0)
    before = expect_on_nodes(site.record, site.asking("h200"), site.shared)
    assert before.starts_of(compiles) is None, "no warm one"
    for number, start_s in enumerate((60.0, 61.0, 62.0)):
        site.start_engine(f"n{number + 1}", compiles=compiles, start_s=start_s)
    found = expect_on_nodes(site.record, site.asking("h200"), site.shared)
    assert found.of(compiles) and of(found.starts_of(compiles)) == [60.0, 61.0, 62.0]
    assert found.starts_of(not compiles) is None
    assert expect_on_nodes(site.record, site.asking(None), site.shared) == found
    assert expect_on_nodes(site.record, site.asking("h100"), site.shared) == COLD
    assert expect_on_nodes(site.record, site.asking("h200"), None) == COLD


def test_starts_under_any_driver_count_where_it_is_not_known(site: Site) -> None:
    for driver in ("570.1", "580.1"):
        for start_s in (200.0, 60.0, 61.0):
            site.start_engine(f"n{driver}", compiles=True, start_s=start_s, driver=driver)
    found = expect_on_nodes(site.record, site.asking("h200"), site.shared)
    assert of(found.compiled_starts) == [60.0, 60.0, 61.0, 61.0]


def test_starts_of_another_model_shape_or_software_do_not_count(site: Site) -> None:
    for number in range(4):
        site.start_engine(f"n{number}", compiles=True, start_s=60.0)
    record, config = site.make("longer", engine={"max_model_len": 256})
    assert expect_on_nodes(record, on_gpus(config, "h200"), site.shared).compiled_starts is None
    for manifest in site.shared.rglob("*.json"):
        value = json.loads(manifest.read_text())
        value["key"]["torch"] = "1.0"
        manifest.write_text(json.dumps(value))
    assert expect_on_nodes(site.record, site.asking("h200"), site.shared) == COLD


@pytest.mark.parametrize("shares", [False, True])
def test_a_machine_knows_what_its_starts_took(
    site: Site, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    shared = site.shared if shares else None
    start_here(site.record, site.config, shared, 200.0)
    assert expect_here(site.record, site.config, shared) == ALL, "no warm one"
    start_here(site.record, site.config, shared, 61.0)
    known = EarlierStarts((61.0,))
    assert expect_here(site.record, site.config, shared) == Warmth(True, True, known, known)
    record, config = site.make("other", engine={"max_model_len": 256})
    assert expect_here(record, config, shared).compiled_starts is None
    mark = scratch_folder(site.config.resources.scratch_dir, {}) / "caches" / BOOT_MARK
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "boot": "an earlier one"}))
    after = expect_here(site.record, site.config, shared).compiled_starts
    assert after == (known if shares else None), "the next engine removes what lies here"
