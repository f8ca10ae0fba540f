"""The text of jobs.

A change of templates/sbatch or of an option shows here as a diff. To accept it, read the diff and run
`VLLM_LAUNCH_ACCEPT_GOLDEN=1 pytest tests/slurm_room/test_sbatch.py`, then commit the files in golden/.
"""

import difflib
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

import launch
from launch.config.schema import RunConfig
from launch.config.shipped import shipped_root
from launch.errors import ConfigError
from launch.slurm import sbatch
from launch.slurm.sbatch import JobContext, SbatchJob, format_option, render_array, render_merge
from tests.conftest import HOSTILE_NAME
from tests.slurm_room.sent_run import CREATED

GOLDEN = Path(__file__).with_name("golden")
ACCEPT = "VLLM_LAUNCH_ACCEPT_GOLDEN"
PYTHON = {"python": "/opt/venv/bin/python"}
CHECKOUT = shlex.quote(str(Path(launch.__file__).resolve().parent.parent))
PARTITIONS = {"partition": "gpu", "merge": {"partition": "cpu"}}
EVERYTHING = {
    "partition": "gpu-h100,gpu-a100",
    "account": "proj 1234".replace(" ", "_"),
    "qos": "normal",
    "constraint": "[rack1|rack2]&h100*2",
    "time": "1-00:00:00",
    "signal_lead_s": 180,
    "gpu_request": "gpus_per_node",
    "gpu_type": "h100",
    "cpus_per_task": 16,
    "mem": "0",
    "exclusive": True,
    "setup": ["module purge", "module load 'cuda/12.8'"],
    "python": "/opt/my venv/bin/python",
    "extra_sbatch": {
        "exclude": "node[013-014]",
        "nice": 0,
        "overcommit": True,
        "hold": False,
        "licenses": 'a "b" \\c',
    },
    "merge": {
        "partition": "cpu",
        "account": "cheap",
        "qos": "short",
        "time": 90,
        "mem": "8G",
        "extra_sbatch": {"nice": 5},
    },
}


def context(resources: dict[str, Any], run_dir: str = "/data/outputs/runs/demo", **engine: Any) -> JobContext:
    config = RunConfig.model_validate({"engine": engine, "resources": PYTHON | resources})
    return JobContext("demo", Path(run_dir), 1, CREATED, config)


def options_of(job: SbatchJob) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in job.text.splitlines() if line.startswith("#SBATCH")]


JOBS = {
    "tasks_plain": render_array(context(PARTITIONS), 0, 0, 1),
    "tasks_everything": render_array(
        context(EVERYTHING, f"/data/{HOSTILE_NAME}/demo", tensor_parallel_size=2, engines_per_node=2),
        1,
        1001,
        7,
        share=3,
    ),
    "tasks_on_cpu": render_array(context({"gpus_per_task": 0}), 0, 0, 4),
    "merge_plain": render_merge(context(PARTITIONS)),
    "merge_everything": render_merge(context(EVERYTHING, f"/data/{HOSTILE_NAME}/demo")),
}


@pytest.mark.parametrize("name", JOBS)
def test_the_text_is_the_accepted_one(name: str) -> None:
    text = JOBS[name].text.replace(CHECKOUT, "/checkout").replace(launch.__version__, "VERSION")
    path = GOLDEN / f"{name}.sbatch"
    if os.environ.get(ACCEPT) == "1":
        path.write_text(text, encoding="utf-8")
    expected = path.read_text(encoding="utf-8") if path.is_file() else ""
    diff = "\n".join(
        difflib.unified_diff(
            expected.splitlines(), text.splitlines(), str(path), "as rendered now", lineterm=""
        )
    )
    assert text == expected, f"{diff}\nIf this is meant: {ACCEPT}=1 pytest {Path(__file__).name}"


@pytest.mark.parametrize(
    ("resources", "engine", "expected"),
    [
        ({}, {}, ["--gres=gpu:1"]),
        ({}, {"tensor_parallel_size": 4, "engines_per_node": 2}, ["--gres=gpu:8"]),
        ({"gpu_type": "h100", "gpus_per_task": 2}, {}, ["--gres=gpu:h100:2"]),
        ({"gpu_request": "gpus_per_node"}, {"tensor_parallel_size": 4}, ["--gpus-per-node=4"]),
        ({"gpu_request": "gpus_per_node", "gpu_type": "h100"}, {}, ["--gpus-per-node=h100:1"]),
        ({"gpus_per_task": 0}, {}, []),
        ({"gpus_per_task": 0, "gpu_request": "gpus_per_node", "gpu_type": "h100"}, {}, []),
    ],
)
def test_gpus_are_asked_for_once(
    resources: dict[str, Any], engine: dict[str, Any], expected: list[str]
) -> None:
    given = context(resources, **engine)
    asked = [
        option for option in options_of(render_array(given, 0, 0, 1)) if "gpu" in option or "gres" in option
    ]
    assert asked == expected
    assert not [option for option in options_of(render_merge(given)) if "gpu" in option or "gres" in option]


def test_one_task_is_an_array_too() -> None:
    assert "--array=0-0" in options_of(render_array(context({}), 0, 5, 1))


def test_merge_has_partition_and_account_of_the_tasks_unless_it_has_its_own() -> None:
    tasks = {"partition": "gpu", "account": "a1", "qos": "long"}
    options = options_of(render_merge(context(tasks)))
    assert {"--partition=gpu", "--account=a1"} <= set(options) and "--qos=long" not in options
    options = options_of(render_merge(context({**tasks, "merge": {"partition": "cpu", "account": "a2"}})))
    assert {"--partition=cpu", "--account=a2"} <= set(options)


def test_an_extra_option_of_zero_is_written_and_a_false_one_is_not() -> None:
    options = options_of(render_array(context({"extra_sbatch": {"nice": 0, "spread-job": False}}), 0, 0, 1))
    assert "--nice=0" in options and not [option for option in options if "spread-job" in option]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("gpu,gpu-long", "--name=gpu,gpu-long"),
        ("[a|b]&c*2", "--name=[a|b]&c*2"),
        ("two words", '--name="two words"'),
        ("a#b", '--name="a#b"'),
        ("it's", '--name="it\'s"'),
        ('say "hi"', r'--name="say \"hi\""'),
        ("back\\slash", r'--name="back\\slash"'),
        ("$(id) `id`;x", '--name="$(id) `id`;x"'),
        ("", '--name=""'),
        ("电影", '--name="电影"'),
        (0, "--name=0"),
        (True, "--name"),
    ],
)
def test_values_are_quoted_as_sbatch_reads_quotes(value: str | int | bool, expected: str) -> None:
    assert format_option("name", value) == expected


@pytest.mark.parametrize("character", "\n\r\t\0\x1b\x7f\x85\u2028\u2029")
def test_what_could_end_the_line_is_refused(character: str) -> None:
    with pytest.raises(
        ConfigError, match=r"--comment: .* holds a control character. Write it without."
    ) as caught:
        format_option("comment", f"a{character}b")
    assert len(str(caught.value).splitlines()) == 1


def test_job_names_of_two_runs_of_one_name_differ() -> None:
    here, there = context({}), context({}, "/elsewhere/demo")
    names = {each.job_name("merge") for each in (here, there)}
    assert len(names) == 2 and all(name.startswith("demo.1.merge.") for name in names)
    assert here.job_name("merge") == context({}).job_name("merge")


def test_a_colon_in_the_place_of_the_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped_root()  # found and kept before the package seems to lie elsewhere, whatever test came first
    monkeypatch.setattr(sbatch.launch, "__file__", "/data/a:b/launch/__init__.py")
    with pytest.raises(ConfigError, match=r"^/data/a:b: a colon cannot stand in PYTHONPATH"):
        render_merge(context({}))


def test_an_installed_package_needs_no_python_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbatch.launch, "__file__", "/venv/lib/python3.11/site-packages/launch/__init__.py")
    assert "PYTHONPATH" not in render_merge(context({})).text
