"""The environment of an engine process and of vLLM's own children: one table, a reason per variable.

What the user has set of vLLM's, Hugging Face's and the caches' variables wins; what must not be left as it is
(a port as a URI, AMD's device list beside CUDA's) is dropped. Source of the vLLM variables: vllm/envs.py.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.errors import NodeError
from launch.worker.devices import split_ids
from launch.worker.exclusion import node_name

SOCKET_PATH_LIMIT = 107
"""Bytes of a Unix socket's path on Linux (sun_path without its end mark)."""
SOCKET_NAME_BYTES = 37
"""A slash and the uuid that vLLM names its sockets with."""
_USER_PREFIXES = (
    *("VLLM_", "HF_", "TRANSFORMERS_", "TORCH", "TRITON_"),
    *("FLASHINFER_", "NCCL_", "OMP_", "CUDA_"),
)
_SECRET_WORDS = ("TOKEN", "KEY", "SECRET", "PASSWORD")

# (variable, value, why)
_ALWAYS = (
    ("VLLM_USE_FLASHINFER_SAMPLER", "0", "requests with seeds never take it, and it is built for 80 s"),
    ("VLLM_NO_USAGE_STATS", "1", "nothing is reported to anyone"),
    ("DO_NOT_TRACK", "1", "the same, as other libraries read it"),
    ("HF_HUB_OFFLINE", "1", "a checkpoint is a directory; a node without network must not wait for one"),
    ("TRANSFORMERS_OFFLINE", "1", "the same, for transformers"),
    ("TOKENIZERS_PARALLELISM", "false", "one thread tokenises; its pool and spawned children do not mix"),
    ("VLLM_HOST_IP", "127.0.0.1", "one node; vLLM would look for a route to 8.8.8.8"),
    ("VLLM_LOGGING_COLOR", "0", "logs are files"),
    ("VLLM_DISABLE_LOG_LOGO", "1", "logs are files"),
    ("PYTHONUNBUFFERED", "1", "the last lines before a kill are the ones that are needed"),
)
_CACHES = (
    ("VLLM_CACHE_ROOT", "vllm", "torch.compile graphs and model facts; shared folders break between nodes"),
    ("TORCHINDUCTOR_CACHE_DIR", "inductor", "compiled kernels, locked per file"),
    ("TRITON_CACHE_DIR", "triton", "compiled kernels, locked per file"),
    ("FLASHINFER_WORKSPACE_BASE", "flashinfer", "compiled kernels"),
    ("DG_JIT_CACHE_DIR", "deep_gemm", "compiled kernels"),
    ("HF_MODULES_CACHE", "hf_modules", "code of a checkpoint that is trusted, copied to be imported"),
    ("CUDA_CACHE_PATH", "cuda", "compiled kernels of the driver"),
)


@dataclass(frozen=True, slots=True)
class EngineEnvironment:
    """`variables` is the whole environment for a child; `report` what to record of it, secrets left out.

    `folders` have to exist before the child starts: `make_folders`.
    """

    variables: dict[str, str]
    report: dict[str, dict[str, str]]
    folders: tuple[Path, ...]

    def make_folders(self) -> None:
        """Creates the temporary and cache folders for their owner only; NodeError when that fails."""
        for folder in self.folders:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                is_own = folder.stat().st_uid == os.getuid()
            except OSError as error:
                raise NodeError(
                    f"node {node_name()}: {folder}: cannot be made: {error.strerror}. Free space there, or"
                    " set resources.scratch_dir to a folder that every node can write."
                ) from error
            if not is_own:
                raise NodeError(
                    f"node {node_name()}: {folder}: is another user's. Set resources.scratch_dir to your own."
                )


def engine_environment(
    base: Mapping[str, str],
    *,
    slot_gpus: Sequence[str] | None,
    scratch: Path,
    cpu_threads: int | None = None,
    bytecode: Path | None = None,
) -> EngineEnvironment:
    """The environment of one slot's engine process, made of `base`, which is left as it is.

    `slot_gpus` are the slot's own out of the task's visible GPUs (None: all that are visible), `scratch` a
    node-local folder of the user, `cpu_threads` how many threads each of an engine's workers computes with on
    a CPU (None: they compute on GPUs). In `bytecode` Python keeps compiled modules (None: where it would by
    itself).
    """
    wanted = {name: value for name, value, _ in _ALWAYS}
    wanted |= {name: str(scratch / "caches" / folder) for name, folder, _ in _CACHES}
    # A fork has all that the engine process imported, which takes a spawned core as long again. What it must
    # not have is seen to in forked.py. On a CPU vLLM spawns whatever is asked for.
    wanted["VLLM_WORKER_MULTIPROC_METHOD"] = "fork" if cpu_threads is None else "spawn"
    if cpu_threads is not None:
        wanted |= _cpu_variables(cpu_threads)
    defaults = {name: value for name, value in wanted.items() if name not in base}
    forced = _forced(base, slot_gpus, socket_folder(scratch))
    if bytecode is not None:
        forced["PYTHONPYCACHEPREFIX"] = str(bytecode)
    dropped = _dropped(base, forced)
    variables = {name: value for name, value in base.items() if name not in dropped} | defaults | forced
    report = {"set": defaults | forced, "dropped": dropped, "kept": _users_own(base, forced, dropped)}
    report = {kind: _written(values) for kind, values in report.items()}
    made = {*forced.values(), *defaults.values()}
    names = ("TMPDIR", "PYTHONPYCACHEPREFIX", *(name for name, _, _ in _CACHES))
    folders = (scratch, *(Path(variables[name]) for name in names if variables.get(name) in made))
    return EngineEnvironment(variables, report, folders)


def socket_folder(scratch: Path) -> Path:
    """The folder for temporary files and sockets: in `scratch`, or under /tmp where its path is too long."""
    folder = scratch / "tmp"
    if len(os.fsencode(folder)) + SOCKET_NAME_BYTES <= SOCKET_PATH_LIMIT:
        return folder
    digest = hashlib.blake2b(os.fsencode(scratch), digest_size=6).hexdigest()
    return Path(f"/tmp/vllm-launch-{os.getuid()}-{digest}")


def vllm_threads(num_cpus: int) -> int:
    """Threads of vLLM's workers: one core is left to engine core and engine process.

    Threads that wait spin (measured on two cores). The transformers engine computes in the engine process
    itself and gets every core.
    """
    return max(1, num_cpus - 1)


def _cpu_variables(num_threads: int) -> dict[str, str]:
    return {
        # "auto" wants a NUMA node per rank, and cores named here could be another task's.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(num_threads),
    }


def _forced(base: Mapping[str, str], slot_gpus: Sequence[str] | None, folder: Path) -> dict[str, str]:
    forced = {"TMPDIR": str(folder)}
    if "VLLM_RPC_BASE_PATH" not in base or _is_too_long(base["VLLM_RPC_BASE_PATH"]):
        forced["VLLM_RPC_BASE_PATH"] = str(folder)
    if slot_gpus is not None:
        visible = base.get("CUDA_VISIBLE_DEVICES")
        outside = set(slot_gpus) - set(split_ids(visible)) if visible is not None else set()
        assert not outside, f"CUDA_VISIBLE_DEVICES is {visible}: a slot cannot have {sorted(outside)}"
        forced["CUDA_VISIBLE_DEVICES"] = ",".join(slot_gpus)
    return forced


def _is_too_long(folder: str) -> bool:
    return len(os.fsencode(folder)) + SOCKET_NAME_BYTES > SOCKET_PATH_LIMIT


def _dropped(base: Mapping[str, str], forced: Mapping[str, str]) -> dict[str, str]:
    dropped = {}
    if "ROCR_VISIBLE_DEVICES" in base and "CUDA_VISIBLE_DEVICES" in {**base, **forced}:
        dropped["ROCR_VISIBLE_DEVICES"] = base["ROCR_VISIBLE_DEVICES"]  # Slurm sets both; some refuse both
    if not base.get("VLLM_PORT", "0").isdigit():
        dropped["VLLM_PORT"] = base["VLLM_PORT"]  # Kubernetes makes it a URI, which vLLM refuses
    if "PYTHONPYCACHEPREFIX" in forced and "PYTHONDONTWRITEBYTECODE" in base:
        dropped["PYTHONDONTWRITEBYTECODE"] = base["PYTHONDONTWRITEBYTECODE"]  # it may, in our folder
    return dropped


def _users_own(
    base: Mapping[str, str], forced: Mapping[str, str], dropped: Mapping[str, str]
) -> dict[str, str]:
    own = {
        name: value
        for name, value in base.items()
        if name.startswith(_USER_PREFIXES) and name not in forced and name not in dropped
    }
    secret = {name for name in own if any(word in name for word in _SECRET_WORDS)}
    return {name: "(set)" if name in secret else value for name, value in sorted(own.items())}


def _written(values: Mapping[str, str]) -> dict[str, str]:
    """As JSON can hold them: bytes that are no UTF-8 stand as Python has them, `\\udcff`."""
    return {_as_utf8(name): _as_utf8(value) for name, value in values.items()}


def _as_utf8(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
