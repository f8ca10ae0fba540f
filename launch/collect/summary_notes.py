"""What a summary says in sentences: what was resolved, fell back or is mixed, and which GPUs idled."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from launch.collect.attempt_files import IdlePlace
from launch.config.wording import log_line
from launch.rundir.records import RunRecord, SubmissionRecord

MAX_IDLE_PLACES = 3


def run_notes(
    record: RunRecord, submissions: Sequence[SubmissionRecord], facts: Sequence[dict[str, Any]]
) -> list[str]:
    """What was resolved, fell back or is mixed, each once, in the order it was said."""
    notes = [*record.notes]
    for each in submissions:
        notes += each.notes
    for fact in facts:
        notes += fact.get("notes", ())
    for name in ("version", "device"):
        found = sorted({str(fact[name]) for fact in facts if fact})
        if len(found) > 1:
            notes.append(f"mixed: engines of several {name}s generated this run: {', '.join(found)}")
    if len({bool((fact.get("settings") or {}).get("batch_invariant")) for fact in facts if fact}) > 1:
        notes.append("mixed: some engines of this run had batch-invariant kernels, others had not")
    if len({each.code.digest for each in submissions}) > 1:
        notes.append("mixed: vllm-launch changed between submissions")
    return list(dict.fromkeys(notes))


def idle_notes(idle: Counter[IdlePlace]) -> list[str]:
    """One, where a GPU idled beside requests: how often, and where most."""
    if not idle:
        return []
    most = [
        f"task {task} of submission {submission}, GPU {log_line(gpu, 60)} ({count})"
        for (submission, task, gpu), count in idle.most_common(MAX_IDLE_PLACES)
    ]
    others = [f"and {len(idle) - len(most)} more"] if len(idle) > len(most) else []
    return [f"idle beside requests for a minute and more, by spells: {', '.join([*most, *others])}"]
