"""A tokenizer of a random Llama for each kind of chat template."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from launch.model.tokenizer import ChatTokenizer, open_light_tokenizer
from tests.models import make_tiny_llama

TokenizerFor = Callable[[str | None], ChatTokenizer]


@pytest.fixture(scope="session")
def tokenizer_for(tmp_path_factory: pytest.TempPathFactory) -> TokenizerFor:
    """The light tokenizer of a checkpoint with this chat template (None: without one)."""

    @cache
    def open_one(template: str | None) -> ChatTokenizer:
        path: Path = tmp_path_factory.mktemp("checkpoint")
        return open_light_tokenizer(make_tiny_llama(path, chat_template=template, weights="none"))

    return open_one
