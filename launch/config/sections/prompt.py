"""Identity: what to continue, and how an item becomes a prompt."""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from launch.config.sections.base import AsPath, Number, Section

# What transformers' apply_chat_template and our own rendering take beside a template's variables.
NOT_VARIABLES = frozenset(
    "self messages conversation tools documents chat_template add_generation_prompt continue_final_message"
    " tokenize padding truncation max_length return_tensors return_dict return_assistant_tokens_mask"
    " tokenizer_kwargs strftime_now raise_exception".split()
)


class Ablation(StrEnum):
    """Which parts of what is known of a user go into a prompt."""

    PROFILE_AND_HISTORY_AND_CONTEXT = "profile_and_history_and_context"
    PROFILE_AND_HISTORY = "profile_and_history"
    PROFILE_AND_CONTEXT = "profile_and_context"
    HISTORY_AND_CONTEXT = "history_and_context"
    PROFILE_ONLY = "profile_only"
    HISTORY_ONLY = "history_only"
    CONTEXT_ONLY = "context_only"

    @property
    def uses_profile(self) -> bool:
        """Whether the profile and the personality go in."""
        return "profile" in self.value

    @property
    def uses_history(self) -> bool:
        """Whether the history from train.json goes in."""
        return "history" in self.value

    @property
    def uses_context(self) -> bool:
        """Whether the turns before the continuation go in."""
        return "context" in self.value


class Language(StrEnum):
    """The language of a dataset: of the instruction and the labels in its prompts."""

    ENGLISH = "en"
    CHINESE = "zh"
    JAPANESE = "ja"


def template_variable(name: str) -> str:
    """The name itself if it is a variable of chat templates that is not ours to give."""
    if name in NOT_VARIABLES:
        raise ValueError(f"{name} is for vllm-launch to decide. Leave it out")
    return name


TemplateVariable = Annotated[str, AfterValidator(template_variable)]
AsAblation = Annotated[Ablation, Field(strict=False)]
AsLanguage = Annotated[Language, Field(strict=False)]


class DataConfig(Section):
    """Identity: what to continue."""

    dataset: str | None = Field(default=None, description="A name or alias of configs/datasets.yaml.")
    scenario_path: AsPath | None = Field(
        default=None,
        description="Directory with test_leaderboard.json and train.json; inferred from the dataset.",
    )
    limit_users: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Only this many users, a deterministic subset."
    )
    limit_items: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Only this many items, a deterministic subset."
    )


class PromptConfig(Section):
    """Identity: how an item becomes a prompt."""

    ablation_config: AsAblation = Field(
        default=Ablation.PROFILE_AND_CONTEXT, description="Which parts of what is known of a user go in."
    )
    language: AsLanguage | None = Field(
        default=None, description="Of the instruction; the dataset's unless set."
    )
    max_context_turns: Annotated[int, Field(ge=0)] = Field(
        default=15, description="At most this many of the newest turns before the continuation."
    )
    max_chars_per_turn: Annotated[int, Field(ge=1)] = Field(
        default=300, description="Longer turns and history entries are clipped at the end, in characters."
    )
    max_history_entries: Annotated[int, Field(ge=0)] = Field(
        default=30, description="At most this many of the newest entries of train.json."
    )
    max_prompt_tokens: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Prompt budget in tokens; engine.max_model_len - sampling.max_tokens unless set.",
    )
    system_prompt: str | None = Field(default=None, description="Put before what the prompt file says.")
    chat_template_kwargs: dict[TemplateVariable, bool | int | Number | str] = Field(
        default_factory=dict, description="Passed to the chat template, such as enable_thinking: false."
    )
    reasoning_end: str | None = Field(
        default=None,
        description="Text up to and including the last of these is stored apart; </think> unless set, where"
        " the chat template has it; '' for never.",
    )
