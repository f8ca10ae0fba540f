"""The prompt of one item of a run, made of the run directory as its worker makes it."""

from collections.abc import Iterator
from difflib import get_close_matches

from launch.config.schema import RunConfig
from launch.config.wording import listed, printable
from launch.errors import RunError
from launch.model.tokenizer import ChatTokenizer, open_light_tokenizer
from launch.rundir.layout import RunPaths
from launch.rundir.plan import IndexEntry, PlanReader, read_index
from launch.rundir.records import (
    RunRecord,
    list_submissions,
    load_run,
    load_submission,
    run_config,
    tokenizer_dir,
)
from launch.scenarios.fit import PromptMaker
from launch.scenarios.history import leave_out_test_items
from launch.scenarios.preview import PromptPreview, preview_item
from launch.worker.chunk_requests import planned_item
from launch.worker.requests import open_run_prompts, open_run_tokenizer

MAX_NEAREST = 3


def prompt_of_item(run: RunPaths, key: str) -> tuple[PromptPreview, PromptMaker]:
    """The prompt of the item `key` and its maker; of every submission the same, for the run has the budget.

    RunError for a run without a submission and for a key that is none of its items, with the nearest;
    ChatTemplateError for a conversation that the chat template refuses.
    """
    record = load_run(run)
    submissions = list_submissions(run)
    if not submissions:
        raise RunError(
            f"{printable(str(run.root))}: has no submission, so nothing was planned. Submit it anew."
        )
    config = run_config(record, load_submission(run, submissions[-1]))
    entry, number = find_item(run, key)
    plan = PlanReader(run)
    try:
        planned, history = plan.user(entry.span), plan.history(entry.history_span)
    finally:
        plan.close()
    maker = open_run_prompts(run, record, config, _open_tokenizer(record, config))
    entries, left_out = leave_out_test_items(history, planned.record)
    shown = preview_item(maker, planned.record, planned_item(planned, number), entries, left_out)
    return shown, maker


def _open_tokenizer(record: RunRecord, config: RunConfig) -> ChatTokenizer:
    """That of the run's engine; without transformers the light one, which tests hold equal."""
    try:
        return open_run_tokenizer(record, config)
    except ModuleNotFoundError:
        return open_light_tokenizer(tokenizer_dir(record))


def find_item(run: RunPaths, key: str) -> tuple[IndexEntry, int]:
    """The user of an item and the item's number in the run; RunError names the nearest keys."""
    entries = list(read_index(run))
    user_hash = key.rpartition("#")[0]
    for entry in entries:
        if entry.user_hash == user_hash and key in entry.keys:
            return entry, entry.first_item + entry.keys.index(key)
    nearest = listed(map(printable, nearest_keys(entries, key)))
    raise RunError(f"{printable(key)}: no item of run {run.root.name} has this key. Nearest: {nearest}.")


def nearest_keys(entries: list[IndexEntry], key: str) -> list[str]:
    """Keys most like `key`: of the user that it names or of those named most like it, else the first ones.

    Users are compared first: a run may have a million keys.
    """
    users = {entry.user_hash: entry for entry in entries}
    name = key.rpartition("#")[0] or key
    named = [name] if name in users else get_close_matches(name, users, n=MAX_NEAREST, cutoff=0.5)
    keys = [each for user in named for each in users[user].keys]
    return get_close_matches(key, keys, n=MAX_NEAREST, cutoff=0.0) or list(_first(entries))


def _first(entries: list[IndexEntry]) -> Iterator[str]:
    return (key for entry in entries[:MAX_NEAREST] for key in entry.keys[:1])
