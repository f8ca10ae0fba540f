"""What kernels are compiled for on a GPU, asked of NVML in a process of its own, which alone may hang."""

import os
import sys
from functools import cache

from launch.rundir.journal import parse_object
from launch.worker.bounded import answer_of
from launch.worker.commands import with_package

ANSWER_S = 30.0
"""Eight GPUs without persistence mode take some 10 s to be initialised."""
UNKNOWN = {"device": "unknown", "compute_capability": "unknown", "driver": "unknown"}


@cache
def describe_compiler_target(device_id: str) -> dict[str, str]:
    """A GPU's name, its compute capability and the driver.

    "unknown" where NVML does not say, as where it is not installed, hangs, or the GPU is another maker's.
    """
    command = [sys.executable, "-P", "-m", "launch.worker.gpu_answer", device_id]
    lines = (answer_of(command, ANSWER_S, with_package(os.environ)) or "").splitlines()
    told = parse_object(lines[-1].encode()) if lines else None  # a sitecustomize may have printed before it
    return {**UNKNOWN, **(told or {})}
