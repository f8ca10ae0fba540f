"""Importing vLLM and transformers as fast as Python can (docs/performance.md, "Imports").

What an import makes stays to the process's end, and Python's collector looks through all of it again and
again meanwhile, a third of the time. Without compiled modules (`keeps_bytecode`) it takes twice as long.
"""

import gc
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

LARGE_PACKAGES = ("vllm", "transformers", "torch")
"""What an engine process imports that is large; those that are installed."""


_NOT_NEEDED = "sklearn"
"""transformers imports it where it is installed, and SciPy and pandas with it, for draft models alone."""


@contextmanager
def fast_imports() -> Iterator[None]:
    """What is made inside is not looked through for garbage, then or later (gc.freeze); also when it fails.

    The collector is the whole process's, so this is for a time in which no other thread makes much; it is as
    it was at the end. A process that is forked later shares the pages of what is frozen. Inside, scikit-learn
    cannot be found unless it is imported already: an import of it says that it is not installed.
    """
    was_enabled, is_hidden = gc.isenabled(), _NOT_NEEDED not in sys.modules
    gc.disable()
    if is_hidden:
        sys.modules[_NOT_NEEDED] = None  # type: ignore[assignment]  # so Python has it
    try:
        yield
    finally:
        if is_hidden:
            sys.modules.pop(_NOT_NEEDED, None)
        gc.freeze()
        if was_enabled:
            gc.enable()


def keeps_bytecode(environment: Mapping[str, str], packages: Sequence[str] = LARGE_PACKAGES) -> bool:
    """Whether a Python of ours with this environment finds compiled modules or leaves them for the next.

    False where a package was installed without them (uv does, and many images) and Python may not write
    beside it, or was told to write none: every process compiles the sources of all that it imports then.
    """
    if environment.get("PYTHONPYCACHEPREFIX"):
        return True
    writes = not environment.get("PYTHONDONTWRITEBYTECODE")
    return all(_is_compiled(source) or (writes and _may_write(source)) for source in _sources(packages))


def _sources(packages: Sequence[str]) -> Iterator[Path]:
    for name in packages:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            yield Path(spec.origin)


def _is_compiled(source: Path) -> bool:
    return Path(importlib.util.cache_from_source(source)).exists()


def _may_write(source: Path) -> bool:
    folder = source.parent / "__pycache__"
    return os.access(folder if folder.is_dir() else source.parent, os.W_OK)
