"""A checkpoint directory with the shape of Llama-3.1-8B and no weights, for `engine.load_format: dummy`.

`python -m benchmarks.model_shape OUT --tokenizer CHECKPOINT` takes tokenizer and chat template of another
checkpoint. With --weights it has random ones, 15 GiB in bfloat16, to be copied and loaded. Shape from the
published config.json of Llama-3.1-8B: 32 layers, hidden 4096, 32 heads, 8 KV heads, intermediate 14336,
vocabulary 128256.
"""

import argparse
import json
import shutil
from pathlib import Path

SHAPE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rope_theta": 500000.0,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def make_shape(out: Path, tokenizer: Path) -> None:
    """Writes config.json and generation_config.json, and copies the tokenizer's files."""
    out.mkdir(parents=True, exist_ok=True)
    config = json.loads((tokenizer / "config.json").read_text())
    ids = {name: config[name] for name in TOKEN_IDS if name in config}
    (out / "config.json").write_text(json.dumps(SHAPE | ids, indent=2) + "\n")
    (out / "generation_config.json").write_text(json.dumps(ids, indent=2) + "\n")
    for name in TOKENIZER_FILES:
        if (tokenizer / name).exists():
            shutil.copy(tokenizer / name, out / name)


def add_weights(checkpoint: Path) -> None:
    """Writes random weights in bfloat16 as safetensors files; made on a GPU where there is one."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(checkpoint)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(checkpoint, max_shard_size="2GB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True, help="checkpoint to take the tokenizer of")
    parser.add_argument("--weights", action="store_true", help="random ones; else none")
    values = parser.parse_args()
    make_shape(values.out, values.tokenizer)
    if values.weights:
        add_weights(values.out)
    print(values.out)
