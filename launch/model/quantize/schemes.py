"""What can be asked of `vllm-launch quantize`: the schemes and what each one is."""

from enum import StrEnum


class Scheme(StrEnum):
    """How weights and activations are held. All go through compressed-tensors, which vLLM loads as it is."""

    FP8 = "fp8"
    W4A16 = "w4a16"
    W8A8 = "w8a8"

    @property
    def needs_prompts(self) -> bool:
        """Whether calibration looks at what the model computes; FP8 rounds weights and scales as it runs."""
        return self is not Scheme.FP8

    @property
    def weight_bits(self) -> int:
        """Of a weight, without its share of scales."""
        return 4 if self is Scheme.W4A16 else 8

    @property
    def meaning(self) -> str:
        """In words, for people and for the record."""
        return _MEANINGS[self]


_MEANINGS = {
    Scheme.FP8: "weights FP8 per channel, activations FP8 per token as they come; no calibration",
    Scheme.W4A16: "weights 4-bit integers in groups (GPTQ), activations as they were",
    Scheme.W8A8: "weights 8-bit integers per channel (GPTQ), activations 8-bit per token as they come",
}
