"""Token by token: penalties, warping and the draw, for a batch of rows that do not know of each other.

Penalties, temperature, min_p, top_k, top_p, in vLLM's order and with its meaning (vllm/v1/sample/sampler.py,
vllm/v1/sample/ops). The draw is the Gumbel-max trick, argmax of log p + Gumbel noise, which samples exactly
from p; the noise of a row comes from its own generator, so that no row's noise depends on its neighbours.
Logits may still differ in their last bits with the size of a batch.
"""

from typing import Any

from launch.config.schema import SamplingConfig


class RowSampler:
    """Called by transformers' `generate` as a logits processor: leaves one finite score per row."""

    def __init__(
        self, sampling: SamplingConfig, prompts: list[tuple[int, ...]], seeds: list[int], device: Any
    ) -> None:
        """`prompts` and `seeds` have one entry per row; prompts are without their padding in front."""
        import torch

        self._sampling = sampling
        self._prompts = prompts
        self._width = max(map(len, prompts))
        self._seen: Any = None
        self._counts: Any = None
        self._generators = [torch.Generator(device=device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Scores for the next token, (rows, vocabulary): 0 for the token that is drawn, else -inf."""
        import torch

        logits = self._penalize(input_ids, scores.float())
        if self._sampling.temperature > 0:
            logits = warp(logits / self._sampling.temperature, self._sampling)
            logits = logits + self._gumbel(logits)
        chosen = logits.argmax(dim=-1, keepdim=True)
        return torch.full_like(scores, float("-inf")).scatter_(1, chosen, 0.0)

    def _gumbel(self, logits: Any) -> Any:
        import torch

        noise = torch.empty_like(logits)
        for row, generator in zip(noise, self._generators, strict=True):
            row.exponential_(generator=generator)
        return -noise.clamp_min_(torch.finfo(noise.dtype).tiny).log_()

    def _penalize(self, input_ids: Any, logits: Any) -> Any:
        asked = self._sampling
        if asked.repetition_penalty == 1 and not asked.presence_penalty and not asked.frequency_penalty:
            return logits
        self._count(input_ids, logits)
        if asked.repetition_penalty != 1:
            lower = (logits / asked.repetition_penalty).where(logits > 0, logits * asked.repetition_penalty)
            logits = lower.where(self._seen | (self._counts > 0), logits)
        logits = logits - asked.frequency_penalty * self._counts
        return logits - asked.presence_penalty * (self._counts > 0)

    def _count(self, input_ids: Any, logits: Any) -> None:
        """Brings the counts of generated tokens up to date; the prompt's tokens are marked once."""
        import torch

        if self._seen is None:
            self._counts = torch.zeros_like(logits)
            self._seen = torch.zeros_like(logits, dtype=torch.bool)
            for row, prompt in zip(self._seen, self._prompts, strict=True):
                row[torch.tensor(prompt, device=row.device)] = True
        if input_ids.shape[1] > self._width:
            self._counts.scatter_add_(1, input_ids[:, -1:], torch.ones_like(logits[:, :1]))


def warp(logits: Any, sampling: SamplingConfig) -> Any:
    """Logits (rows, vocabulary) with every token that min_p, top_k and top_p leave out at -inf."""
    import torch

    out = float("-inf")
    if sampling.min_p > 0:
        probs = logits.softmax(dim=-1)
        logits = logits.masked_fill(probs < sampling.min_p * probs.amax(dim=-1, keepdim=True), out)
    if 0 < sampling.top_k < logits.shape[-1]:
        smallest = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, out)
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1)
        left_out = ordered.softmax(dim=-1).cumsum(dim=-1) <= 1 - sampling.top_p
        left_out[:, -1] = False
        logits = logits.masked_fill(torch.zeros_like(left_out).scatter(1, order, left_out), out)
    return logits
