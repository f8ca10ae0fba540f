"""Opens the engine of the resolved kind; torch and vLLM are imported by the chosen one alone."""

from collections.abc import Callable

from launch.config.schema import EngineKind
from launch.errors import EngineError
from launch.worker.engines.hf import open_transformers
from launch.worker.engines.protocol import Engine, EngineSetup
from launch.worker.engines.stub import open_stub
from launch.worker.engines.vllm_engine import open_vllm


def open_engine(setup: EngineSetup, on_dead: Callable[[str], None]) -> Engine:
    """The engine, loaded and ready for `add`; must be called in the main thread.

    `on_dead` is called from another thread when the engine has died while `step` waits for it in vain.
    Raises EngineError when the engine cannot run this configuration.
    """
    kind = setup.model.engine
    assert kind is not EngineKind.AUTO, "auto is resolved at submission"
    if kind is EngineKind.VLLM:
        return open_vllm(setup, on_dead)
    if setup.engine.batch_invariant:
        raise EngineError(f"engine.batch_invariant: got true, which only vLLM has, not {kind}. Leave it out.")
    if kind is EngineKind.TRANSFORMERS:
        return open_transformers(setup)
    return open_stub(setup)
