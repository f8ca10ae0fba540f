"""One batch of transformers' `generate`: rows that each know when they have ended and what their text is.

A row is one sample of one request. Texts grow token by token the way vLLM's do (a DecodeStream that has read
the prompt), so that a stop string ends a row at the same token and the same text comes out.
"""

from dataclasses import dataclass, field
from typing import Any

from launch.config.schema import SamplingConfig
from launch.scenarios.records import Request
from launch.worker.engines.warping import RowSampler


@dataclass(slots=True)
class Row:
    """A sample on its way: `text` without what ended it, `num_tokens` with it."""

    request: Request
    index: int
    stream: Any
    text: str = ""
    num_tokens: int = 0
    finish_reason: str | None = None

    @property
    def seed(self) -> int:
        """Of this sample: the item's and its place, as vLLM counts them."""
        return self.request.seed + self.index


@dataclass(slots=True)
class Endings:
    """transformers' stopping criterion: which rows have ended after the newest token."""

    rows: list[Row]
    sampling: SamplingConfig
    ending_ids: frozenset[int]
    tokenizer: Any
    width: int = field(default=0)

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """True per row that is to go no further; called once after each token. Shape (rows,)."""
        import torch

        for row, token_id in zip(self.rows, input_ids[:, -1].tolist(), strict=True):
            if row.finish_reason is None:
                self._take(row, token_id)
        ended = [row.finish_reason is not None for row in self.rows]
        return torch.tensor(ended, device=input_ids.device, dtype=torch.bool)

    def _take(self, row: Row, token_id: int) -> None:
        row.num_tokens += 1
        if token_id in self.ending_ids:
            row.finish_reason = "stop"
            return
        new = row.stream.step(self.tokenizer, token_id) or ""
        row.text += new
        cut = find_stop(row.text, len(new), self.sampling.stop)
        if cut is not None:
            row.text, row.finish_reason = row.text[:cut], "stop"
        elif row.num_tokens == self.sampling.max_tokens:
            row.finish_reason = "length"


def find_stop(text: str, num_new: int, stop: tuple[str, ...]) -> int | None:
    """Where the stop string begins that is complete first, if its end is among the newest characters.

    Of two that end together the first listed wins. Source: vllm/v1/engine/detokenizer.py.
    """
    found = []
    for string in stop:
        start = text.find(string, max(0, len(text) - num_new - len(string) + 1)) if num_new else -1
        if start >= 0:
            found.append((start + len(string), start))
    return min(found, key=lambda place: place[0])[1] if found else None


def pad_left(prompts: list[tuple[int, ...]], pad_id: int, device: Any) -> dict[str, Any]:
    """input_ids and attention_mask of shape (rows, longest prompt), padding in front."""
    import torch

    width = max(map(len, prompts))
    ids = [[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {
        "input_ids": torch.tensor(ids, dtype=torch.long, device=device),
        "attention_mask": torch.tensor(mask, dtype=torch.long, device=device),
    }


def run_batch(
    model: Any, tokenizer: Any, rows: list[Row], sampling: SamplingConfig, ending: frozenset[int]
) -> None:
    """Generates all rows to their ends; `rows` hold the texts afterwards."""
    import torch
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    prompts = [row.request.token_ids for row in rows]
    fast = tokenizer.backend_tokenizer
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    sampler = RowSampler(sampling, prompts, [row.seed for row in rows], model.device)
    # A fresh configuration: no sampling default of generation_config.json and no end of sequence but ours.
    config = GenerationConfig(do_sample=False, max_new_tokens=sampling.max_tokens, pad_token_id=pad_id)
    with torch.inference_mode():
        model.generate(
            **pad_left(prompts, pad_id, model.device),
            generation_config=config,
            logits_processor=LogitsProcessorList([sampler]),
            stopping_criteria=StoppingCriteriaList([Endings(rows, sampling, ending, fast)]),
        )
