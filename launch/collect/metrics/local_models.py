"""Scores of texts against references by a model in a local directory: embedding similarity and BERTScore.

Both need an extra and are computed only where asked for. Nothing is downloaded: the directory must hold the
model. Unlike every other score, theirs may differ in the last digits from one processor to another.
"""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from launch.errors import InputError
from launch.model.fingerprint import digest_files, fingerprint_files

Pair = tuple[str, str]
MAX_MODEL_CHARS = 20_000  # far more than any such model reads; a tokenizer takes long for a megabyte


class PairScorer(Protocol):
    """Scores pairs of a sample and its reference; `signature` says by what."""

    signature: str

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """A score for each pair."""
        ...


class EmbeddingSimilarity:
    """The cosine of the embeddings of sample and reference, -1 to 1 (sentence-transformers)."""

    def __init__(self, directory: Path) -> None:
        _check(directory, "--embeddings", "sentence_transformers", "embeddings")
        import sentence_transformers

        self._model: Any = sentence_transformers.SentenceTransformer(str(directory), local_files_only=True)
        self.signature = f"sentence-transformers {sentence_transformers.__version__}, {_named(directory)}"

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """A cosine for each pair; every text is embedded once."""
        texts = list(dict.fromkeys(text[:MAX_MODEL_CHARS] for pair in pairs for text in pair))
        found = self._model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        rows = dict(zip(texts, found, strict=True))
        return [
            float(rows[text[:MAX_MODEL_CHARS]] @ rows[reference[:MAX_MODEL_CHARS]])
            for text, reference in pairs
        ]


class BertScore:
    """BERTScore's F1 (Zhang et al. 2020, arXiv 1904.09675), without idf and baseline rescaling (bert-score).

    The layer is bert-score's for a directory that has the name of a model it knows, else the last.
    """

    def __init__(self, directory: Path) -> None:
        _check(directory, "--bertscore", "bert_score", "bertscore")
        import bert_score
        from transformers import AutoConfig

        layer = bert_score.utils.model2layers.get(directory.name)
        if layer is None:
            layer = int(AutoConfig.from_pretrained(directory, local_files_only=True).num_hidden_layers)
        self._scorer: Any = bert_score.BERTScorer(model_type=str(directory), num_layers=layer)
        self.signature = f"bert-score {bert_score.__version__}, layer {layer}, F1, {_named(directory)}"

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """An F1 for each pair; 0 where either text is blank."""
        whole = [pair for pair in dict.fromkeys(pairs) if all(text.strip() for text in pair)]
        found: dict[Pair, float] = {}
        if whole:
            texts, references = (
                [text[:MAX_MODEL_CHARS] for text in side] for side in zip(*whole, strict=True)
            )
            _, _, f1 = self._scorer.score(texts, references)
            found = dict(zip(whole, map(float, f1), strict=True))
        return [found.get(pair, 0.0) for pair in pairs]


def _check(directory: Path, flag: str, module: str, extra: str) -> None:
    if find_spec(module) is None:
        raise InputError(f"{flag}: needs an extra: pip install 'vllm-launch[{extra}]'.")
    if not (directory / "config.json").is_file():
        raise InputError(f"{flag}: {directory}: no config.json; expected a directory that holds a model.")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the libraries are imported


def _named(directory: Path) -> str:
    """The directory's name, and a digest of the model, so that two of one name are told apart."""
    weights = [*directory.glob("*.safetensors"), *directory.glob("*.bin")]
    return f"{directory.name} {digest_files(fingerprint_files(directory, sorted(weights)))}"
