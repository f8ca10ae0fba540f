"""What a user can set: the six sections of a run, and the cluster file. One line of meaning per field.

`model data prompt sampling` are the identity of a run and never change after it is planned; `engine resources
publish` may change on resume and are recorded per submission. None means "not set".
"""

from typing import Annotated, Literal

from pydantic import Field

from launch.config.sections.base import AsPath, Number, Section
from launch.config.sections.jobs import (
    CommandWords,
    GpuRequest,
    GpuType,
    Line,
    MergeResources,
    Price,
    Scheduler,
    SlurmMemory,
    SlurmTime,
    SlurmWord,
    TaskOptions,
)
from launch.config.sections.model import EngineKind, ModelConfig
from launch.config.sections.prompt import Ablation, AsLanguage, DataConfig, Language, PromptConfig
from launch.config.sections.publish import CanaryAction, CanaryConfig, PublishConfig, UserFiles
from launch.config.sections.sampling import SamplingConfig

__all__ = [
    "IDENTITY_SECTIONS",
    "IMAGE_SUFFIXES",
    "Ablation",
    "AsLanguage",
    "CanaryAction",
    "CanaryConfig",
    "DataConfig",
    "EngineConfig",
    "EngineKind",
    "GpuRequest",
    "Language",
    "MergeResources",
    "ModelConfig",
    "PromptConfig",
    "PublishConfig",
    "ResourcesConfig",
    "RunConfig",
    "SamplingConfig",
    "Scheduler",
    "Section",
    "UserFiles",
]


class EngineConfig(Section):
    """May change on resume: how the engine uses its GPUs. Only this section is touched after a failure."""

    tensor_parallel_size: Annotated[int, Field(ge=1)] = Field(default=1, description="GPUs of one engine.")
    engines_per_node: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Engines (slots) in one task; 1 unless set, as many as fit with whole_node_gpus.",
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
        default=None, description="No compilation and no CUDA graphs: for a GPU where they fail."
    )
    torch_compile: bool | None = Field(
        default=None,
        description="Off: CUDA graphs alone, which starts fast. Unless this or enforce_eager is set, off on"
        " one GPU with 1,024 sequences a step, on with tensor parallelism, else by the work of a task.",
    )
    full_cuda_graphs: bool | None = Field(
        default=None,
        description="Without torch.compile: steps with a prompt in them are CUDA graphs, too, up to twice as"
        " many tokens as sequences, where vLLM's attention kernels allow it. Unless set, on for GPUs where it"
        " was measured to be faster.",
    )
    enable_prefix_caching: bool | None = Field(
        default=None, description="Items of a user share their prefix."
    )
    enable_chunked_prefill: bool | None = Field(
        default=None, description="Off on a CPU: seeds need it there."
    )
    batch_invariant: bool = Field(
        default=False,
        description="Kernels whose texts do not depend on the batch: vLLM, NVIDIA GPUs of compute capability"
        " 8.0 and newer.",
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
        description="Seconds without a step while requests run; then the engine is killed. An item may take a"
        " second more a token of max_tokens. 1800 unless set; no limit for transformers, whose one step is a"
        " whole batch.",
    )

    @property
    def compiles(self) -> bool | None:
        """Whether torch.compile is on; None: not set, and left to the planner or the engine."""
        if self.enforce_eager:
            return False
        return self.torch_compile if self.enforce_eager is None else self.torch_compile is not False

    @property
    def allows_full_graphs(self) -> bool:
        """Whether full_cuda_graphs counts where nothing is compiled: only for what was measured with it."""
        return not self.enforce_eager and not self.batch_invariant and self.tensor_parallel_size == 1


IMAGE_SUFFIXES = (".sif", ".simg", ".img", ".sqsh")
"""Of a container's image; any other packed environment is an archive."""


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
    whole_node_gpus: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="GPUs of a node where a cluster gives whole nodes: a task fills one with engines.",
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
        default=None,
        description="Tasks at a time, over all arrays (%N of each is its share); GPUs / gpus_per_task without"
        " Slurm.",
    )
    max_array_size: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Indices of one array; asked of Slurm unless set, 1001 if it does not say."
    )
    max_submit: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Jobs that you may have queued (MaxSubmitJobs), each task one: what is queued already,"
        " the merge job and queued follow-ups count; asked of Slurm unless set.",
    )
    signal_lead_s: Annotated[int, Field(ge=10)] = Field(
        default=120, description="Seconds before the time limit at which a task is told to finish."
    )
    setup: tuple[Line, ...] = Field(
        default=(), strict=False, description="Shell lines before a task, such as module load."
    )
    container: CommandWords = Field(
        default=(),
        strict=False,
        description="Command before the engine process only, such as apptainer exec --nv IMAGE.",
    )
    scratch_dir: AsPath | None = Field(
        default=None, description="Fast node-local directory; $TMPDIR unless set."
    )
    cache_dir: AsPath | None = Field(
        default=None,
        description="Shared directory of compiled kernels, from which nodes start warm; `none`: none. Unless"
        " set: with Slurm `caches` beside the directory of runs, else none.",
    )
    stage_weights: bool = Field(
        default=False, description="Copy the checkpoint to scratch_dir once per node and load it from there."
    )
    environment: AsPath | None = Field(
        default=None,
        description="Packed environment, put into scratch_dir once per node: an archive whose bin/python"
        " starts the engine process, or the image (.sif) that a word of container names.",
    )
    stage_budget_gib: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="GiB that staged weights and environments may take on a node; what the disk has unless"
        " set. The least recently used go first.",
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
    price_per_gpu_hour: Price | None = Field(
        default=None,
        description="What an hour of one GPU costs, such as `2.50 EUR`; then the summary has the run's cost.",
    )
    merge: MergeResources = Field(default=MergeResources(), description="Of the merge job.")


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
        """GPUs of one task: asked for, those of a whole node, or those its engines need."""
        if self.resources.gpus_per_task is not None:
            return self.resources.gpus_per_task
        return max(self.engine.tensor_parallel_size * self.num_engines, _whole_node(self.resources) or 0)

    @property
    def num_engines(self) -> int:
        """Engines of one task (see `engines_of_task`)."""
        return engines_of_task(self.engine, self.resources)


def engines_of_task(engine: EngineConfig, resources: ResourcesConfig) -> int:
    """Engines of one task: engine.engines_per_node, or all that a whole node holds, or one."""
    if engine.engines_per_node is not None:
        return engine.engines_per_node
    whole = _whole_node(resources)
    return 1 if whole is None else max(1, whole // engine.tensor_parallel_size)


def _whole_node(resources: ResourcesConfig) -> int | None:
    """GPUs of the node that a task takes whole; None where it takes what its engines need, and on a CPU."""
    whole, asked = resources.whole_node_gpus, resources.gpus_per_task
    if whole is None or asked == 0 or resources.scheduler is Scheduler.NONE:
        return None
    return whole if asked is None else asked


IDENTITY_SECTIONS = ("model", "data", "prompt", "sampling")
