"""What a run rests on, looked at and resolved before anything is written: scenario, checkpoint, settings."""

from dataclasses import dataclass
from pathlib import Path

from launch.config.schema import EngineKind, PromptConfig, RunConfig
from launch.errors import ConfigError, InputError
from launch.model.chat_template import read_chat_template, template_variables
from launch.model.checkpoint import Checkpoint, inspect_checkpoint
from launch.model.engine_fit import choose_engine
from launch.model.preflight import check_before_start
from launch.scenarios.history import find_history
from launch.scenarios.reasoning import default_reasoning_end

SCENARIO_FILE = "test_leaderboard.json"


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
