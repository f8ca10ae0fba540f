"""--print-config: YAML with origins that is itself a preset."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from launch.config.layers import Layers, resolve
from launch.config.load import load_yaml
from launch.config.present import present
from launch.config.presets import list_presets

from .conftest import Write


def test_each_value_has_its_origin() -> None:
    resolved = resolve(
        Layers("high_quality", "slurm", {"sampling.seed": ("--seed", 7)}, ["sampling.stop=[a, 'b c']"])
    )
    lines = present(resolved).splitlines()
    assert lines[0] == "# preset high_quality, cluster slurm"
    assert "  seed: 7  # --seed" in lines
    assert "  stop: [a, \"b c\"]  # --set sampling.stop=[a, 'b c']" in lines
    assert "  temperature: 0.8  # " in "\n".join(lines) and "  min_p: 0.0  # default" in lines
    assert any(line.startswith("  num_samples: 5  # ") and "production.yaml:" in line for line in lines)
    values = [line for line in lines if not line.startswith("#") and not line.endswith(":")]
    assert len(values) == len(resolved.origins) and all("  # " in line for line in values)


def test_warnings_are_on_top() -> None:
    resolved = resolve(Layers("quick_test", sets=["resources.qos=high"]))
    assert present(resolved).splitlines()[1] == (
        "# --set resources.qos=high: resources.qos: ignored, resources.scheduler is none."
    )


@pytest.mark.parametrize("preset", [name for name, _, _ in list_presets()])
def test_what_is_shown_resolves_to_the_same(write: Write, preset: str) -> None:
    resolved = resolve(Layers(preset, "example_gpu_partition"))
    again = resolve(Layers(write("shown.yaml", present(resolved)), "example_gpu_partition"))
    assert again.config == resolved.config


def test_a_preset_whose_path_has_a_line_break(write: Write) -> None:
    path = write("a\nb\x85c.yaml", "extends: quick_test\n")
    resolved = resolve(Layers(path))
    again = resolve(Layers(write("shown.yaml", present(resolved))))
    assert again.config == resolved.config


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)

NUMBER = st.floats(allow_nan=False, allow_infinity=False)


@given(
    stop=st.lists(TEXT, max_size=3),
    system=TEXT,
    kwargs=st.dictionaries(TEXT, st.one_of(TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), NUMBER)),
)
@example(stop=[], system="0", kwargs={"<<": "0"})
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_survives(
    tmp_path: Path, stop: list[str], system: str, kwargs: dict[str, str | bool | int | float]
) -> None:
    flags = {
        "sampling.stop": ("--stop", stop),
        "prompt.system_prompt": ("--system_prompt", system),
        "prompt.chat_template_kwargs": ("--chat_template_kwargs", kwargs),
    }
    resolved = resolve(Layers("quick_test", flags=flags))
    path = tmp_path / "shown.yaml"
    path.write_text(present(resolved), encoding="utf-8", newline="")
    assert load_yaml(path).values["prompt"]["chat_template_kwargs"] == kwargs
    assert resolve(Layers(path)).config == resolved.config
