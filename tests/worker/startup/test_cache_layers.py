"""What has to be the same for a cache to be of use, and what may differ."""

from pathlib import Path

import pytest

from launch.config.schema import EngineConfig
from launch.rundir.records import RunRecord, load_run
from launch.worker.environment import engine_environment
from launch.worker.startup.cache_layers import FOLDERS, GRAPHS, KERNELS, cache_layers
from tests.runs import make_run

OWN = {variable: "x" for folders in FOLDERS.values() for variable in folders}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """A run's record."""
    return load_run(make_run(tmp_path_factory.mktemp("layers")))


def folders(record: RunRecord, **engine: object) -> dict[str, str]:
    """The directory of each layer."""
    settings = EngineConfig.model_validate(engine)
    return {layer.name: layer.folder for layer in cache_layers(record, settings, OWN)}


def test_the_same_gives_the_same_and_every_variable_has_a_place(record: RunRecord):
    assert folders(record) == folders(record)
    assert [layer.name for layer in cache_layers(record, EngineConfig(), OWN)] == [KERNELS, GRAPHS]


@pytest.mark.parametrize(
    "engine",
    [
        {"tensor_parallel_size": 2},
        {"max_num_seqs": 8},
        {"max_num_batched_tokens": 512},
        {"max_model_len": 512},
        {"enforce_eager": True},
        {"torch_compile": False},
        {"batch_invariant": True},
    ],
)
def test_what_shapes_compilation_changes_the_graphs_alone(record: RunRecord, engine: dict[str, object]):
    before, after = folders(record), folders(record, **engine)
    assert before[KERNELS] == after[KERNELS]
    assert before[GRAPHS] != after[GRAPHS]


@pytest.mark.parametrize(
    ("engine", "awaited"),
    [
        ({}, [KERNELS, GRAPHS]),
        ({"enforce_eager": False}, [KERNELS, GRAPHS]),
        ({"torch_compile": True}, [KERNELS, GRAPHS]),
        ({"enforce_eager": True}, [KERNELS]),
        ({"torch_compile": False}, [KERNELS]),
    ],
)
def test_an_engine_that_does_not_compile_waits_for_no_graphs(record: RunRecord, engine, awaited):
    layers = cache_layers(record, EngineConfig(**engine), OWN)
    assert [layer.name for layer in layers if layer.is_awaited] == awaited


def test_what_does_not_shape_it_changes_nothing(record: RunRecord):
    assert folders(record) == folders(
        record, gpu_memory_utilization=0.5, start_timeout_s=60, engines_per_node=4
    )


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint": {"files": {"config.json": "another", "model.safetensors": "same"}}},
        {"checkpoint": {"adapter_rank": 16}},
        {"model": {"dtype": "float16"}},
        {"model": {"quantization": "fp8"}},
        {"model": {"kv_cache_dtype": "fp8"}},
    ],
)
def test_the_model_changes_the_graphs(record: RunRecord, change: dict[str, dict[str, object]]):
    ((section, values),) = change.items()
    other = record.model_copy(update={section: getattr(record, section).model_copy(update=values)})
    assert folders(record)[KERNELS] == folders(other)[KERNELS]
    assert folders(record)[GRAPHS] != folders(other)[GRAPHS]


def test_weights_do_not(record: RunRecord):
    files = {
        name: "another" if name.endswith(".safetensors") else digest
        for name, digest in record.checkpoint.files.items()
    }
    other = record.model_copy(update={"checkpoint": record.checkpoint.model_copy(update={"files": files})})
    assert files != record.checkpoint.files
    assert folders(record) == folders(other)


def test_software_and_device_change_both(record: RunRecord, monkeypatch: pytest.MonkeyPatch):
    before = folders(record)
    module = "launch.worker.startup.cache_layers"
    monkeypatch.setattr(f"{module}.visible_gpus", lambda: ["0"])
    gpu = {"device": "NVIDIA H200", "compute_capability": "9.0", "driver": "580.1"}
    monkeypatch.setattr(f"{module}.describe_compiler_target", lambda _: gpu)
    on_gpu = folders(record)
    gpu["driver"] = "590.2"
    newer_driver = folders(record)
    monkeypatch.setattr(f"{module}.importlib.metadata.version", lambda name: f"{name} 9")
    newer_software = folders(record)
    for layer in (KERNELS, GRAPHS):
        assert len({each[layer] for each in (before, on_gpu, newer_driver, newer_software)}) == 4


def test_a_variable_of_the_users_own_is_in_no_layer(record: RunRecord):
    (layer,) = cache_layers(record, EngineConfig(), {"VLLM_CACHE_ROOT": "x"})
    assert (layer.name, layer.folders) == (GRAPHS, {"VLLM_CACHE_ROOT": "vllm"})
    assert cache_layers(record, EngineConfig(), {}) == []


def test_the_table_of_the_environment_names_the_same_folders():
    made = engine_environment({}, slot_gpus=None, scratch=Path("/s")).variables
    assert {name for name, value in made.items() if value.startswith("/s/caches/")} - OWN.keys() == {
        "HF_MODULES_CACHE"
    }
    for layer in FOLDERS.values():
        assert {variable: f"/s/caches/{folder}" for variable, folder in layer.items()}.items() <= made.items()
