"""Whether the tensors of a checkpoint are those that config.json speaks of: names and shapes, from headers.

vLLM 0.32.0 generates without a word from a checkpoint that lacks a k_proj, an up_proj or a down_proj, and
from one with more KV heads than config.json says; transformers makes up what is missing: worthless texts.

Only dense decoders whose layers are all alike are looked at, and of them only what config.json says outright:
an objection is certain. What is unknown here is passed over: tensors of other names, other architectures, and
of quantised weights everything but the number of layers.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.model.shape import positive
from launch.model.weights import list_names, read_safetensors_header

# Architectures whose layers are all alike and whose tensors have the names below (transformers 4 and 5).
HEAD_DIM_IS_DERIVED = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Phi3ForCausalLM"}
ALWAYS_TIED = {"GemmaForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM"}  # in vLLM, whatever is asked
ARCHITECTURES = {*HEAD_DIM_IS_DERIVED, *ALWAYS_TIED, "Qwen3ForCausalLM"}

PLAIN = {"F64", "F32", "F16", "BF16"}
LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
HIDDEN, INNER, HEAD, VOCAB = "hidden_size", "intermediate_size", "head_dim", "vocab_size"
Q, KV = "num_attention_heads x head_dim", "num_key_value_heads x head_dim"
QKV, GATE_UP = f"{Q} + 2 x {KV}", f"2 x {INNER}"
# Rows and columns of each matrix of a layer; a norm has one dimension, and a bias the rows of its matrix.
PARTS: dict[str, tuple[str, ...]] = {
    "self_attn.q_proj": (Q, HIDDEN),
    "self_attn.k_proj": (KV, HIDDEN),
    "self_attn.v_proj": (KV, HIDDEN),
    "self_attn.qkv_proj": (QKV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, Q),
    "self_attn.q_norm": (HEAD,),
    "self_attn.k_norm": (HEAD,),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.gate_up_proj": (GATE_UP, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
    "input_layernorm": (HIDDEN,),
    "post_attention_layernorm": (HIDDEN,),
    "pre_feedforward_layernorm": (HIDDEN,),
    "post_feedforward_layernorm": (HIDDEN,),
}
EMBEDDINGS, NORM, HEAD_WEIGHT = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"


@dataclass(frozen=True, slots=True)
class Objection:
    """What does not agree, to be read after "the weights"; `is_surplus`: there are more layers than that."""

    message: str
    is_surplus: bool = False


@dataclass(frozen=True, slots=True)
class Tensors:
    """The dtype and shape of each tensor by name, and of which layers `model.layers.<i>` there are any."""

    dtypes: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def layers(self) -> set[int]:
        """Numbers of the layers that have any known part, however it is stored."""
        found = (re.match(r"model\.layers\.(\d+)\.", name) for name in self.shapes)
        return {int(match[1]) for match in found if match}

    @property
    def are_plain(self) -> bool:
        """Whether every tensor is of floats of two bytes or more."""
        return PLAIN.issuperset(self.dtypes.values())


def read_tensors(files: Iterable[Path]) -> Tensors | None:
    """The tensors of weight files that find_weights let pass; None where not all are safetensors."""
    dtypes, shapes = {}, {}
    for file in files:
        if file.suffix != ".safetensors":
            return None
        for name, tensor in read_safetensors_header(file).items():
            dtypes[name], shapes[name] = str(tensor["dtype"]), tuple(tensor["shape"])
    return Tensors(dtypes, shapes)


def find_objections(
    config: Mapping[str, Any], architecture: str | None, tensors: Tensors, *, quantized: bool
) -> Iterator[Objection]:
    """What in `tensors` does not agree with config.json, the gravest first; only what is certain."""
    num_layers, layers = positive(config.get("num_hidden_layers")), tensors.layers
    if architecture not in ARCHITECTURES or not num_layers or not layers:
        return
    absent = [f"model.layers.{number}" for number in range(num_layers) if number not in layers]
    surplus = [f"model.layers.{number}" for number in sorted(layers) if number >= num_layers]
    said = f"and config.json has num_hidden_layers {num_layers}"
    if absent:
        yield Objection(f"lack {list_names(absent)}, {said}")
    if surplus:
        yield Objection(f"have {list_names(surplus)}, {said}", True)
    if absent or quantized or not tensors.are_plain:
        return
    missing = [*_missing_around(config, architecture, tensors), *_missing_in_layers(num_layers, tensors)]
    if missing:
        yield Objection(f"lack {list_names(missing)}")
    yield from _wrong_shapes(_sizes(config, architecture), config, tensors)


def _missing_around(config: Mapping[str, Any], architecture: str, tensors: Tensors) -> Iterator[str]:
    """Embeddings, norm and head; the one of embeddings and head that is tied to the other may be left out."""
    are_apart = config.get("tie_word_embeddings") is False and architecture not in ALWAYS_TIED
    if EMBEDDINGS not in tensors.shapes and (are_apart or HEAD_WEIGHT not in tensors.shapes):
        yield EMBEDDINGS
    if NORM not in tensors.shapes:
        yield NORM
    if HEAD_WEIGHT not in tensors.shapes and are_apart:
        yield HEAD_WEIGHT


def _missing_in_layers(num_layers: int, tensors: Tensors) -> Iterator[str]:
    """A weight that one layer has every layer has; a bias counts when at least half of the layers have it."""
    holders: dict[tuple[str, str], int] = {}
    for name in tensors.shapes:
        match = LAYER.fullmatch(name)
        if match and match[2] in PARTS:
            holders[match[2], match[3]] = holders.get((match[2], match[3]), 0) + 1
    expected = [key for key, count in holders.items() if key[1] == "weight" or 2 * count >= num_layers]
    for number in range(num_layers):
        for part, kind in expected:
            name = f"model.layers.{number}.{part}.{kind}"
            if name not in tensors.shapes:
                yield name


def _wrong_shapes(sizes: dict[str, int], config: Mapping[str, Any], tensors: Tensors) -> Iterator[Objection]:
    """The first tensor whose shape is not what config.json makes of it."""
    around: dict[str, tuple[str, ...]] = {EMBEDDINGS: (VOCAB, HIDDEN), NORM: (HIDDEN,)}
    if config.get("tie_word_embeddings") is False:
        around[HEAD_WEIGHT] = (VOCAB, HIDDEN)
    for name, shape in tensors.shapes.items():
        match = LAYER.fullmatch(name)
        terms = around.get(name) or (PARTS.get(match[2]) if match else None)
        if terms is None:
            continue
        if match and match[3] == "bias":
            terms = terms[:1]
        expected = tuple(sizes.get(term) for term in terms)
        if None not in expected and shape != expected:
            said, is_there = (" by ".join(map(str, each)) for each in (expected, shape))
            yield Objection(f"have {name} of {is_there}, and config.json says {said} ({' by '.join(terms)})")
            return


def _sizes(config: Mapping[str, Any], architecture: str) -> dict[str, int]:
    """The value of each term of PARTS that config.json tells; a default of the architecture is not taken."""
    hidden, inner, vocab = (positive(config.get(name)) for name in (HIDDEN, INNER, VOCAB))
    heads, kv_heads = (positive(config.get(name)) for name in ("num_attention_heads", "num_key_value_heads"))
    head = positive(config.get(HEAD))
    if head is None and config.get(HEAD) is None and architecture in HEAD_DIM_IS_DERIVED and hidden and heads:
        head = hidden // heads
    q, kv = heads and head and heads * head, kv_heads and head and kv_heads * head
    found = {HIDDEN: hidden, INNER: inner, VOCAB: vocab, HEAD: head, Q: q, KV: kv}
    found |= {QKV: q and kv and q + 2 * kv, GATE_UP: inner and 2 * inner}
    return {term: size for term, size in found.items() if size is not None}
