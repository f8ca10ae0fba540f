"""Code of the tests inside vLLM's own processes: a general plugin, as vLLM finds and loads it (vllm/plugins).

Every entry point of the group `vllm.general_plugins` is called in engine process, core and workers.
"""

import os
from pathlib import Path

from tests.runs import REPOSITORY

GROUP = "vllm.general_plugins"


def plugin_path(directory: Path, name: str, function: str) -> str:
    """A PYTHONPATH with which vLLM calls `function` (`module:name`) in each of its processes.

    `directory` gets the metadata of a package that has this entry point and nothing else.
    """
    metadata = directory / f"{name}-1.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {function}\n")
    return os.pathsep.join([str(REPOSITORY), str(directory)])
