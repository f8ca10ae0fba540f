"""The numbers of config.json that say how much memory a model takes and how it can be split over GPUs.

Names and rules are those that vLLM reads (vllm/transformers_utils/model_arch_config_convertor.py and
_get_and_verify_max_len in vllm/config/model.py). What is not plain attention over all tokens in every layer
is not computed: `unknown_kv` says why, and nobody guesses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Dense decoders whose parameters `count_parameters` can count from config.json alone.
LLAMA_LIKE = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}
WITH_QKV_BIAS = {"Qwen2ForCausalLM"}

_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEADS = ("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HIDDEN = ("hidden_size", "n_embd", "d_model")
_LENGTHS = (
    *("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length"),
    *("max_target_positions", "max_sequence_length", "max_seq_length", "seq_len"),
)
# RoPE types whose max_position_embeddings is already the scaled one.
_ALREADY_SCALED = {"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "default"}
_STATE_SPACE = ("mamba", "ssm_", "linear_attn", "linear_conv", "hybrid_override_pattern", "attn_layer_period")
_EXPERTS = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A model's shape; None where config.json does not say.

    `max_model_len` is the longest that vLLM accepts, `unknown_kv` why the size of its KV cache cannot be told
    (None: it can), `is_dense` whether every layer has one plain MLP, `dtype` that of the weights.
    """

    architecture: str | None
    num_layers: int | None
    num_heads: int | None
    num_kv_heads: int | None
    head_dim: int | None
    hidden_size: int | None
    intermediate_size: int | None
    vocab_size: int | None
    max_model_len: int | None
    dtype: str | None
    tied_embeddings: bool
    is_dense: bool
    unknown_kv: str | None

    def tensor_parallel_sizes(self, limit: int) -> tuple[int, ...]:
        """Sizes up to `limit` over which the model can be split; none when its heads are not known."""
        return tuple(size for size in range(1, limit + 1) if self.num_heads and not self.undivided(size))

    def undivided(self, size: int) -> str | None:
        """What `size` GPUs cannot share, in words; None when they can, as far as one can tell."""
        if self.num_heads is None:
            return None
        if self.num_heads % size:
            return f"{self.num_heads} attention heads"
        if self.unknown_kv is not None:
            return None
        kv = self.num_kv_heads
        if kv is not None and kv % size and size % kv:
            return f"{kv} KV heads"
        if self.is_dense and self.intermediate_size is not None and self.intermediate_size % size:
            return f"an MLP of width {self.intermediate_size}"
        return None


def read_shape(config: Mapping[str, Any], architecture: str | None) -> ModelShape:
    """The shape that config.json tells, of the text model where it is a multimodal one."""
    nested = config.get("text_config")
    text = {**config, **nested} if isinstance(nested, Mapping) else config
    heads, hidden = _first(text, _HEADS), _first(text, _HIDDEN)
    head_dim = positive(text.get("head_dim"))
    if head_dim is None and heads and hidden:
        head_dim = hidden // heads
    return ModelShape(
        architecture=architecture,
        num_layers=_first(text, _LAYERS),
        num_heads=heads,
        num_kv_heads=_first(text, _KV_HEADS) or heads,
        head_dim=head_dim,
        hidden_size=hidden,
        intermediate_size=positive(text.get("intermediate_size")),
        vocab_size=positive(text.get("vocab_size")),
        max_model_len=_max_model_len(text),
        dtype=_dtype(text),
        tied_embeddings=bool(text.get("tie_word_embeddings", False)),
        is_dense=not any(text.get(name) for name in _EXPERTS),
        unknown_kv=_unknown_kv(text),
    )


def count_parameters(shape: ModelShape) -> int | None:
    """Parameters of a dense decoder of Llama's kind, from its shape alone; None for any other."""
    sizes = (shape.num_layers, shape.hidden_size, shape.intermediate_size, shape.vocab_size, shape.head_dim)
    if shape.architecture not in LLAMA_LIKE or shape.num_heads is None or shape.num_kv_heads is None:
        return None
    if any(size is None for size in sizes):
        return None
    layers, hidden, inner, vocab, head_dim = (size or 0 for size in sizes)
    q, kv = shape.num_heads * head_dim, shape.num_kv_heads * head_dim
    bias = q + 2 * kv if shape.architecture in WITH_QKV_BIAS else 0
    norms = 2 * hidden + (2 * head_dim if shape.architecture == "Qwen3ForCausalLM" else 0)
    layer = 2 * hidden * q + 2 * hidden * kv + bias + 3 * hidden * inner + norms
    return (1 if shape.tied_embeddings else 2) * vocab * hidden + layers * layer + hidden


def _max_model_len(text: Mapping[str, Any]) -> int | None:
    lengths = [length for name in _LENGTHS if (length := positive(text.get(name))) is not None]
    own = positive(text.get("model_max_length"))
    if not lengths:
        return None
    longest = min(lengths) if own is None else own
    scaled = 1.0 if "gemma3" in str(text.get("model_type")) else _rope_factor(text)
    return max(int(longest * scaled), own or 0, _yarn_length(text))


def _rope_factor(text: Mapping[str, Any]) -> float:
    """How much RoPE scaling lengthens the model; rope_parameters is the newer name of rope_scaling."""
    for name in ("rope_parameters", "rope_scaling"):
        rope = text.get(name)
        if isinstance(rope, Mapping):
            kind = rope.get("rope_type", rope.get("type", "default"))
            factor = rope.get("factor")
            if kind not in _ALREADY_SCALED and isinstance(factor, int | float):
                return float(factor)
    return 1.0


def _yarn_length(text: Mapping[str, Any]) -> int:
    """What older vLLM versions allow with YaRN; newer ones take max_position_embeddings as scaled already."""
    rope = text.get("rope_parameters") or text.get("rope_scaling")
    if not isinstance(rope, Mapping) or "yarn" not in str(rope.get("rope_type", rope.get("type"))):
        return 0
    original, factor = positive(rope.get("original_max_position_embeddings")), rope.get("factor")
    return int(original * factor) if original and isinstance(factor, int | float) else 0


def _dtype(text: Mapping[str, Any]) -> str | None:
    value = text.get("dtype", text.get("torch_dtype"))
    return value.removeprefix("torch.") if isinstance(value, str) else None


def _unknown_kv(text: Mapping[str, Any]) -> str | None:
    if text.get("kv_lora_rank"):
        return "multi-head latent attention (kv_lora_rank)"
    if text.get("sliding_window") and text.get("use_sliding_window", True):
        return f"a sliding window of {text['sliding_window']} tokens"
    return _mixed_layers(text) or _odd_heads(text)


def _mixed_layers(text: Mapping[str, Any]) -> str | None:
    for name in text:
        if name.startswith(_STATE_SPACE):
            return f"state-space or linear attention layers ({name})"
    kinds = text.get("layer_types") or text.get("layers_block_type")
    if isinstance(kinds, Sequence) and any(kind not in ("full_attention", "attention") for kind in kinds):
        return f"layers of several kinds ({', '.join(sorted({str(kind) for kind in kinds}))})"
    for name in ("num_kv_shared_layers", "attention_chunk_size", "block_configs", "cross_attention_layers"):
        if text.get(name):
            return f"layers that differ ({name})"
    return "an encoder and a decoder" if text.get("is_encoder_decoder") else None


def _odd_heads(text: Mapping[str, Any]) -> str | None:
    if text.get("multi_query") or isinstance(text.get("attn_config"), Mapping):
        return "KV heads that config.json tells in a form of its own"
    if any(isinstance(text.get(name), list) for name in (*_KV_HEADS, *_HEADS)):
        return "heads that differ from layer to layer"
    return None


def _first(text: Mapping[str, Any], names: Sequence[str]) -> int | None:
    return next((number for name in names if (number := positive(text.get(name))) is not None), None)


def positive(value: Any) -> int | None:
    """`value` where it is a whole number above 0, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
