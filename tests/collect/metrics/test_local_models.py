"""Embedding similarity and BERTScore by a tiny BERT made here; what is said where the extras are missing."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from launch.collect.metrics import local_models
from launch.collect.metrics.local_models import BertScore, EmbeddingSimilarity
from launch.errors import InputError
from tests.cli.commands import succeed
from tests.cli.refusals import refusal
from tests.collect.comparing import publish, say

LETTERS = "abcdefghijklmnopqrstuvwxyz"
has_extras = all(map(find_spec, ("sentence_transformers", "bert_score", "torch")))
needs_extras = pytest.mark.skipif(
    not has_extras, reason="needs pip install 'vllm-launch[embeddings,bertscore]'"
)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two layers that knows single letters and a few characters."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    directory = tmp_path_factory.mktemp("models") / "tiny-bert"
    directory.mkdir()
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *LETTERS,
        *(f"##{each}" for each in LETTERS),
        *"我爱猫",
    ]
    (directory / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(words), **shape)).save_pretrained(directory)
    BertTokenizerFast(vocab_file=str(directory / "vocab.txt"), model_max_length=64).save_pretrained(directory)
    return directory


def hidden_states(directory: Path, text: str) -> Any:
    """The last layer of a text, a row a token, each of length 1."""
    import torch
    from transformers import BertModel, BertTokenizerFast

    tokenizer = BertTokenizerFast.from_pretrained(directory)
    with torch.no_grad():
        found = BertModel.from_pretrained(directory).eval()(**tokenizer(text, return_tensors="pt"))
    rows = found.last_hidden_state[0]
    return rows / rows.norm(dim=-1, keepdim=True)


@needs_extras
@pytest.mark.engine
@pytest.mark.filterwarnings("ignore")
def test_bertscore_is_greedy_matching_of_the_last_layer(bert: Path) -> None:
    scorer = BertScore(bert)
    same, other, blank = scorer.score([("a b c", "a b c"), ("我爱猫", "a dog"), (" ", "a dog")])
    cosines = hidden_states(bert, "我爱猫") @ hidden_states(bert, "a dog").T
    # bert-score gives the marks at both ends no weight
    precision = float(cosines[1:-1].max(dim=1).values.mean())
    recall = float(cosines[:, 1:-1].max(dim=0).values.mean())
    assert same == pytest.approx(1, abs=1e-5) and blank == 0
    assert other == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-4)
    assert scorer.signature.startswith("bert-score ") and ", layer 2, F1, tiny-bert " in scorer.signature


@needs_extras
@pytest.mark.engine
@pytest.mark.filterwarnings("ignore")
def test_embedding_similarity_is_the_cosine_of_mean_states(bert: Path) -> None:
    import torch
    from transformers import BertModel, BertTokenizerFast

    tokenizer, model = BertTokenizerFast.from_pretrained(bert), BertModel.from_pretrained(bert).eval()
    with torch.no_grad():
        means = [
            model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0)
            for text in ("我爱猫", "a dog")
        ]
    expected = float(torch.cosine_similarity(means[0], means[1], dim=0))
    same, other = EmbeddingSimilarity(bert).score([("a b", "a b"), ("我爱猫", "a dog")])
    assert same == pytest.approx(1, abs=1e-5) and other == pytest.approx(expected, abs=1e-4)


@needs_extras
@pytest.mark.engine
@pytest.mark.filterwarnings("ignore")
def test_both_in_scores_json(tmp_path: Path, checkpoint: Path, bert: Path) -> None:
    texts = ["the true answer", "x" * 1_000_000, "\x00\u202e"]
    directory = publish(tmp_path, checkpoint, say(lambda item, place: texts[(item.number + place) % 3]))
    words = ["score", directory, "--embeddings", bert, "--bertscore", bert, "--json"]
    value = json.loads(succeed(*words, cwd=tmp_path).out)
    scores = value["types"]["dialogue"]["scores"]
    for name in ("embedding", "bertscore"):
        assert scores[f"{name}_best"]["value"] >= scores[f"{name}_mean"]["value"]
        assert scores[f"{name}_best"]["oracle"] and scores[f"{name}_mean"]["num_items"] == 48
        assert "tiny-bert" in value["signatures"][name]


@pytest.mark.parametrize(("flag", "extra"), [("--embeddings", "embeddings"), ("--bertscore", "bertscore")])
def test_a_missing_extra_is_named(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, flag: str, extra: str
) -> None:
    monkeypatch.setattr(local_models, "find_spec", lambda name: None)
    directory = publish(tmp_path, checkpoint)
    said = refusal(tmp_path, "score", directory, flag, tmp_path)
    assert said == f"{flag}: needs an extra: pip install 'vllm-launch[{extra}]'."


@pytest.mark.parametrize("kind", [EmbeddingSimilarity, BertScore])
def test_a_directory_without_a_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BertScore]
) -> None:
    monkeypatch.setattr(local_models, "find_spec", lambda name: True)
    with pytest.raises(InputError, match=r"no config\.json; expected a directory that holds a model"):
        kind(tmp_path)
