"""A deterministic engine for tests: its text depends on item and settings alone, and says what it is.

Environment variables make it slow or make it fail. VLLM_LAUNCH_STUB_SECONDS_PER_ITEM and
VLLM_LAUNCH_STUB_SECONDS_PER_TOKEN are numbers; an item takes the sum of both. VLLM_LAUNCH_STUB_TRACE names
a file that gets a line for every item generated: what a kill loses is counted. VLLM_LAUNCH_STUB_FAIL is a
comma-separated list of words; one that ends in `@<n>` counts in the n-th start of a slot alone (the first:
0).

    start, task:<n>               it does not open; it does not in task n
    key:<item key>                this item is refused
    step:<n>                      its n-th step raises
    hang:start, hang:<item key>   it stands still when it opens, or when this item's turn comes
    die:<item key>                its core dies when this item's turn comes
    crash:<item key>              the same, and takes the whole process with it (SIGSEGV)
    raise:<text>                  it does not open, and says this
    oom:<setting>><n>             no GPU memory at start while an engine setting is above n
    kv:<n>                        its KV cache holds no more than n tokens, which must be max_model_len
    later:<setting>><n>           as oom, in its first step
"""

import os
import platform
import random
import signal
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from launch.config.schema import EngineKind
from launch.errors import EngineError
from launch.scenarios.records import Generation, Request
from launch.worker.engines.endings import make_sample
from launch.worker.engines.protocol import EngineDied, EngineFacts, EngineSetup, RequestRefused

MARK = "[stub]"
TASK_VARIABLE = "VLLM_LAUNCH_TASK"
START_VARIABLE = "VLLM_LAUNCH_START"
MAX_NUM_SEQS = 8
MODES = ("task", "key", "step", "hang", "die", "crash", "raise", "oom", "kv", "later")
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
        seconds_per_token: float,
        trace: Path | None,
    ) -> None:
        self._setup = setup
        self._failures = failures
        self._seconds_per_item = seconds_per_item
        self._seconds_per_token = seconds_per_token
        self._trace = trace
        self._waiting: deque[Request] = deque()
        self._num_steps = 0
        self.num_aborted = 0
        self.num_cached_tokens = 0
        self.facts = EngineFacts(
            kind=EngineKind.STUB,
            version="1",
            device="none",
            max_num_seqs=setup.engine.max_num_seqs or MAX_NUM_SEQS,
            settings={
                "seconds_per_item": seconds_per_item,
                "seconds_per_token": seconds_per_token,
                "max_num_seqs": setup.engine.max_num_seqs or MAX_NUM_SEQS,
                "max_model_len": setup.engine.max_model_len,
            },
            versions={"python": platform.python_version()},
            notes=("texts come from the stub engine, not from a model",),
        )

    @property
    def window(self) -> int:
        """Twice what it pretends to run at a time."""
        return 2 * self.facts.max_num_seqs

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
        if _is_above(self._setup, self._failures, "later"):
            raise RuntimeError("CUDA out of memory, as the stub was told")
        if not self._waiting:
            return []
        self._fall_over(self._waiting[0].key)
        generation = self._generate(self._waiting.popleft())
        delay_s = self._seconds_per_item + self._seconds_per_token * generation.num_output_tokens
        if delay_s:
            time.sleep(delay_s)
        if self._trace is not None:
            with self._trace.open("ab", buffering=0) as lines:
                lines.write(f"{os.getpid()} {generation.key}\n".encode())
        return [generation]

    def close(self) -> None:
        """Forgets what is unfinished."""
        self._waiting.clear()

    def _fall_over(self, key: str) -> None:
        if f"hang:{key}" in self._failures:
            _hang()
        if f"crash:{key}" in self._failures:
            os.kill(os.getpid(), signal.SIGSEGV)
        if f"die:{key}" in self._failures:
            raise EngineDied("the stub was told to die of this item")

    def _generate(self, request: Request) -> Generation:
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
    failures = frozenset(_words(environment))
    for word in failures:
        if word != "start" and word.partition(":")[0] not in MODES:
            raise EngineError(
                f"VLLM_LAUNCH_STUB_FAIL: got {word!r}. Write start, or one of {', '.join(MODES)} with what it"
                " is about, such as key:<item key>."
            )
    task = environment.get(TASK_VARIABLE, environment.get("SLURM_ARRAY_TASK_ID", ""))
    if failures & {"start", f"task:{task}"}:
        raise RuntimeError("the stub was told to fail at start")
    _fail_at_start(setup, failures)
    trace = environment.get("VLLM_LAUNCH_STUB_TRACE")
    return StubEngine(
        setup,
        failures,
        float(environment.get("VLLM_LAUNCH_STUB_SECONDS_PER_ITEM", "0")),
        float(environment.get("VLLM_LAUNCH_STUB_SECONDS_PER_TOKEN", "0")),
        Path(trace) if trace else None,
    )


def _words(environment: Mapping[str, str]) -> Iterator[str]:
    """The words that count in this start."""
    start = environment.get(START_VARIABLE, "0")
    for word in filter(None, environment.get("VLLM_LAUNCH_STUB_FAIL", "").split(",")):
        what, mark, number = word.rpartition("@")
        if not mark or not number.isdecimal():
            yield word
        elif number == start:
            yield what


def _fail_at_start(setup: EngineSetup, failures: frozenset[str]) -> None:
    if "hang:start" in failures:
        _hang()
    for text in _after(failures, "raise"):
        raise RuntimeError(text)
    if _is_above(setup, failures, "oom"):
        raise RuntimeError("Engine core initialization failed. CUDA out of memory, as the stub was told")
    length = setup.engine.max_model_len
    for tokens in map(int, _after(failures, "kv")):
        if tokens < length:
            raise RuntimeError(
                f"the model's max seq len ({length}) is larger than the maximum number of tokens that can be"
                f" stored in KV cache ({tokens})"
            )


def _after(failures: frozenset[str], mode: str) -> Iterator[str]:
    return (word.partition(":")[2] for word in failures if word.startswith(f"{mode}:"))


def _is_above(setup: EngineSetup, failures: frozenset[str], mode: str) -> bool:
    """Whether an engine setting is above what a word of this mode allows; unset counts as the stub's own."""
    for condition in _after(failures, mode):
        setting, _, limit = condition.partition(">")
        if (getattr(setup.engine, setting) or MAX_NUM_SEQS) > float(limit):
            return True
    return False


def _hang() -> NoReturn:
    while True:
        time.sleep(3600)
