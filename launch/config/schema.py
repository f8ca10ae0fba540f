"""What a user can set: the six sections of a run, and the cluster file. One line of meaning per field.

`model data prompt sampling` are the identity of a run and never change after it is planned; `engine resources
publish` may change on resume and are recorded per submission. None means "not set".
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from launch.config import slurm_values


class Section(BaseModel):
    """Strict: an unknown key or a value of another type is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


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


class EngineKind(StrEnum):
    """What generates. `auto` is resolved at submission: vllm if installed and it knows the architecture."""

    AUTO = "auto"
    VLLM = "vllm"
    TRANSFORMERS = "transformers"
    STUB = "stub"


class Language(StrEnum):
    """The language of a dataset: of the instruction and the labels in its prompts."""

    ENGLISH = "en"
    CHINESE = "zh"
    JAPANESE = "ja"


AsPath = Annotated[Path, Field(strict=False)]
AsAblation = Annotated[Ablation, Field(strict=False)]
AsEngineKind = Annotated[EngineKind, Field(strict=False)]
AsLanguage = Annotated[Language, Field(strict=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]

TextOrNumber = Annotated[
    str, BeforeValidator(slurm_values.number_as_text), WithJsonSchema({"type": ["string", "integer"]})
]
SlurmWord = Annotated[TextOrNumber, AfterValidator(slurm_values.one_word)]
SlurmTime = Annotated[TextOrNumber, AfterValidator(slurm_values.time_limit)]
SlurmMemory = Annotated[TextOrNumber, AfterValidator(slurm_values.memory)]
GpuType = Annotated[str, AfterValidator(slurm_values.gpu_type)]
Line = Annotated[str, AfterValidator(slurm_values.one_line)]
SbatchOptions = dict[str, str | int | bool]
TaskOptions = Annotated[SbatchOptions, AfterValidator(slurm_values.task_options)]
MergeOptions = Annotated[SbatchOptions, AfterValidator(slurm_values.merge_options)]


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
    quantization: str | None = Field(default=None, description="Only to override what the checkpoint says.")
    kv_cache_dtype: Literal["auto", "fp8", "fp8_e4m3", "fp8_e5m2"] = Field(
        default="auto", description="Type of the KV cache; fp8 changes outputs."
    )
    trust_remote_code: bool = Field(
        default=False, description="Run Python code that the checkpoint brings along."
    )


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
    chat_template_kwargs: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="Passed to the chat template, such as enable_thinking: false."
    )
    reasoning_end: str | None = Field(
        default=None,
        description="Text up to and including the last of these is stored apart; </think> unless set, where"
        " the chat template has it; '' for never.",
    )


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
    stop_token_ids: tuple[int, ...] = Field(default=(), strict=False, description="Tokens that end a sample.")
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


class EngineConfig(Section):
    """May change on resume: how the engine uses its GPUs. Only this section is touched after a failure."""

    tensor_parallel_size: Annotated[int, Field(ge=1)] = Field(default=1, description="GPUs of one engine.")
    engines_per_node: Annotated[int, Field(ge=1)] = Field(
        default=1, description="Engines (slots) in one task."
    )
    gpu_memory_utilization: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=0.9, description="Share of a GPU's memory that the engine may take."
    )
    max_model_len: Annotated[int, Field(ge=1)] = Field(
        default=8192, description="Prompt and sample, in tokens."
    )
    max_num_seqs: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Sequences in one step."
    )
    max_num_batched_tokens: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Tokens in one step."
    )
    enforce_eager: bool | None = Field(
        default=None, description="No compilation and no CUDA graphs: starts fast."
    )
    enable_prefix_caching: bool | None = Field(
        default=None, description="Items of a user share their prefix."
    )
    enable_chunked_prefill: bool | None = Field(
        default=None, description="Off on a CPU: seeds need it there."
    )
    safetensors_load_strategy: Literal["lazy", "eager", "prefetch"] | None = Field(
        default=None,
        description="prefetch on GPFS, BeeGFS, CephFS and WekaFS, which vLLM does not recognise.",
    )
    load_format: str | None = Field(default=None, description="`dummy` takes random weights, for benchmarks.")
    disable_custom_all_reduce: bool | None = Field(default=None, description="For hosts where it fails.")
    fuse_allreduce_rms: bool | None = Field(
        default=None, description="All-reduce + RMS fusion; off where it fails at start."
    )
    cpu_kvcache_space_gib: Annotated[int, Field(ge=1)] = Field(
        default=1, description="KV cache of a CPU engine."
    )
    start_timeout_s: Annotated[int, Field(ge=1)] = Field(
        default=1800, description="Seconds an engine may take to start; then it is killed."
    )
    progress_timeout_s: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Seconds without a step while requests run; then the engine is killed. 1800 unless set;"
        " no limit for transformers, whose one step is a whole batch.",
    )


class MergeResources(Section):
    """Resources of the merge job, a CPU job; GPU partitions often refuse those, so it has its own."""

    partition: SlurmWord | None = Field(default=None, description="Of the merge job.")
    account: SlurmWord | None = Field(default=None, description="Of the merge job; the tasks' unless set.")
    qos: SlurmWord | None = Field(default=None, description="Of the merge job.")
    constraint: SlurmWord | None = Field(default=None, description="Of the merge job.")
    time: SlurmTime = Field(default="01:00:00", description="Time limit of the merge job.")
    cpus_per_task: Annotated[int, Field(ge=1)] = Field(default=2, description="Of the merge job.")
    mem: SlurmMemory | None = Field(default="4G", description="Of the merge job.")
    extra_sbatch: MergeOptions = Field(
        default_factory=dict, description="Further sbatch options of the merge job."
    )


class Scheduler(StrEnum):
    """Who starts tasks: Slurm, or submit itself on this machine."""

    SLURM = "slurm"
    NONE = "none"


class GpuRequest(StrEnum):
    """How GPUs are asked for; exactly one form is emitted."""

    GRES = "gres"
    GPUS_PER_NODE = "gpus_per_node"


class ResourcesConfig(Section):
    """May change on resume: where and with what tasks run. A cluster file holds only this."""

    scheduler: Annotated[Scheduler, Field(strict=False)] = Field(
        default=Scheduler.NONE, description="slurm or none."
    )
    partition: SlurmWord | None = Field(default=None, description="Slurm partition of the tasks.")
    account: SlurmWord | None = Field(default=None, description="Slurm account.")
    qos: SlurmWord | None = Field(default=None, description="Slurm quality of service.")
    constraint: SlurmWord | None = Field(default=None, description="Node features, such as h100&nvlink.")
    time: SlurmTime = Field(
        default="04:00:00", description="Time limit of a task: [days-]hours:minutes:seconds."
    )
    gpu_request: Annotated[GpuRequest, Field(strict=False)] = Field(
        default=GpuRequest.GRES, description="gres (--gres=gpu:N) or gpus_per_node (--gpus-per-node=N)."
    )
    gpu_type: GpuType | None = Field(default=None, description="Type in the GPU request, such as h100.")
    gpus_per_task: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="engine.tensor_parallel_size x engines_per_node unless set; 0 on a CPU."
    )
    cpus_per_task: Annotated[int, Field(ge=1)] = Field(default=8, description="CPU cores of a task.")
    mem: SlurmMemory | None = Field(
        default=None, description="Host memory of a task, such as 64G; 0 for all of the node."
    )
    exclusive: bool = Field(default=False, description="No other job on the node.")
    num_tasks: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Array tasks; from cost, time limit and cluster limits unless set."
    )
    max_concurrent: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Tasks at a time: %N of the array; GPUs / gpus_per_task without Slurm."
    )
    max_array_size: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Indices of one array; asked of Slurm unless set, 1001 if it does not say."
    )
    max_submit: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Tasks that may be queued at once, where a site limits them."
    )
    signal_lead_s: Annotated[int, Field(ge=10)] = Field(
        default=120, description="Seconds before the time limit at which a task is told to finish."
    )
    setup: tuple[Line, ...] = Field(
        default=(), strict=False, description="Shell lines before a task, such as module load."
    )
    container: tuple[Line, ...] = Field(
        default=(),
        strict=False,
        description="Command before the engine process only, such as apptainer exec --nv IMAGE.",
    )
    scratch_dir: AsPath | None = Field(
        default=None, description="Fast node-local directory; $TMPDIR unless set."
    )
    python: Line | None = Field(
        default=None, description="Python on the nodes; the one submit runs with unless set."
    )
    extra_sbatch: TaskOptions = Field(
        default_factory=dict,
        description="Further sbatch options: name without dashes to value; true: a bare flag, false: none.",
    )
    max_rounds: Annotated[int, Field(ge=0, le=100)] = Field(
        default=3,
        description="Times the merge job sends items again that are missing for a reason that may pass.",
    )
    sbatch_on_nodes: bool = Field(
        default=True,
        description="Whether the merge job may call sbatch; else follow-ups are queued at submission.",
    )
    merge: MergeResources = Field(default=MergeResources(), description="Of the merge job.")


class CanaryAction(StrEnum):
    """What happens when the first items of an engine do not look right."""

    NONE = "none"
    WARN = "warn"
    STOP = "stop"


Share = Annotated[Number, Field(ge=0, le=1)]


class CanaryConfig(Section):
    """May change on resume: what the first items of an engine may look like; a limit that is null is none."""

    action: Annotated[CanaryAction, Field(strict=False)] = Field(
        default=CanaryAction.WARN, description="none, warn, or stop: what a rate over its limit brings."
    )
    num_items: Annotated[int, Field(ge=1)] = Field(
        default=200, description="Items of each engine that are judged, the first it finishes."
    )
    max_empty_rate: Share | None = Field(default=0.2, description="Of samples without text.")
    max_cut_rate: Share | None = Field(default=0.98, description="Of samples that end at max_tokens.")
    max_duplicate_rate: Share | None = Field(
        default=0.9, description="Of samples whose text an earlier one has, over all items."
    )
    max_trimmed_rate: Share | None = Field(
        default=0.5, description="Of items whose prompt lost history or context to fit."
    )


class PublishConfig(Section):
    """May change on resume: where and how results are published."""

    output_dir: AsPath | None = Field(
        default=None, description="The published directory; outputs/leaderboards/<run name> unless set."
    )
    max_failed_items: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Publish although up to this many items failed; they are marked in every file."
    )
    allow_missing: bool = Field(
        default=False, description="Publish although items are missing; they are marked in every file."
    )
    user_files: bool = Field(default=True, description="Write users/<name>.json beside the filled scenario.")


class RunConfig(Section):
    """A run: identity in model, data, prompt, sampling; the rest is how and where."""

    model: ModelConfig = Field(default=ModelConfig(), description="Identity: the checkpoint.")
    data: DataConfig = Field(default=DataConfig(), description="Identity: what to continue.")
    prompt: PromptConfig = Field(default=PromptConfig(), description="Identity: the prompt.")
    sampling: SamplingConfig = Field(default=SamplingConfig(), description="Identity: sampling.")
    engine: EngineConfig = Field(default=EngineConfig(), description="How the engine uses GPUs.")
    resources: ResourcesConfig = Field(default=ResourcesConfig(), description="Where tasks run.")
    canary: CanaryConfig = Field(default=CanaryConfig(), description="What the first items may look like.")
    publish: PublishConfig = Field(default=PublishConfig(), description="Where results go.")

    @property
    def max_prompt_tokens(self) -> int:
        """The prompt budget: prompt.max_prompt_tokens, or what max_model_len leaves beside max_tokens."""
        if self.prompt.max_prompt_tokens is not None:
            return self.prompt.max_prompt_tokens
        return self.engine.max_model_len - self.sampling.max_tokens

    @property
    def gpus_per_task(self) -> int:
        """GPUs of one task: asked for, or those its engines need."""
        if self.resources.gpus_per_task is not None:
            return self.resources.gpus_per_task
        return self.engine.tensor_parallel_size * self.engine.engines_per_node


IDENTITY_SECTIONS = ("model", "data", "prompt", "sampling")
