"""A digest of a checkpoint that takes a second, so that every task can see whether the model is the same.

Of small files (configuration, tokenizer, templates, index, remote code) every byte counts. Of a weight file
count its size, its safetensors header and three blocks of 1 MiB: start, middle, end. A change of weights that
keeps the size and lies between the blocks is NOT seen; new training moves all weights and is.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

BLOCK_BYTES = 1 << 20
MAX_HEADER_BYTES = 100_000_000
# What a tokenizer reads, its remote code among it.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "spiece.model",
    "chat_template.json",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
    "*.tiktoken",
    "*.py",
)
# What an engine may read beside the weights; notes, logs and training state are left out.
MODEL_FILES = (
    *TOKENIZER_FILES,
    "config.json",
    "generation_config.json",
    "params.json",
    "hf_quant_config.json",
    "quantize_config.json",
    "quant_config.json",
    "*.index.json",
)
ADAPTER_FILES = ("adapter_config.json",)


def fingerprint_files(
    directory: Path, weights: Sequence[Path], small: Sequence[str] = MODEL_FILES, prefix: str = ""
) -> dict[str, str]:
    """32 hex digits per file that counts: the `small` ones and the weights.

    By name relative to `directory`, behind `prefix`, sorted.
    """
    digests = {
        path.relative_to(directory).as_posix(): _digest_whole(path)
        for pattern in small
        for path in directory.glob(pattern)
        if path.is_file()
    }
    digests |= {path.relative_to(directory).as_posix(): _digest_sampled(path) for path in weights}
    return {f"{prefix}{name}": digest for name, digest in sorted(digests.items())}


def digest_files(files: Mapping[str, str]) -> str:
    """One digest of 32 hex digits over names and digests."""
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _digest_whole(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _digest_sampled(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=16)
    with path.open("rb") as handle:
        first = handle.read(BLOCK_BYTES)
        digest.update(first)
        if path.suffix == ".safetensors":
            header_end = min(8 + int.from_bytes(first[:8], "little"), MAX_HEADER_BYTES)
            digest.update(handle.read(max(0, header_end - BLOCK_BYTES)))
        for start in (max(0, size // 2 - BLOCK_BYTES // 2), max(0, size - BLOCK_BYTES)):
            handle.seek(start)
            digest.update(handle.read(BLOCK_BYTES))
    return digest.hexdigest()
