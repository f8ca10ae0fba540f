"""The environment of an engine process."""

import os
from pathlib import Path

import pytest

from launch.errors import NodeError
from launch.rundir.records import load_run, load_submission, run_config
from launch.worker import slot_environment as slot_module
from launch.worker.environment import SOCKET_PATH_LIMIT, engine_environment, socket_folder, vllm_threads
from launch.worker.slot_environment import slot_environment
from tests.worker.build_run import build_run


def make(base, scratch=Path("/scratch/u"), *, slot_gpus=None, **asked):
    """The environment for a base, on a GPU unless said otherwise."""
    return engine_environment(base, slot_gpus=slot_gpus, scratch=scratch, **asked)


def test_defaults_are_set_and_recorded():
    made = make({"PATH": "/bin"})
    assert made.variables["HF_HUB_OFFLINE"] == made.variables["VLLM_NO_USAGE_STATS"] == "1"
    assert made.variables["VLLM_CACHE_ROOT"] == "/scratch/u/caches/vllm"
    assert made.variables["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    assert made.variables["PATH"] == "/bin"
    assert {"PATH": "/bin"} | made.report["set"] == made.variables
    assert "OMP_NUM_THREADS" not in made.variables


@pytest.mark.parametrize(("cpu_threads", "method"), [(1, "spawn"), (None, "fork")])
def test_a_core_is_forked_beside_a_gpu_unless_the_user_says_otherwise(cpu_threads, method):
    assert make({}, cpu_threads=cpu_threads).variables["VLLM_WORKER_MULTIPROC_METHOD"] == method
    own = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"}
    assert make(own, cpu_threads=cpu_threads).variables["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"


def test_the_users_own_win_and_are_recorded_without_secrets():
    base = {"VLLM_CACHE_ROOT": "/mine", "HF_TOKEN": "hf_abc", "HF_HUB_OFFLINE": "0", "HOME": "/h"}
    made = make(base)
    assert {name: made.variables[name] for name in base} == base
    assert made.report["kept"] == {"VLLM_CACHE_ROOT": "/mine", "HF_TOKEN": "(set)", "HF_HUB_OFFLINE": "0"}
    assert Path("/mine") not in made.folders


def test_what_is_recorded_is_utf8():
    path = os.fsdecode(b"/data/caf\xe9")
    made = make({"HF_HOME": path})
    assert made.variables["HF_HOME"] == path
    assert made.report["kept"] == {"HF_HOME": "/data/caf\\udce9"}


def test_base_is_left_alone():
    base = {"VLLM_PORT": "tcp://10.0.0.1:80"}
    make(base)
    assert base == {"VLLM_PORT": "tcp://10.0.0.1:80"}


@pytest.mark.parametrize(("port", "kept"), [("tcp://10.0.0.1:8000", False), ("8000", True)])
def test_a_port_as_uri_is_dropped(port, kept):
    made = make({"VLLM_PORT": port})
    assert ("VLLM_PORT" in made.variables) is kept
    assert made.report["dropped"] == ({} if kept else {"VLLM_PORT": port})


@pytest.mark.parametrize(
    ("base", "slot_gpus", "dropped"),
    [
        ({"ROCR_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "0"}, None, True),
        ({"ROCR_VISIBLE_DEVICES": "0"}, ["0"], True),
        ({"ROCR_VISIBLE_DEVICES": "0"}, None, False),
    ],
)
def test_amds_list_goes_where_cudas_is(base, slot_gpus, dropped):
    assert ("ROCR_VISIBLE_DEVICES" not in make(base, slot_gpus=slot_gpus).variables) is dropped


def test_a_slot_gets_its_own_of_the_visible_gpus():
    base = {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}
    assert make(base).variables["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
    assert make(base, slot_gpus=["GPU-b"]).variables["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    blank = {"CUDA_VISIBLE_DEVICES": "0, 1"}
    assert make(blank, slot_gpus=["1"]).variables["CUDA_VISIBLE_DEVICES"] == "1"
    with pytest.raises(AssertionError, match="GPU-c"):
        make(base, slot_gpus=["GPU-c"])


def test_a_cpu_engine_leaves_a_core_to_the_processes_that_feed_it():
    assert make({}, cpu_threads=4).variables["OMP_NUM_THREADS"] == "4"
    assert (vllm_threads(1), vllm_threads(2), vllm_threads(9)) == (1, 1, 8)
    assert make({}, cpu_threads=4).variables["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert make({"OMP_NUM_THREADS": "7"}, cpu_threads=4).variables["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize(
    ("size", "engine", "threads"), [(1, "vllm", 7), (2, "vllm", 3), (1, "transformers", 8)]
)
def test_the_workers_of_an_engine_share_the_cores_of_its_slot(monkeypatch, tmp_path, size, engine, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    run = build_run(tmp_path, model={"engine": engine}, engine={"tensor_parallel_size": size})
    config = run_config(load_run(run), load_submission(run, 1))
    on_cpu = slot_environment(config, 0, None, [], {}).variables
    assert on_cpu["OMP_NUM_THREADS"] == str(threads)
    assert "OMP_NUM_THREADS" not in slot_environment(config, 0, ("0",), ["0"], {}).variables


def test_python_keeps_compiled_modules_on_the_node_only_where_its_packages_can_be_looked_at(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(
        *(slot_module, "bytecode_folder"),
        lambda base, scratch: scratch / "bytecode" if "PYTHONDONTWRITEBYTECODE" in base else None,
    )
    told = {"PYTHONDONTWRITEBYTECODE": "1"}
    run = build_run(tmp_path)
    config = run_config(load_run(run), load_submission(run, 1))
    made = slot_environment(config, 0, None, [], told)
    assert made.report["set"]["PYTHONPYCACHEPREFIX"].endswith("/bytecode")
    assert "PYTHONPYCACHEPREFIX" not in slot_environment(config, 0, None, [], {}).variables
    contained = config.model_copy(
        update={
            "resources": config.resources.model_copy(update={"container": ("apptainer", "exec", "x.sif")})
        }
    )
    assert told.items() <= slot_environment(contained, 0, None, [], told).variables.items()


def test_sockets_fit_their_limit_however_long_scratch_is():
    for scratch in (Path("/s"), Path("/s/" + "长" * 40), Path("/scratch/" + "x" * 300)):
        made = make({"VLLM_RPC_BASE_PATH": "/" + "y" * 90}, scratch)
        for name in ("TMPDIR", "VLLM_RPC_BASE_PATH"):
            assert len((made.variables[name] + "/" + "0" * 36).encode()) <= SOCKET_PATH_LIMIT
    assert socket_folder(Path("/s")) == Path("/s/tmp")
    assert socket_folder(Path("/" + "x" * 99)) != socket_folder(Path("/" + "y" * 99))


def test_folders_are_made_for_their_owner(tmp_path, monkeypatch):
    made = make({}, tmp_path / "scratch")
    made.make_folders()
    assert (tmp_path / "scratch" / "caches" / "triton").is_dir()
    assert Path(made.variables["TMPDIR"]).stat().st_mode & 0o777 == 0o700
    made.make_folders()
    monkeypatch.setattr("os.getuid", lambda: 12345)
    with pytest.raises(NodeError, match="is another user's"):
        made.make_folders()


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives a folder to another user")
def test_another_users_folder_is_not_written_to(tmp_path):
    """Who made it beforehand could replace what is in it, compiled modules among them."""
    scratch = tmp_path / "vllm-launch-0"
    scratch.mkdir()
    scratch.chmod(0o777)
    os.chown(scratch, 12345, 12345)
    with pytest.raises(NodeError, match="vllm-launch-0: is another user's"):
        make({}, scratch).make_folders()
    assert not list(scratch.iterdir())
