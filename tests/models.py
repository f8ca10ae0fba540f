"""A random Llama of a few MB in Hugging Face form, whole or broken on purpose, made without torch.

It stands in for a checkpoint wherever loading the weights matters and their worth does not: tensor parallel
runs (SmolLM2 has 9 heads, which 2 does not divide), chat templates of any kind, checkpoints one cannot load.
"""

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from demo.smollm2 import to_bfloat16, write_safetensors

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # ids 0, 1 (begin of sequence), 2 (its end)
LOGIT_STD = (
    3.0  # a clear favourite at every step, and enough rivals that samples differ and some of them stop
)
VOCAB_SIZE = 640  # at most: 3 special tokens, 256 bytes (so any text survives), merges learnt from CORPUS
CORPUS = """
system user assistant You are a careful writer. Continue the conversation as the person described below.
What is the weather like today? I think that it will rain, and then the sun will come out over the harbour.
She said that she would never go back there; he laughed and said that they had all said that before.
The film was slow at first but the ending was beautiful, and I would watch it again with my sister.
The rating that I would give to this film is 4.5 out of 5. 0 1 2 3 4 5 6 7 8 9 10 2001 2012 2024
这部电影的节奏有点慢，但是结局很美，我会再看一遍。 这部电影的音乐很好，演员的表演也很好。
今天的天气怎么样？我觉得会下雨，然后太阳会出来。 他说他不会再回来了，她笑了笑。
我喜欢这部电影，我不喜欢那部电影。
今日はいい天気ですね。私は映画を見るのが好きです。 この映画は少し長いですが、最後がとても美しいです。
そうですか。私もそう思います。明日は雨が降ると思います。 ありがとうございます。また会いましょう。
"""

Weights = Literal["random", "git_lfs_pointer", "none"]


def make_tiny_llama(
    path: Path,
    *,
    seed: int = 0,
    num_layers: int = 2,
    num_heads: int = 8,
    num_kv_heads: int = 4,
    head_dim: int = 32,
    max_position_embeddings: int = 2048,
    architecture: str = "LlamaForCausalLM",
    chat_template: str | None = CHATML,
    tokenizer: bool = True,
    weights: Weights = "random",
) -> Path:
    """Make a checkpoint directory at `path` (created, parents too) and return it.

    The same arguments give the same bytes. The hidden size is num_heads x head_dim; vLLM's attention on a CPU
    takes a head_dim of 32, 64, 80, 96, 112, 128 and more. Made to be refused: an `architecture` nobody knows,
    no `tokenizer` files, `weights` that are a Git-LFS pointer or not there. With `chat_template` None the
    checkpoint has none.
    """
    path.mkdir(parents=True, exist_ok=True)
    config = _config(num_layers, num_heads, num_kv_heads, head_dim)
    config |= {"architectures": [architecture], "max_position_embeddings": max_position_embeddings}
    _write_json(path / "config.json", config)
    _write_json(path / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})
    if tokenizer:
        _write_tokenizer(path, max_position_embeddings, chat_template)
    if weights != "none":
        write_safetensors(path / "model.safetensors", _random_weights(json.dumps(config), seed))
    if weights == "git_lfs_pointer":
        _replace_by_pointer(path / "model.safetensors")
    return path


def make_tiny_lora(
    path: Path,
    base: Path,
    *,
    seed: int = 1,
    rank: int = 8,
    weights: Literal["safetensors", "bin"] = "safetensors",
    base_name: str | None = None,
    whole_tensors: Sequence[str] = (),
    **settings: Any,
) -> Path:
    """Make a LoRA adapter for the tiny Llama at `base`, as peft saves it, in the directory `path`; return it.

    It changes the attention and the MLP enough that greedy texts differ. `settings` go into
    adapter_config.json, such as use_rslora; `base_name` is what stands there for the base; `whole_tensors`
    are put beside it by name. Only "bin" needs torch.
    """
    path.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name or str(base),
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": sorted({name.split(".")[-2] for name in _adapted(base)}),
    }
    _write_json(path / "adapter_config.json", config | settings)
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, (size_out, size_in) in _adapted(base).items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        for part, shape in (("A", (rank, size_in)), ("B", (size_out, rank))):
            values = rng.standard_normal(shape, np.float32) * np.float32(shape[1] ** -0.5)
            tensors[f"{stem}.lora_{part}.weight"] = to_bfloat16(values)
    tensors |= {name: to_bfloat16(np.ones((1, 1), np.float32)) for name in whole_tensors}
    if weights == "safetensors":
        write_safetensors(path / "adapter_model.safetensors", tensors)
    else:
        _save_bin(path / "adapter_model.bin", tensors)
    return path


def put_in_hub_cache(cache: Path, checkpoint: Path, hub_id: str, branch: str = "main") -> Path:
    """Put a copy of `checkpoint` into a hub cache as huggingface_hub lays it out; return the snapshot.

    Blobs named by digest, links to them in snapshots/<commit>/, and the commit in refs/<branch>.
    """
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    commit = hashlib.sha1(f"{hub_id} {branch}".encode()).hexdigest()
    snapshot = repository / "snapshots" / commit
    for directory in (repository / "blobs", repository / "refs", snapshot):
        directory.mkdir(parents=True, exist_ok=True)
    for file in sorted(checkpoint.iterdir()):
        content = file.read_bytes()
        blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    (repository / "refs" / branch).write_text(commit, encoding="ascii")
    return snapshot


def _adapted(base: Path) -> dict[str, tuple[int, int]]:
    """Name and shape of each matrix of the layers."""
    shapes = _shapes(json.loads((base / "config.json").read_text(encoding="utf-8")))
    return {
        name: (shape[0], shape[1]) for name, shape in shapes.items() if ".layers." in name and len(shape) > 1
    }


def _save_bin(path: Path, tensors: dict[str, NDArray[np.uint16]]) -> None:
    """What torch.save writes."""
    import torch

    torch.save({name: torch.from_numpy(bits).view(torch.bfloat16) for name, bits in tensors.items()}, path)


def _config(num_layers: int, num_heads: int, num_kv_heads: int, head_dim: int) -> dict[str, Any]:
    hidden_size = num_heads * head_dim
    return {
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "hidden_size": hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": 2 * hidden_size,
        "mlp_bias": False,
        "num_attention_heads": num_heads,
        "num_hidden_layers": num_layers,
        "num_key_value_heads": num_kv_heads,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": Tokenizer.from_str(_tokenizer_json()).get_vocab_size(),
    }


@functools.lru_cache(maxsize=8)
def _random_weights(config: str, seed: int) -> dict[str, NDArray[np.uint16]]:
    """Every tensor by name as bfloat16 bits, scaled so that activations keep their size on the way."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in _shapes(json.loads(config)).items():
        std = 1.0 if name == "model.embed_tokens.weight" else shape[-1] ** -0.5
        std *= LOGIT_STD if name == "lm_head.weight" else 1.0
        is_norm = len(shape) == 1
        values = np.ones(shape, np.float32) if is_norm else rng.standard_normal(shape, np.float32)
        weights[name] = to_bfloat16(values if is_norm else values * np.float32(std))
    return weights


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape (out, in) of each tensor, as transformers' LlamaForCausalLM names them."""
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm": (hidden,),
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "post_attention_layernorm": (hidden,),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for number in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{number}.{name}.weight": shape for name, shape in layer.items()}
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (vocab, hidden)}


@functools.cache
def _tokenizer_json() -> str:
    """A byte-level BPE trained on CORPUS, as the text of its tokenizer.json."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS.splitlines(), trainer)
    return tokenizer.to_str(pretty=True)


def _write_tokenizer(path: Path, model_max_length: int, chat_template: str | None) -> None:
    (path / "tokenizer.json").write_text(_tokenizer_json(), encoding="utf-8")
    unknown, begin, end = SPECIAL_TOKENS
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model_max_length,
        "clean_up_tokenization_spaces": False,
        "bos_token": begin,
        "eos_token": end,
        "pad_token": end,
        "unk_token": unknown,
    }
    _write_json(path / "tokenizer_config.json", settings)
    if chat_template is not None:
        (path / "chat_template.jinja").write_text(chat_template, encoding="utf-8")


def _replace_by_pointer(weights: Path) -> None:
    """Leave what `git clone` without git-lfs leaves: the pointer, specification v1, in place of the file."""
    content = weights.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n"
    weights.write_text(pointer, encoding="ascii")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
