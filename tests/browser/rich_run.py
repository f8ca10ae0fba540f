"""A published run with all that a run page shows: failures, retries, GPUs, three languages, hostile texts."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from launch.collect.merge import merge
from launch.rundir.journal import Journal, write_json
from launch.rundir.layout import AttemptPaths, RunPaths
from launch.scenarios.records import Failure, Generation, Sample
from tests.browser.hostile import TEXTS
from tests.collect.builders import make_generations, plan_run, write_results
from tests.scenarios.builders import dialogue_item, turn, user

SAMPLES = {
    "zh": ("这部电影的结局很美，我会再看一遍。", "音乐很好，演员也好。"),
    "ja": ("今日はいい天気ですね。ﾃﾞｰﾀを見ました。", "そうですか。私もそう思います。"),
    "en": ("The ending was slow but beautiful.", "I would watch it again, Straße or not."),
}


def make_users() -> list[dict[str, Any]]:
    """A user a language and one for all hostile texts, which say and ask them; and ratings."""
    plain = [
        user(
            f"user-{language}",
            {"zh": "阿明", "ja": "花子", "en": "ADA"}[language],
            dialogue=[
                dialogue_item(*(turn("BEN", f"{text} {place}") for place in range(7)), continuation=text)
                for text in texts
            ],
            movie_rating=[
                {"context": [], "continuation_prefix": "Heat: ", "continuation": "4.5", "timestamp": "2020"}
            ],
        )
        for language, texts in SAMPLES.items()
    ]
    said = [text for kind, text in TEXTS.items() if kind != "long"]
    items = [dialogue_item(turn(text, text), continuation=text, continuation_prefix=text) for text in said]
    items.append(dialogue_item(turn("BEN", TEXTS["long"]), continuation=TEXTS["long"]))
    return [*plain, user("".join(said)[:600], "</script><b>", dialogue=items)]


def publish_rich_run(root: Path, checkpoint: Path) -> tuple[RunPaths, Path]:
    """The run and its published directory: one item failed, one is missing, three tasks had three fates."""
    run = plan_run(
        root,
        checkpoint,
        make_users(),
        num_tasks=3,
        prompt={"language": "zh"},
        publish={"allow_missing": True, "max_failed_items": 5},
        max_model_len=2048,
    )
    texts = [text for pair in SAMPLES.values() for text in (*pair, "4")] + list(TEXTS.values())
    done = [_says(each, text) for each, text in zip(make_generations(run), texts, strict=True)]
    failed = replace(done[-3], samples=(), failure=Failure("too_long", TEXTS["script"]))
    chosen = [*done[:-3], failed, done[-1]]
    thirds = [chosen[place::3] for place in range(3)]
    for task, generations in enumerate(thirds):
        start = write_results(run, generations, task=task)
        _write_attempt(run.attempt(1, task, start.attempt), task)
    return run, merge(run).output_dir


def _says(generation: Generation, text: str) -> Generation:
    samples = (Sample(text, "stop", 12), Sample(f"{text} 二", "length", 16, reasoning=text[:200]))
    return replace(generation, samples=samples)


def _write_attempt(paths: AttemptPaths, task: int) -> None:
    """Times, events and readings as a supervisor leaves them; task 1 was killed, task 2 failed."""
    began = time.time() - 380 + 10 * task  # results are committed now
    slots = [
        {"slot": slot, "start": 0, "gpus": [str(slot)], "opened": began + 5, "command": []}
        for slot in range(2)
    ]
    write_json(
        paths.attempt_json,
        {
            "host": f"node{task}<b>",
            "started": began,
            "gpus": ["0", "1"],
            "slots": slots,
            "queue_wait_s": 40.0,
        },
    )
    journal = Journal(paths.events)
    for slot in range(2):
        rows = [(5, "loading"), (60, "generating"), (400 - 60 * slot, "draining")]
        for after, phase in rows[: 2 if task == 1 else 3]:
            journal.append(
                {"time": began + after, "event": "phase", "slot": slot, "start": 0, "phase": phase}
            )
    step = {"class": "gpu_memory_at_start", "action": "change", "setting": "max_num_seqs", "from": 8, "to": 4}
    journal.append({"time": began + 50, "event": "ladder", "slot": 0, "start": 0, **step})
    if task != 1:
        for slot in range(2):
            end = {"slot": slot, "start": 0, "said": "empty", "code": 0}
            journal.append({"time": began + 405 - 60 * slot, "event": "engine_end", **end})
        failure = {"class": "engine_died", "message": TEXTS["image"]} if task == 2 else None
        write_json(
            paths.ended,
            {
                "code": 1 if task == 2 else 0,
                "reason": "failed" if task == 2 else "empty",
                "ended": began + 406,
                "failure": failure,
            },
        )
    journal.close()
    _write_readings(paths, began)


def _write_readings(paths: AttemptPaths, began: float) -> None:
    journal = Journal(paths.gpu)
    device = {"name": "NVIDIA <b>Test</b>", "uuid": "GPU-1", "memory_total_mib": 81_920}
    journal.append({"time": began, "devices": [device, device]})
    for second in range(0, 400, 2):
        busy = 0.0 if second < 60 else 90.0 + second % 10
        readings = [
            {
                "utilization_percent": busy - 20 * gpu * (busy > 0),
                "memory_used_mib": 1000.0 if not busy else 60_000.0 + 100 * gpu,
            }
            for gpu in range(2)
        ]
        journal.append({"time": began + second, "gpus": readings})
    journal.close()
