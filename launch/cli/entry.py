"""The door of every command line: Ctrl-C ends one while its modules are imported as it does later."""

import importlib
import sys

INTERRUPTED = 130  # as shells have it


def enter(module: str, program: str, *arguments: list[str]) -> None:
    """Calls `main` of a module, with what it imports; the exit code of an interruption is 130."""
    try:
        importlib.import_module(module).main(*arguments)
    except KeyboardInterrupt:
        tell_interrupted(program)
        sys.exit(INTERRUPTED)


def tell_interrupted(program: str, *notes: str) -> None:
    """Says on stderr that a program was interrupted, and what of it remains to be known, in one line."""
    print(". ".join([f"{program}: interrupted", *notes]), file=sys.stderr)


def vllm_launch() -> None:
    """`vllm-launch`, as it is installed."""
    enter("launch.cli.app", "vllm-launch")
