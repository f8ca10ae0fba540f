"""A plugin with which vLLM on a CPU forks its core, as it does beside a GPU; there it sets spawn itself."""

import os
from pathlib import Path
from typing import Any

VARIABLE = "VLLM_LAUNCH_TEST_FORKING"
"""A directory: every process that imports vLLM anew leaves a file there."""


def register() -> None:
    """The plugin: wraps the check that sets the variable."""
    directory = os.environ.get(VARIABLE)
    if directory is None:
        return
    from vllm.platforms.cpu import CpuPlatform

    Path(directory, str(os.getpid())).touch()
    check = CpuPlatform.check_and_update_config

    def check_and_fork(config: Any) -> None:
        check(config)
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"

    CpuPlatform.check_and_update_config = staticmethod(check_and_fork)
