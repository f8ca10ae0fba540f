"""How an engine process turns items into requests: the run's own prompt files, the engine's tokenizer."""

from launch.config.schema import EngineKind, Language, RunConfig
from launch.model.tokenizer import ChatTokenizer, open_light_tokenizer, open_reference_tokenizer
from launch.rundir.layout import RunPaths
from launch.rundir.plan import HistoryEntries, PlannedUser
from launch.rundir.records import RunRecord, tokenizer_dir
from launch.scenarios.chat import ChatForm
from launch.scenarios.fit import PromptMaker, fit, open_prompt_maker
from launch.scenarios.records import Generation, Item, Request
from launch.worker.chunk_requests import MakeRequest


def open_request_maker(run: RunPaths, record: RunRecord, config: RunConfig) -> MakeRequest:
    """The function that makes a request of a planned user's item."""
    maker = open_run_prompts(run, record, config, open_run_tokenizer(record, config))

    def make_request(planned: PlannedUser, item: Item, history: HistoryEntries) -> Request | Generation:
        return fit(maker, planned.record, item, history)

    return make_request


def open_run_prompts(
    run: RunPaths, record: RunRecord, config: RunConfig, tokenizer: ChatTokenizer
) -> PromptMaker:
    """What turns the items of a run into prompts: its own templates, settings and chat form."""
    return open_prompt_maker(config, run.templates, Language.ENGLISH, tokenizer, ChatForm(record.chat_form))


def open_run_tokenizer(record: RunRecord, config: RunConfig) -> ChatTokenizer:
    """The tokenizer of a run's engine: transformers' of a real one, the light one of the stub.

    Tests hold them equal.
    """
    directory = tokenizer_dir(record)
    if config.model.engine is EngineKind.STUB:
        return open_light_tokenizer(directory)
    return open_reference_tokenizer(directory, config.model.trust_remote_code)
