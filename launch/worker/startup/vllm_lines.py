"""What vLLM prints about its own start: the one table from its log lines to parts of a start.

Texts are those of vLLM 0.26 and 0.32; tests/worker/startup_logs has recorded logs, and a test looks each text
up in the installed vLLM. How long its processes take to start is told by the times of their lines. What vLLM
prints nothing about (FlashInfer's JIT) is in no row, and stays unexplained.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

# The parts of a start that vLLM itself counts; `ENGINE` is vllm.LLM(...) as the engine process measures it.
ENGINE = "engine"
LOAD_MODEL = "load_model"
INIT_ENGINE = "init_engine"
COMPILE_AND_RUN = "compile_and_run"


class TimedLine(NamedTuple):
    """A line with seconds: the part they are of, the part in which they lie if that is printed, and its text.

    `said` is the text as it stands in vLLM's source, with its %-marks: a pattern is made of it. The seconds
    are the last number.
    """

    part: str
    within: str
    said: str


class Span(NamedTuple):
    """Two lines between whose times, in whole seconds, a part lies that vLLM does not time.

    `across`: one process prints the first and others the second, the last of which counts.
    """

    part: str
    within: str
    begin: str
    end: str
    across: bool = False


TIMED = (
    TimedLine("init_model", LOAD_MODEL, "Initializing model took %.6f seconds"),
    TimedLine("weights", LOAD_MODEL, "Loading weights took %.2f seconds"),
    TimedLine(LOAD_MODEL, ENGINE, "Model loading took %s GiB memory and %.6f seconds"),
    TimedLine(LOAD_MODEL, ENGINE, "Model loading took %s GiB and %.6f seconds"),
    TimedLine("compile", COMPILE_AND_RUN, "torch.compile took %.2f s in total"),
    TimedLine(
        "compile",
        COMPILE_AND_RUN,
        "torch.compile and initial profiling/warmup run together took %.2f s in total",
    ),
    TimedLine("profile", COMPILE_AND_RUN, "Initial profiling/warmup run took %.2f s"),
    TimedLine("graphs", INIT_ENGINE, "Graph capturing finished in %.0f secs"),
    TimedLine("jit", INIT_ENGINE, "JIT kernel warmup finished in %.2fs."),
    TimedLine(INIT_ENGINE, ENGINE, "init engine (profile, create kv cache, warmup model) took %.2f s"),
)
_CORE, _WORKERS = "Initializing a V1 LLM engine", "is assigned as DP rank"
SPANS = (
    # Settings, a look at the model's class, and a new process with its imports.
    Span("start_core", ENGINE, "non-default args: ", _CORE, across=True),
    # Further processes with their imports; on one GPU the core is its own worker.
    Span("start_workers", ENGINE, _CORE, _WORKERS, across=True),
    Span(COMPILE_AND_RUN, INIT_ENGINE, "Warming up model for the compilation...", "Warming up done."),
)
# Lines that are counted: did this start compile, or find what another one compiled?
COUNTED = {
    "compiled": ("saved AOT compiled function to %s", "Compiling a graph for compile range %s takes %.2f s"),
    "loaded": (
        "Directly load AOT compilation from path %s",
        "Directly load the compiled graph(s) for compile range %s from the cache, took %.3f s",
    ),
    "not_loadable": ("Compiling model again due to a load failure from %s",),
}

_MARK = re.compile(r"%(?:\.\d)?[fs]")
_PREFIX = re.compile(r"^\((?P<process>[^)]* pid=\d+)\)")
_TIME = re.compile(r" (?P<time>\d\d-\d\d \d\d:\d\d:\d\d) \[")


@dataclass(frozen=True, slots=True)
class VllmLines:
    """Seconds by part, and how often each counted line was printed.

    Processes work side by side: of several that print a part the longest counts. A process that prints one
    twice (two graphs) spent the sum.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def read_lines(log: str) -> VllmLines:
    """What the log of one engine start says; empty for an engine that is not vLLM."""
    by_process: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    counts = dict.fromkeys(COUNTED, 0)
    begun: dict[tuple[str, str], datetime] = {}
    for line in log.splitlines():
        prefix = _PREFIX.match(line)
        process = prefix["process"] if prefix else ""
        for part, seconds in _timed(line):
            by_process[process][part] += seconds
        for part, seconds in _spanned(line, process, begun):
            by_process[process][part] = seconds
        for name, patterns in _COUNTED.items():
            counts[name] += any(pattern.search(line) for pattern in patterns)
    slowest: dict[str, float] = {}
    for parts in by_process.values():
        for part, spent in parts.items():
            slowest[part] = round(max(spent, slowest.get(part, 0.0)), 3)
    return VllmLines(slowest, counts if any(counts.values()) or slowest else {})


def within_of(part: str, printed: Collection[str]) -> str:
    """In which part of those that were printed a part lies; `ENGINE` where none of them holds it."""
    while part in _WITHIN:
        part = _WITHIN[part]
        if part in printed:
            return part
    return ENGINE


def _timed(line: str) -> Iterator[tuple[str, float]]:
    for part, pattern in _TIMED:
        found = pattern.search(line)
        if found:
            yield part, float(found[found.lastindex or 0])


def _spanned(line: str, process: str, begun: dict[tuple[str, str], datetime]) -> Iterator[tuple[str, float]]:
    """The spans that end with a line; those that begin with it are noted in `begun`."""
    time = _time(line)
    if time is None:
        return
    for span in SPANS:
        key = ("" if span.across else process, span.part)
        if span.begin in line:
            begun.setdefault(key, time)
        elif span.end in line and key in begun:
            passed = time - begun[key]
            if timedelta() <= passed < timedelta(days=1):  # no year is printed
                yield span.part, passed.total_seconds()


def _time(line: str) -> datetime | None:
    """The time of a line of vLLM's; None for another one, whose logger may write the day first."""
    found = _TIME.search(line)
    try:
        return None if found is None else datetime.fromisoformat(f"2000-{found['time']}")
    except ValueError:
        return None


def _pattern(said: str) -> re.Pattern[str]:
    """A text of vLLM's source as a pattern: its %-marks are what they may become."""
    texts = _MARK.split(said)
    marks = _MARK.findall(said)
    made = re.escape(texts[0])
    for mark, text in zip(marks, texts[1:], strict=True):
        made += ("(.+?)" if mark == "%s" else r"(\d+(?:\.\d+)?)") + re.escape(text)
    return re.compile(made)


_TIMED = tuple((row.part, _pattern(row.said)) for row in TIMED)
_COUNTED = {name: tuple(map(_pattern, texts)) for name, texts in COUNTED.items()}
_WITHIN = {row.part: row.within for row in (*TIMED, *SPANS)}
