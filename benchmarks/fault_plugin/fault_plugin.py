"""A vLLM plugin that makes a step of the model fail, as FAULT says; for benchmarks/gpu_faults.py.

vLLM loads it in each of its processes, through the entry point beside this file, when this folder is on
PYTHONPATH. FAULT_MARK names a file: it is made before the fault, which then happens once, or (poison) holds
the digest of the prompt that kills whenever it is run.

    memory    step 300 asks for a PiB of GPU memory
    assert    step 300 reads beyond a tensor: a device-side assert
    address   step 300 writes to an address that is not mapped
    poison    the 20th prompt of the first start aborts the process, in every start
"""

import hashlib
import os
from pathlib import Path
from typing import Any

FAILING_STEP = 300
POISON_PROMPT = 20


def register() -> None:
    """Wraps the step of vLLM's worker."""
    fault = os.environ.get("FAULT")
    if not fault:
        return
    from vllm.v1.worker.gpu_worker import Worker

    if getattr(Worker, "fails_on_purpose", False):
        return
    Worker.fails_on_purpose = True
    execute = Worker.execute_model
    fail = Poison() if fault == "poison" else Once(fault)

    def execute_model(self: Any, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        if scheduler_output.total_num_scheduled_tokens:
            fail(scheduler_output)
        return execute(self, scheduler_output, *args, **kwargs)

    Worker.execute_model = execute_model


class Once:
    """Fails in one step of the first start."""

    def __init__(self, fault: str) -> None:
        self._mark = Path(os.environ["FAULT_MARK"])
        self._fault = {"memory": use_all_memory, "assert": read_beyond, "address": write_anywhere}[fault]
        self._num_steps = 0

    def __call__(self, scheduler_output: Any) -> None:
        self._num_steps += 1
        if self._num_steps >= FAILING_STEP and not self._mark.exists():
            self._mark.touch()
            self._fault()


class Poison:
    """Aborts the process whenever a certain prompt comes."""

    def __init__(self) -> None:
        self._mark = Path(os.environ["FAULT_MARK"])
        self._num_prompts = 0

    def __call__(self, scheduler_output: Any) -> None:
        for request in scheduler_output.scheduled_new_reqs:
            self._num_prompts += 1
            digest = hashlib.sha256(repr(request.prompt_token_ids).encode()).hexdigest()
            if self._num_prompts == POISON_PROMPT and not self._mark.exists():
                self._mark.write_text(digest)
            if self._mark.exists() and self._mark.read_text() == digest:
                os.abort()


def use_all_memory() -> None:
    """torch.OutOfMemoryError."""
    import torch

    torch.empty(2**50, dtype=torch.uint8, device="cuda")


def read_beyond() -> None:
    """A device-side assert, which the next call of CUDA reports."""
    import torch

    torch.zeros(4, device="cuda")[torch.tensor([9], device="cuda")]
    torch.cuda.synchronize()


def write_anywhere() -> None:
    """An illegal memory access, which the next call of CUDA reports."""
    import torch
    import triton  # noqa: PLC0415  only there beside a GPU
    import triton.language as tl  # noqa: PLC0415

    @triton.jit
    def write(pointer, distance):  # type: ignore[no-untyped-def]
        tl.store(pointer + distance, 1.0)

    write[(1,)](torch.zeros(1, device="cuda"), 2**44)
    torch.cuda.synchronize()
