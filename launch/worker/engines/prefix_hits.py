"""What vLLM's prefix cache saved: prompt tokens that the first sample of each request found there.

Items of a user are added one after another so that they share their prompts' beginning; this number says
whether that works. Further samples of a request find its whole prompt and say nothing. vLLM's own counters
need its statistics, which cost time at every token; the state that it keeps for a request holds the number,
and is looked up once per request. Where a version has no such state the number stays 0.
"""

from typing import Any


class PrefixHits:
    """Follows requests from `add` to their end; `engine` is vLLM's LLMEngine."""

    def __init__(self, engine: Any) -> None:
        processor = getattr(engine, "output_processor", None)
        self._states: dict[str, Any] = getattr(processor, "request_states", {})
        self._followed: dict[str, Any] = {}
        self.num_cached_tokens = 0
        """Over all requests that have ended."""

    def follow(self, name: str, internal_name: object, num_samples: int) -> None:
        """From right after add_request, which returned `internal_name`; vLLM numbers its samples."""
        state = self._states.get(f"0_{internal_name}" if num_samples > 1 else str(internal_name))
        if state is not None:
            self._followed[name] = state

    def end(self, name: str) -> None:
        """Counts a request that has ended, aborted ones too."""
        state = self._followed.pop(name, None)
        self.num_cached_tokens += int(getattr(state, "num_cached_tokens", None) or 0)
