"""The identity digest: what is in it, and what is not."""

from typing import Any

import pytest

from launch.config.identity import identity_digest
from launch.config.layers import Layers, resolve
from launch.config.schema import RunConfig


def digest(**sections: Any) -> str:
    return identity_digest(RunConfig.model_validate(sections))


BASE = digest()


def test_it_is_stable_across_processes_and_releases() -> None:
    config = resolve(Layers("production")).config
    assert len(BASE) == 16 and int(BASE, 16) >= 0
    assert identity_digest(RunConfig.model_validate(config.model_dump(mode="json"))) == identity_digest(
        config
    )


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"dtype": "float16"}},
        {"model": {"engine": "vllm"}},
        {"model": {"checkpoint": "m"}},
        {"data": {"limit_items": 3}},
        {"data": {"scenario_path": "s"}},
        {"prompt": {"system_prompt": ""}},
        {"prompt": {"chat_template_kwargs": {"enable_thinking": False}}},
        {"sampling": {"seed": 1}},
        {"sampling": {"num_samples": 1}},
        {"sampling": {"stop": ["a"]}},
        {"engine": {"max_model_len": 4096}},
    ],
)
def test_what_changes_results_changes_it(sections: dict[str, Any]) -> None:
    assert digest(**sections) != BASE


@pytest.mark.parametrize(
    "sections",
    [
        {"engine": {"tensor_parallel_size": 8, "enforce_eager": True}},
        {"resources": {"partition": "gpu"}},
        {"publish": {"output_dir": "x"}},
        {"sampling": {"num_samples": 5}},
        {"prompt": {"max_prompt_tokens": 8192 - 512}},
        {"engine": {"max_model_len": 9000}, "prompt": {"max_prompt_tokens": 8192 - 512}},
    ],
)
def test_what_does_not_leaves_it(sections: dict[str, Any]) -> None:
    assert digest(**sections) == BASE


def test_order_and_spelling_of_options_do_not_count() -> None:
    one = digest(prompt={"chat_template_kwargs": {"a": 1, "b": 2}}, sampling={"temperature": 1})
    two = digest(sampling={"temperature": 1.0}, prompt={"chat_template_kwargs": {"b": 2, "a": 1}})
    assert one == two
