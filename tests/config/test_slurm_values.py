"""What reaches sbatch: times, memory, words and option names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from launch.config import slurm_values
from launch.config.schema import MergeResources, ResourcesConfig
from launch.config.slurm_values import time_limit_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90 * 60),
        ("1:30", 90),
        ("04:00:00", 4 * 3600),
        ("2-12", 2 * 86400 + 12 * 3600),
        ("2-12:30", 2 * 86400 + 12 * 3600 + 30 * 60),
        ("1-00:00:01", 86401),
        ("0-0:0:1", 1),
    ],
)
def test_time_forms_of_sbatch(text: str, seconds: int) -> None:
    assert time_limit_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "abc", "1:2:3:4", "1-", "-1", "1.5", "4h", "1:00\n", "１", "UNLIMITED", " 5"]
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time limit above zero"):
        time_limit_s(text)


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_the_long_form_is_the_sum(days: int, hours: int, minutes: int, seconds: int) -> None:
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert time_limit_s(f"{days}-{hours:02}:{minutes:02}:{seconds:02}") == total
    assert time_limit_s(f"{days * 24 + hours}:{minutes:02}:{seconds:02}") == total


@pytest.mark.parametrize("text", ["64G", "0", "1000", "512M", "2T", "7K"])
def test_memory(text: str) -> None:
    assert slurm_values.memory(text) == text


@pytest.mark.parametrize("text", ["64GB", "64 G", "", "-1", "1.5G", "64g", "all", "64G\n"])
def test_other_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Write 64G, or 0 for all of the node"):
        slurm_values.memory(text)


HOSTILE = [
    "",
    "a b",
    "a\nb",
    "a;b",
    "$(id)",
    "`id`",
    "a'b",
    'a"b',
    "a\\b",
    "a#b",
    "a\0b",
    "a\tb",
    "a\x85b",
    "a\u2028b",
]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("field", ["partition", "account", "qos", "constraint", "gpu_type"])
def test_words_cannot_carry_shell_or_lines(field: str, value: str) -> None:
    with pytest.raises(ValidationError, match=field):
        ResourcesConfig.model_validate({field: value})
    if field != "gpu_type":
        with pytest.raises(ValidationError, match=field):
            MergeResources.model_validate({field: value})


def test_words_of_slurm_pass() -> None:
    written = {
        "partition": "gpu,gpu-long",
        "constraint": "[rack1|rack2]&h100*2",
        "account": 1234,
        "gpu_type": "h100_80gb.sxm",
    }
    resources = ResourcesConfig.model_validate(written | {"time": 90, "mem": 0})
    assert (resources.account, resources.time, resources.mem) == ("1234", "90", "0")
    assert resources.constraint == "[rack1|rack2]&h100*2"


@pytest.mark.parametrize("value", ["", "  ", "a\nb", "a\0", "a\rb", "\x1b[0m"])
@pytest.mark.parametrize("field", ["setup", "container", "python"])
def test_lines_are_lines(field: str, value: str) -> None:
    with pytest.raises(ValidationError, match="expected one line of printable text"):
        ResourcesConfig.model_validate({field: value if field == "python" else [value]})


def problem_of(name: str, value: str | int | bool = "x", merge: bool = False) -> str:
    model = MergeResources if merge else ResourcesConfig
    with pytest.raises(ValidationError) as caught:
        model.model_validate({"extra_sbatch": {name: value}})
    return str(caught.value.errors()[0]["ctx"]["error"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "gres",
            "gres: vllm-launch writes --gres itself. Set resources.gpus_per_task, gpu_type and gpu_request",
        ),
        ("time", "time: vllm-launch writes --time itself. Set resources.time"),
        ("array", "array: --array is for vllm-launch to decide. Leave it out"),
        ("signal", "signal: --signal is for vllm-launch to decide. Leave it out"),
        ("par", "par: sbatch would read it as --partition, which is vllm-launch's own. Leave it out"),
        (
            "-n",
            "-n: expected the long name of an sbatch option, without dashes before it. Write nice, not -n",
        ),
        ("n", "n: expected the long name of an sbatch option, without dashes before it. Write nice, not -n"),
        (
            "nice\nx",
            "nice\nx: expected the long name of an sbatch option, without dashes before it. Write nice, not"
            " -n",
        ),
    ],
)
def test_options_that_are_ours(name: str, expected: str) -> None:
    assert problem_of(name) == expected


def test_the_merge_job_may_ask_for_gpus_where_it_must() -> None:
    assert MergeResources.model_validate({"extra_sbatch": {"gres": "gpu:1"}}).extra_sbatch == {
        "gres": "gpu:1"
    }
    assert problem_of("qos", merge=True) == "qos: vllm-launch writes --qos itself. Set resources.merge.qos"


def test_values_of_options_are_one_line() -> None:
    assert problem_of("nice", "1\n#SBATCH --uid=0").startswith(
        "nice: expected one line of printable text, got '1\\n"
    )


def test_all_that_is_allowed() -> None:
    options = {
        "nice": 100,
        "exclude": "n[1-2]",
        "mail-type": "FAIL",
        "spread-job": True,
        "time-min": "10",
        "hold": True,
    }
    assert ResourcesConfig.model_validate({"extra_sbatch": options}).extra_sbatch == options
