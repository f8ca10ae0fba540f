"""Importing vLLM and transformers as fast as Python can (docs/performance.md, "Imports").

What an import makes stays to the process's end, and Python's collector looks through all of it again and
again meanwhile, a fifth of the time (8.2 and 6.5 s on an H200 host). Without compiled modules (bytecode.py)
it takes twice as long.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_NOT_NEEDED = "sklearn"
"""transformers imports it where it is installed, with SciPy and pandas, for draft models and metrics."""


@contextmanager
def fast_imports(*, hides_sklearn: bool = False) -> Iterator[None]:
    """What is made inside is not looked through for garbage, then or later (gc.freeze); also when it fails.

    The collector is the whole process's, so this is for a time in which no other thread makes much; it is as
    it was at the end. A process that is forked later shares the pages of what is frozen. With `hides_sklearn`
    scikit-learn cannot be found inside unless it is imported already: an import of it says that it is not
    installed. Not for code of a checkpoint, which may want it.
    """
    was_enabled, is_hidden = gc.isenabled(), hides_sklearn and _NOT_NEEDED not in sys.modules
    gc.disable()
    if is_hidden:
        sys.modules[_NOT_NEEDED] = None  # type: ignore[assignment]  # so Python has it
    try:
        yield
    finally:
        if is_hidden and sys.modules.get(_NOT_NEEDED) is None:  # else it was imported all the same
            sys.modules.pop(_NOT_NEEDED, None)
        gc.freeze()
        if was_enabled:
            gc.enable()
