"""A deterministic engine for tests: its text depends on item and settings alone, and says what it is.

Environment variables make it slow or make it fail: VLLM_LAUNCH_STUB_SECONDS_PER_ITEM (a number) and
VLLM_LAUNCH_STUB_FAIL, a comma-separated list of `start` (it does not open), `task:<n>` (the same, in task n),
`key:<item key>` (this item is refused) and `step:<n>` (its n-th step raises). VLLM_LAUNCH_STUB_TRACE names a
file that gets a line for every item generated, so that what a kill loses is counted, too.
"""

import os
import platform
import random
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from launch.config.schema import EngineKind
from launch.errors import EngineError
from launch.scenarios.records import Generation, Request
from launch.worker.engines.endings import make_sample
from launch.worker.engines.protocol import EngineFacts, EngineSetup, RequestRefused

MARK = "[stub]"
TASK_VARIABLE = "VLLM_LAUNCH_TASK"
MAX_NUM_SEQS = 8
# They try every file format on the way: quotes, newlines, emoji, line separators, several scripts.
WORDS = (
    *("the", "harbour", "was", "quiet", "and", "she", "said", "“no”", '"never"', "it's", "a\\b", "café"),
    *("这部电影", "很好看", "，", "结局", "。", "映画は", "とても", "よかった", "です", "영화", "الفيلم"),
    *("🙂", "👩‍🚀", "é", "𝔘", "<b>", "{{x}}", "%s", "#", "- 1", "line\nbreak", "tab\there", "\u2028"),
)


class StubEngine:
    """Returns one item per step, in the order of arrival."""

    def __init__(
        self,
        setup: EngineSetup,
        failures: frozenset[str],
        seconds_per_item: float,
        trace: Path | None = None,
    ) -> None:
        self._setup = setup
        self._failures = failures
        self._seconds_per_item = seconds_per_item
        self._trace = trace
        self._waiting: deque[Request] = deque()
        self._num_steps = 0
        self.num_aborted = 0
        self.facts = EngineFacts(
            kind=EngineKind.STUB,
            version="1",
            device="none",
            max_num_seqs=MAX_NUM_SEQS,
            settings={"seconds_per_item": seconds_per_item},
            versions={"python": platform.python_version()},
            notes=("texts come from the stub engine, not from a model",),
        )

    @property
    def window(self) -> int:
        """Twice what it pretends to run at a time."""
        return 2 * MAX_NUM_SEQS

    @property
    def num_unfinished(self) -> int:
        """Requests added and not yet returned."""
        return len(self._waiting)

    def add(self, request: Request) -> None:
        """Takes a request; RequestRefused when VLLM_LAUNCH_STUB_FAIL names its key."""
        if f"key:{request.key}" in self._failures:
            raise RequestRefused(request, "refused", "the stub was told to refuse this item")
        self._waiting.append(request)

    def step(self) -> list[Generation]:
        """The next item's generation, after its delay."""
        self._num_steps += 1
        if f"step:{self._num_steps}" in self._failures:
            raise RuntimeError(f"the stub was told to fail in step {self._num_steps}")
        if not self._waiting:
            return []
        if self._seconds_per_item:
            time.sleep(self._seconds_per_item)
        return [self._generate(self._waiting.popleft())]

    def close(self) -> None:
        """Forgets what is unfinished."""
        self._waiting.clear()

    def _generate(self, request: Request) -> Generation:
        if self._trace is not None:
            with self._trace.open("ab", buffering=0) as lines:
                lines.write(f"{os.getpid()} {request.key}\n".encode())
        num_samples = self._setup.sampling.samples_per_item
        written = [self._write(request, index) for index in range(num_samples)]
        return Generation(
            number=request.number,
            key=request.key,
            digest=request.digest,
            seed=request.seed,
            num_prompt_tokens=len(request.token_ids),
            cuts=request.cuts,
            samples=tuple(make_sample(self._setup, *parts) for parts in written),
        )

    def _write(self, request: Request, index: int) -> tuple[str, str, int]:
        """Text, finish reason and number of tokens of sample `index`; a token is a word, the mark is one."""
        draw = random.Random(f"{request.seed} {request.digest} {index}")  # the seed hashes the key
        wanted = draw.randint(1, 40)
        num_tokens = min(wanted, self._setup.sampling.max_tokens)
        words = [MARK, *(draw.choice(WORDS) for _ in range(num_tokens - 1))]
        return " ".join(words), "stop" if wanted == num_tokens else "length", num_tokens


def open_stub(setup: EngineSetup, environment: Mapping[str, str] = os.environ) -> StubEngine:
    """The stub; RuntimeError when VLLM_LAUNCH_STUB_FAIL says that it, or this task, fails at start.

    EngineError for a word in it that is none: a test that asks for no known failure would pass for nothing.
    """
    failures = frozenset(filter(None, environment.get("VLLM_LAUNCH_STUB_FAIL", "").split(",")))
    for word in failures:
        if word != "start" and not word.startswith(("task:", "key:", "step:")):
            raise EngineError(
                f"VLLM_LAUNCH_STUB_FAIL: got {word!r}. Write start, task:<n>, key:<item key> or step:<n>."
            )
    task = environment.get(TASK_VARIABLE, environment.get("SLURM_ARRAY_TASK_ID", ""))
    if failures & {"start", f"task:{task}"}:
        raise RuntimeError("the stub was told to fail at start")
    trace = environment.get("VLLM_LAUNCH_STUB_TRACE")
    seconds_per_item = float(environment.get("VLLM_LAUNCH_STUB_SECONDS_PER_ITEM", "0"))
    return StubEngine(setup, failures, seconds_per_item, Path(trace) if trace else None)
