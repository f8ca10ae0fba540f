"""`vllm-launch prompts`: what the model would be given, before anything is spent; or an item of a run was."""

from itertools import islice
from typing import Any

import click

from launch.cli.options import Choice, GivenPath, collect_flags, setting_options
from launch.cli.run_prompt import prompt_of_item
from launch.cli.runs import find_run
from launch.config.datasets import with_dataset
from launch.config.layers import Layers, resolve
from launch.config.schema import Language, RunConfig
from launch.config.shipped import shipped
from launch.config.wording import spelled
from launch.errors import ExitCode, InputError
from launch.model.chat_template import ChatTemplateError
from launch.model.tokenizer import open_light_tokenizer
from launch.rundir.chosen_users import choose, stream_chosen
from launch.rundir.freeze import inspect_parts, scenario_dir, scenario_file
from launch.scenarios.chat import probe_chat_form
from launch.scenarios.fit import PromptMaker, open_prompt_maker
from launch.scenarios.history import find_history, stream_history
from launch.scenarios.preview import PromptPreview, preview
from launch.scenarios.records import ItemType
from launch.scenarios.stream import count_items

TYPES = Choice([item_type.value for item_type in ItemType])


@click.command("prompts", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run_name", metavar="[RUN]", required=False)
@click.option(
    "--item", "key", metavar="KEY", help="Of RUN, the item with this key, as generations.jsonl has it."
)
@click.option("--preset", metavar="NAME", help="What to run: a name or a YAML file. Required without RUN.")
@click.option("--show", type=click.IntRange(1), default=3, show_default=True, help="How many prompts.")
@click.option("--item-type", "item_types", multiple=True, type=TYPES, help="Only items of this type.")
@click.option("--data-root", type=GivenPath(), help="Directory that holds the datasets.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any setting.")
@setting_options
@click.pass_context
def command(context: click.Context, /, **flags: Any) -> int:
    """Show rendered prompts with token counts and cuts.

    With a preset, those of what it would run. With RUN (a run directory or a run id) and --item, that of one
    item of a run that is there, as its engines get it.
    """
    try:
        if flags["run_name"] is not None or flags["key"] is not None:
            _show_of_run(context)
        else:
            _show_of_preset(context)
    except ChatTemplateError as error:
        raise InputError(
            f"chat template: {error}. Give the checkpoint another, or change the prompt."
        ) from None
    return ExitCode.OK


def _show_of_run(context: click.Context) -> None:
    name, key = context.params["run_name"], context.params["key"]
    if name is None:
        raise click.UsageError(f"--item {key}: of which run? Write RUN before it.", context)
    if key is None:
        raise click.UsageError(f"{name}: of which item? Write --item KEY behind it.", context)
    given = (each for each in context.params if each not in ("run_name", "key"))
    for other in given:
        if context.get_parameter_source(other) is not click.core.ParameterSource.DEFAULT:
            flag = next(each.opts[0] for each in context.command.params if each.name == other)
            raise click.UsageError(
                f"{flag}: a run has its own settings. Leave it out, or leave out RUN.", context
            )
    _show(0, *prompt_of_item(find_run(name), key))


def _show_of_preset(context: click.Context) -> None:
    flags = context.params
    if flags["preset"] is None:
        raise click.UsageError("Missing option '--preset'.", context)
    layers = Layers(flags["preset"], None, collect_flags(flags), flags["sets"])
    config = with_dataset(resolve(layers).config, flags["data_root"])
    maker = open_maker(config)
    path = find_history(scenario_dir(config), config.prompt.ablation_config)
    prompt = config.prompt
    history = {}
    if path is not None:
        asked = count_items(scenario_file(config))
        history = dict(stream_history(path, prompt.max_history_entries, prompt.max_chars_per_turn, asked))
    wanted = set(flags["item_types"])
    scenario = scenario_file(config)
    prompts = preview(maker, stream_chosen(scenario, choose(scenario, config.data)), history)
    chosen = (shown for shown in prompts if not wanted or shown.item_type.value in wanted)
    for number, shown in enumerate(islice(chosen, flags["show"])):
        _show(number, shown, maker)


def open_maker(config: RunConfig) -> PromptMaker:
    """The prompt maker of a configuration whose dataset is filled in; the weights are not looked at."""
    checkpoint = inspect_parts(config, needs_weights=False)
    tokenizer = open_light_tokenizer(checkpoint.tokenizer_dir)
    form = probe_chat_form(tokenizer, config.prompt.chat_template_kwargs)
    return open_prompt_maker(config, shipped("templates", "prompts"), Language.ENGLISH, tokenizer, form)


def _show(number: int, shown: PromptPreview, maker: PromptMaker) -> None:
    cuts = shown.cuts
    facts = [
        f"{shown.num_tokens} of {maker.max_prompt_tokens} tokens",
        f"chat form {maker.form}",
        f"left out: {cuts.history} history entries, {cuts.context} turns",
        f"clipped: {cuts.clipped_turns} turns",
    ]
    if shown.num_test_items_left_out:
        facts.append(f"{shown.num_test_items_left_out} history entries are test items and stay out")
    if not shown.fits:
        facts.append("DOES NOT FIT: the item would fail")
    click.echo(f"=== {number + 1}. {shown.key} ({shown.item_type}): {'; '.join(facts)}")
    click.echo(spelled(shown.text, keep="\n\t"))
    click.echo()
