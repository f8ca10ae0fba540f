"""Settings of two summaries: flat, named, in order of their groups."""

import copy
from typing import Any

from launch.collect.settings_that_differ import SettingDifference, settings_that_differ

ENGINE = {"num_starts": 1, "mean_start_s": 1.0, "notes": ["x"], "version": "1", "settings": {"dtype": "bf16"}}
SUMMARY: dict[str, Any] = {
    "dataset": "Chameleons",
    "prompt": {"ablation_config": "profile_only", "max_prompt_tokens": 10, "chat_template_kwargs": {}},
    "chat_form": "native",
    "model": {"checkpoint": "/m", "dtype": "bf16"},
    "sampling_params": {"seed": 1},
    "num_samples_per_item": 5,
    "submissions": [{"engine": {"tensor_parallel_size": 1}}],
    "engines": [ENGINE],
    "versions": {"torch": "2"},
}


def changed(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(SUMMARY) | changes


def test_the_same() -> None:
    other = changed(engines=[ENGINE | {"num_starts": 4, "mean_start_s": 9.0, "notes": []}])
    assert settings_that_differ(SUMMARY, other) == ()


def test_they_are_named_in_order() -> None:
    other = changed(
        versions={"torch": "3", "vllm": "1"},
        submissions=[{"engine": {"tensor_parallel_size": 8}}, {"engine": {"tensor_parallel_size": 4}}],
        num_samples_per_item=1,
        prompt=SUMMARY["prompt"] | {"ablation_config": "no_profile", "chat_template_kwargs": {"a": {"b": 1}}},
    )
    found = settings_that_differ(SUMMARY, other)
    assert [(each.name, each.a, each.b) for each in found] == [
        ("prompt.ablation_config", "profile_only", "no_profile"),
        ("prompt.chat_template_kwargs", {}, None),
        ("prompt.chat_template_kwargs.a.b", None, 1),
        ("sampling.num_samples", 5, 1),
        ("engine.tensor_parallel_size", 1, 4),
        ("versions.torch", "2", "3"),
        ("versions.vllm", None, "1"),
    ]


def test_engines_that_ran_otherwise_are_joined() -> None:
    other = changed(engines=[ENGINE, ENGINE | {"version": "2"}, ENGINE])
    assert settings_that_differ(SUMMARY, other) == (SettingDifference("ran.version", "1", "1 and 2"),)


def test_which_settings_shape_prompts() -> None:
    shape = {
        name: SettingDifference(name, 1, 2).shapes_prompts
        for name in ("prompt.language", "prompt.chat_form", "prompt.max_prompt_tokens", "model.dtype")
    }
    assert list(shape.values()) == [True, True, False, False]
