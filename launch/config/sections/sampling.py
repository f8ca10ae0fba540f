"""Identity: how the next token is drawn."""

from typing import Annotated

from pydantic import Field, model_validator

from launch.config.sections.base import Number, Section


class SamplingConfig(Section):
    """Identity: how the next token is drawn. Names and meanings are those of vLLM's SamplingParams."""

    num_samples: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Continuations per item; 5 unless set, 1 when temperature is 0."
    )
    temperature: Annotated[Number, Field(ge=0)] = Field(default=1.0, description="0 is greedy.")
    top_p: Annotated[Number, Field(gt=0, le=1)] = Field(default=0.9, description="Nucleus.")
    top_k: Annotated[int, Field(ge=-1)] = Field(default=50, description="-1 or 0: all tokens.")
    min_p: Annotated[Number, Field(ge=0, le=1)] = Field(
        default=0.0, description="Relative to the likeliest token."
    )
    max_tokens: Annotated[int, Field(ge=1)] = Field(default=512, description="Most tokens of one sample.")
    seed: Annotated[int, Field(ge=0)] = Field(
        default=42, description="Of the run; an item's own is hashed from it."
    )
    repetition_penalty: Annotated[Number, Field(gt=0)] = Field(default=1.0, description="1 is none.")
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] = Field(default=0.0, description="0 is none.")
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] = Field(default=0.0, description="0 is none.")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), strict=False, description="Strings that end a sample, not kept."
    )
    stop_token_ids: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(), strict=False, description="Tokens that end a sample."
    )
    ignore_eos: bool = Field(default=False, description="Go on to max_tokens; for benchmarks only.")

    @model_validator(mode="after")
    def _greedy_means_one_sample(self) -> "SamplingConfig":
        if self.temperature == 0 and self.num_samples is not None and self.num_samples > 1:
            raise ValueError(
                f"num_samples: expected 1 with temperature 0, got {self.num_samples}; greedy samples would be"
                " copies. Leave num_samples out or raise temperature"
            )
        return self

    @property
    def samples_per_item(self) -> int:
        """num_samples with its default: 5, or 1 when sampling is greedy."""
        if self.num_samples is not None:
            return self.num_samples
        return 1 if self.temperature == 0 else 5
