"""The command on a page asks for the same run."""

import shlex
from pathlib import Path

import pytest

from launch.collect.run_page.command import SECTIONS, submit_command
from launch.config.layers import Layers, resolve
from launch.rundir.records import load_run
from tests.collect.builders import plan_run


@pytest.mark.parametrize(
    "prompt", ["null", "say: 'yes', \"no\" # or\n- 二 $HOME `x` \\", "  ", "7", "", "全角\u3000空白\u2028"]
)
def test_it_gives_every_setting_of_the_identity_whatever_the_preset_says(
    tmp_path: Path, checkpoint: Path, prompt: str
) -> None:
    run = plan_run(tmp_path, checkpoint, prompt={"system_prompt": prompt}, data={"limit_items": 3})
    record = load_run(run)
    command = submit_command(record.model_copy(update={"preset": "high_quality"}))
    words = shlex.split(command)
    assert command.isprintable(), "one line, and a page shows it as it is"
    assert words[:4] == ["vllm-launch", "submit", "--preset", "high_quality"]
    assert set(words[4::2]) == {"--set"}
    config = resolve(Layers("high_quality", sets=tuple(words[5::2]))).config
    for section in SECTIONS:
        assert getattr(config, section) == getattr(record, section), section
