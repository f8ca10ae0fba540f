"""vllm-launch: large offline LLM generation with vLLM on Slurm clusters."""

__version__ = "0.1.0"
