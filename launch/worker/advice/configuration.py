"""Advice on what can never work as it is: the model, its settings, or GPUs that are not there."""

from collections.abc import Iterator

from launch.worker.advice.case import Case


def unsupported_model(case: Case) -> Iterator[str]:
    """Another engine, or another vLLM."""
    yield f"{case.anew} --engine transformers: slower, and it knows what the transformers library knows"
    yield "install a newer vLLM, if its list of supported models has this one"


def needs_remote_code(case: Case) -> Iterator[str]:
    """The permission, which is the user's to give."""
    checkpoint = case.config.model.checkpoint
    yield f"{case.anew} --trust-remote-code true, if you trust the Python files in {checkpoint}"


def bad_tensor_parallel(case: Case) -> Iterator[str]:
    """The nearest sizes below and above that the model can be split over."""
    asked = case.config.engine.tensor_parallel_size
    fitting = [size for size in case.tensor_parallel_sizes() if size < asked] or [1]
    yield f"{case.resume} --tensor-parallel-size {fitting[-1]}"
    for size in [size for size in case.tensor_parallel_sizes() if size > asked][:1]:
        yield f"{case.resume} --tensor-parallel-size {size}, if the model needs more GPUs"


def too_few_gpus(case: Case) -> Iterator[str]:
    """As many as there are, or more GPUs."""
    gpus = int(case.numbers.get("gpus", 0))
    sizes = case.tensor_parallel_sizes(gpus)
    if sizes:
        yield f"{case.resume} --tensor-parallel-size {sizes[-1]}, for the task sees only {gpus}"
    needed = case.config.engine.tensor_parallel_size * case.config.num_engines
    if case.on_slurm:
        yield f"{case.resume} --gpus-per-task {needed}, and see if the partition has nodes with that many"
    else:
        yield f"look at nvidia-smi and CUDA_VISIBLE_DEVICES: {needed} GPUs are asked for"


def bad_quantization(case: Case) -> Iterator[str]:
    """The checkpoint's own quantisation, or weights that vLLM knows."""
    if case.config.model.quantization is not None:
        yield f"{case.other_run} and leave --quantization out: vLLM takes what the checkpoint says"
    yield "give weights in a format that vLLM knows: compressed-tensors, awq, gptq or fp8"


def bad_dtype(case: Case) -> Iterator[str]:
    """The dtype that every GPU has."""
    yield f"{case.anew} --dtype float16"


def bad_checkpoint(case: Case) -> Iterator[str]:
    """Whole files, and a look at them."""
    checkpoint = case.config.model.checkpoint
    yield f"copy the checkpoint anew, all files from one place, and compare sizes: {checkpoint}"
    yield f"look at it with `vllm-launch check-model {checkpoint}`"


def no_batch_invariance(case: Case) -> Iterator[str]:
    """Other kernels, and what that means for texts."""
    yield f"{case.resume} --batch-invariant false: a text may then depend on the batch it is generated in"


def no_full_graphs(case: Case) -> Iterator[str]:
    """Fewer graphs, then none."""
    yield f"{case.resume} --full-cuda-graphs false: only steps without a prompt in them are CUDA graphs then"
    yield f"{case.resume} --enforce-eager true: no CUDA graphs at all"
