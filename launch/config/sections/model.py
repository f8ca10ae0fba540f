"""Identity: the checkpoint and the kind of engine."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from launch.config.sections.base import AsPath, Section


class EngineKind(StrEnum):
    """What generates. `auto` is resolved at submission: vllm if installed and it knows the architecture."""

    AUTO = "auto"
    VLLM = "vllm"
    TRANSFORMERS = "transformers"
    STUB = "stub"


AsEngineKind = Annotated[EngineKind, Field(strict=False)]


class ModelConfig(Section):
    """Identity: the checkpoint and what changes the numbers it computes."""

    checkpoint: AsPath | None = Field(
        default=None,
        description="Directory of a Hugging Face checkpoint or LoRA adapter, or a hub id in the cache.",
    )
    base_checkpoint: AsPath | None = Field(
        default=None, description="Base model of a LoRA adapter that names one which is not here."
    )
    tokenizer: AsPath | None = Field(
        default=None,
        description="Directory of tokenizer and chat template; the checkpoint's own unless set.",
    )
    engine: AsEngineKind = Field(default=EngineKind.AUTO, description="auto, vllm, transformers or stub.")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        default="auto", description="Type of the weights in memory; auto takes the checkpoint's."
    )
    quantization: str | None = Field(
        default=None,
        description="The checkpoint's own unless set; fp8 rounds plain weights when they are loaded.",
    )
    kv_cache_dtype: Literal["auto", "fp8", "fp8_e4m3", "fp8_e5m2"] = Field(
        default="auto", description="Type of the KV cache; fp8 changes outputs."
    )
    trust_remote_code: bool = Field(
        default=False, description="Run Python code that the checkpoint brings along."
    )
