"""Makes a run: everything is checked and frozen in a directory beside its place, then renamed into it.

Nothing half-written stays: an error at any point removes what was made, a kill leaves only a directory whose
name begins with a dot, which nothing reads and the next run made beside it removes.
"""

import errno
import itertools
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from launch.config.checks import ignored_by_engine
from launch.config.identity import identity_digest
from launch.config.schema import Language, RunConfig
from launch.config.shipped import shipped
from launch.errors import ConfigError, RunError, StorageError
from launch.model.tokenizer import open_light_tokenizer
from launch.rundir.chosen_users import choose, stream_chosen
from launch.rundir.durable import fsync_directory, make_directory, put_in_place
from launch.rundir.estimate import calibrate_estimate
from launch.rundir.freeze import Frozen, freeze_request, scenario_dir, scenario_file
from launch.rundir.identity import code_version, file_digest, recorded_versions, tree_digest
from launch.rundir.layout import RunPaths
from launch.rundir.leftovers import mark_maker, remove_leftovers, unmark_maker
from launch.rundir.plan import HistoryEntries
from launch.rundir.plan_check import HistoryCheck, PlanCheck, RoomCheck
from launch.rundir.plan_writer import write_plan
from launch.rundir.record_file import refuse_not_utf8
from launch.rundir.records import RunRecord, Subset, now, record_checkpoint, save_record
from launch.rundir.storage_errors import storage_errors
from launch.scenarios.chat import probe_chat_form, probe_prompt
from launch.scenarios.fit import PromptMaker, open_prompt_maker
from launch.scenarios.history import find_history, stream_history
from launch.scenarios.reasoning import opens_reasoning
from launch.scenarios.stream import count_items, stream_users


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a new run is made from; `config` has dataset, scenario path and language filled in.

    Its directory is `place`, or one of its name in `runs_dir`. `places` says where each setting was given.
    """

    config: RunConfig
    preset: str
    runs_dir: Path
    name: str | None = None
    notes: tuple[str, ...] = ()
    place: Path | None = None
    places: Mapping[str, str] = field(default_factory=dict)


def create_run(request: RunRequest, check: Callable[[RunPaths], None] = lambda run: None) -> RunPaths:
    """Checks, freezes and names a run; its directory, whole. `check` is asked before anything is written."""
    frozen = freeze_request(request.config)
    config = frozen.config
    notes = (*request.notes, *frozen.notes, *ignored_by_engine(config.model.engine, request.places))
    places = _free_places(request, config, check)
    run_id, final = next(places)
    partial = RunPaths(final.root.with_name(f".{run_id}.{secrets.token_hex(4)}"))
    with storage_errors(final.root):
        remove_leftovers(final.root.parent)
        _make_partial(partial.root)
        try:
            mark_maker(partial)
            record = _fill(partial, frozen, run_id, request.preset, notes)
            save_record(partial.run_yaml, record)
            unmark_maker(partial)
            while not _is_put(partial, final):
                run_id, final = next(places)
                save_record(partial.run_yaml, record.model_copy(update={"run_id": run_id, "name": run_id}))
        finally:
            shutil.rmtree(partial.root, ignore_errors=True)
    return final


def _free_places(
    request: RunRequest, config: RunConfig, check: Callable[[RunPaths], None]
) -> Iterator[tuple[str, RunPaths]]:
    """Names that nobody has yet, each with its checked directory: a made-up one is followed by the next.

    RunError when the name, or the place, that was asked for is taken; so is one that was lost in a race.
    """
    base = check_name(request.name or _default_name(request.preset, config))
    for number in itertools.count(1):
        run_id = base if number == 1 else f"{base}-{number}"
        run = RunPaths(request.place or request.runs_dir / run_id)
        refuse_not_utf8(str(run.root))
        if not os.path.lexists(run.root):
            check(run)
            yield run_id, run
        if request.name or request.place:
            raise _taken(run)


def _is_put(partial: RunPaths, final: RunPaths) -> bool:
    """Whether a whole run got its place; False when another one was there first."""
    try:
        put_in_place(partial.root, final.root)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False
    return True


def _make_partial(path: Path) -> None:
    """A new directory with its parents; StorageError where there can be none, as in /proc."""
    try:
        make_directory(path)
    except FileNotFoundError:
        raise StorageError(f"{path.parent}: no directory can be made there. Choose another one.") from None


def _taken(run: RunPaths) -> RunError:
    return RunError(
        f"{run.root}: this run is there already. Continue it with `vllm-launch resume {run.root}`, or choose"
        " another --name."
    )


def check_name(name: str) -> str:
    """A run name that may be a directory, a job name and part of a path; ConfigError otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigError(
            f"--name: expected up to 100 letters, digits, '.', '_' and '-', a letter or digit first, got"
            f" {name!r}. Choose another."
        )
    return name


def _default_name(preset: str, config: RunConfig) -> str:
    dataset = config.data.dataset or scenario_dir(config).name
    words = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{Path(preset).stem}-{dataset}").strip("-.") or "run"
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{words[:50]}-{stamp}-{identity_digest(config)[:6]}"


def _fill(run: RunPaths, frozen: Frozen, run_id: str, preset: str, notes: tuple[str, ...]) -> RunRecord:
    """Writes templates and plan; the record that is still to be saved."""
    _copy_templates(run)
    config, checkpoint = frozen.config, frozen.checkpoint
    scenario = scenario_file(config)
    history = find_history(scenario_dir(config), config.prompt.ablation_config)
    tokenizer = open_light_tokenizer(checkpoint.tokenizer_dir)
    form = probe_chat_form(tokenizer, config.prompt.chat_template_kwargs)
    own = shipped("templates", "prompts")  # not the copies: a mistake is named where it is mended
    maker = open_prompt_maker(config, own, Language.ENGLISH, tokenizer, form)
    check = _open_check(frozen, maker, scenario, history)
    subset = _write_plan(run, config, scenario, history, check)
    return RunRecord(
        run_id=run_id,
        name=run_id,
        created=now(),
        preset=preset,
        identity_digest=identity_digest(config),
        model=config.model,
        data=config.data,
        prompt=config.prompt,
        sampling=config.sampling,
        checkpoint=record_checkpoint(checkpoint),
        code=code_version(),
        chat_form=form.value,
        reasoning_opened=opens_reasoning(
            probe_prompt(tokenizer, form, config.prompt.chat_template_kwargs), config.prompt.reasoning_end
        ),
        scenario_digest=file_digest(scenario),
        train_digest=None if history is None else file_digest(history),
        templates_digest=tree_digest(run.templates),
        subset=subset,
        versions=recorded_versions(),
        notes=(*notes, *check.finish()),
    )


def _open_check(frozen: Frozen, maker: PromptMaker, scenario: Path, history: Path | None) -> PlanCheck:
    """The run's estimate, calibrated on its scenario, with those checks that have something to look at."""
    prompt = frozen.config.prompt
    estimate = calibrate_estimate(maker, frozen.config, frozen.checkpoint, stream_users(scenario))
    return PlanCheck(
        estimate,
        RoomCheck(scenario, maker, estimate) if frozen.checkpoint.has_tokenizer_json else None,
        HistoryCheck(prompt, history) if history and prompt.max_history_entries else None,
    )


def _write_plan(
    run: RunPaths, config: RunConfig, scenario: Path, history: Path | None, check: PlanCheck
) -> Subset | None:
    """Freezes the items that the limits leave; how they cut the scenario, None where they cut nothing."""
    chosen = choose(scenario, config.data)
    counts = write_plan(run, stream_chosen(scenario, chosen), _history(history, scenario, config), check)
    if counts.num_items >= chosen.of_items:
        return None
    return Subset(
        num_users=counts.num_users,
        num_items=counts.num_items,
        of_users=chosen.of_users,
        of_items=chosen.of_items,
    )


def _copy_templates(run: RunPaths) -> None:
    """The prompt files, durable: tasks refuse to work when one of them is not as it was."""
    run.templates.mkdir()
    for source in sorted(shipped("templates", "prompts").glob("*.j2")):
        with (run.templates / source.name).open("wb") as copy:
            copy.write(source.read_bytes())
            copy.flush()
            os.fsync(copy.fileno())
    fsync_directory(run.templates)


def _history(path: Path | None, scenario: Path, config: RunConfig) -> Iterator[tuple[str, HistoryEntries]]:
    if path is None:
        return
    prompt = config.prompt
    asked = count_items(scenario)
    yield from stream_history(path, prompt.max_history_entries, prompt.max_chars_per_turn, asked)
