"""Which settings differ between two published directories, from their inference_summary.json, flat and named.

Groups in order: input, prompt, model, sampling, engine (as the newest submission asked), ran (the engines as
they ran, after every default and fallback), versions, code.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from launch.config.trees import leaf_values

_NOT_SETTINGS = ("num_starts", "mean_start_s", "notes")
# They bound or cut texts but need not change one prompt; the counts of tokens and cuts tell.
_BOUNDS = frozenset({"prompt.max_prompt_tokens", "prompt.reasoning_end"})


@dataclass(frozen=True, slots=True)
class SettingDifference:
    """A setting by dotted name with both values; None where one does not have it."""

    name: str
    a: Any
    b: Any

    @property
    def group(self) -> str:
        """The first part of the name."""
        return self.name.partition(".")[0]

    @property
    def shapes_prompts(self) -> bool:
        """Whether it writes other prompts: the ablation, the language, what is cut by count."""
        return self.group == "prompt" and self.name not in _BOUNDS


def settings_that_differ(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[SettingDifference, ...]:
    """Every setting whose value is not the same in both summaries, in the order of the groups."""
    of_a, of_b = dict(settings_of(a)), dict(settings_of(b))
    names = list(dict.fromkeys([*of_a, *of_b]))
    groups = list(dict.fromkeys(name.partition(".")[0] for name in names))
    names.sort(key=lambda name: groups.index(name.partition(".")[0]))
    return tuple(
        SettingDifference(name, of_a.get(name), of_b.get(name))
        for name in names
        if of_a.get(name) != of_b.get(name)
    )


def settings_of(summary: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every setting of a summary by dotted name, in the order of the groups."""
    for name in ("dataset", "scenario", "subset"):
        yield f"input.{name}", summary.get(name)
    yield from leaf_values("prompt", summary["prompt"])
    yield "prompt.chat_form", summary.get("chat_form")
    yield from leaf_values("model", summary["model"])
    yield "model.checkpoint_digest", summary.get("checkpoint_digest")
    yield from leaf_values("sampling", summary["sampling_params"])
    yield "sampling.num_samples", summary["num_samples_per_item"]
    for submission in summary["submissions"][-1:]:
        yield from leaf_values("engine", submission["engine"])
    yield from _as_they_ran(summary["engines"])
    yield from leaf_values("versions", summary["versions"])
    yield from leaf_values("code", summary.get("code", {}))


def _as_they_ran(engines: list[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """One value where all engines agree, else the different ones, joined."""
    found: dict[str, list[Any]] = {}
    for engine in engines:
        for name, value in leaf_values("ran", engine):
            if name.split(".")[1] not in _NOT_SETTINGS:
                values = found.setdefault(name, [])
                if value not in values:
                    values.append(value)
    for name, values in found.items():
        yield name, values[0] if len(values) == 1 else " and ".join(sorted(map(str, values)))
