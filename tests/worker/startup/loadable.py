"""A vLLM plugin with which vLLM on a CPU loads what it has compiled and saved.

vLLM 0.32.0 calls `finalize_loading` on what it loads. The compiler that it uses on a CPU returns a function
without that, and so every start on a CPU compiles again ("'function' object has no attribute
'finalize_loading'", recorded in tests/worker/startup_logs). On a GPU what is loaded has the method.
"""

from typing import Any


def register() -> None:
    """Gives what is loaded the method that it lacks."""
    import torch

    load = torch.compiler.load_compiled_function

    def load_whole(*arguments: Any, **named: Any) -> Any:
        loaded = load(*arguments, **named)
        function = loaded._artifacts.compiled_fn
        if not hasattr(function, "finalize_loading"):
            function.finalize_loading = lambda _: None
        return loaded

    torch.compiler.load_compiled_function = load_whole
