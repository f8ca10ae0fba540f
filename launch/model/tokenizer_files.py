"""Which directory holds a tokenizer, and the line for the one that lacks it."""

from pathlib import Path

from launch.errors import CheckpointError
from launch.model.weights import refuse_lfs_pointer

# One of these must be there whole. tekken.json is Mistral's own; *.tiktoken comes with remote code.
TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("vocab.json", "merges.txt"),
    ("tekken.json",),
    ("spiece.model",),
    ("vocab.txt",),
    ("*.tiktoken",),
)


def find_tokenizer_files(directory: Path) -> list[Path]:
    """The files of the first form of tokenizer that is there whole; empty when there is none."""
    for names in TOKENIZERS:
        found = [file for name in names for file in directory.glob(name) if file.is_file()]
        if len(found) >= len(names):
            return found
    return []


def require_tokenizer(directory: Path) -> None:
    """CheckpointError when there is none, naming the parent directory where that has one, or a pointer."""
    files = find_tokenizer_files(directory)
    for file in files:
        refuse_lfs_pointer(file, "tokenizer")
    if files:
        return
    parent = directory.parent
    if find_tokenizer_files(parent):
        advice = f"{parent} has one: give `--tokenizer {parent}`."
    else:
        advice = "Give the base model's directory with --tokenizer, or copy its tokenizer there."
    raise CheckpointError(
        f"{directory}: tokenizer: found none of tokenizer.json, tokenizer.model, vocab.json with merges.txt,"
        f" tekken.json. {advice}"
    )
