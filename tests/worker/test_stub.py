"""The stub engine: deterministic in the item alone, marked, and made to fail on demand."""

import os

import pytest

from launch.config.schema import EngineConfig, EngineKind
from launch.errors import EngineError
from launch.worker.engines.endings import keeps_special_tokens
from launch.worker.engines.protocol import EngineSetup, RequestRefused
from launch.worker.engines.select import open_engine
from launch.worker.engines.stub import MARK, open_stub
from tests.worker.engine_setups import make_request, make_setup, run_all


@pytest.fixture
def setup(tmp_path):
    """A setup of the stub with five samples of at most twelve tokens."""
    return make_setup(tmp_path, EngineKind.STUB, sampling={"num_samples": 5, "max_tokens": 12})


def generate(setup: EngineSetup, numbers):
    """The generations of these items by one stub."""
    return run_all(open_stub(setup, {}), [make_request(number, [5, 6, 7]) for number in numbers])


def test_an_item_gives_the_same_whatever_runs_beside_it(setup):
    together = generate(setup, range(40))
    for number in (0, 17, 39):
        assert generate(setup, [number])[number] == together[number]


def test_every_sample_is_marked_and_its_own(setup):
    generations = generate(setup, range(40)).values()
    samples = [sample for generation in generations for sample in generation.samples]
    assert len(samples) == 200
    assert all(sample.text.startswith(MARK) for sample in samples)
    assert len({sample.text for sample in samples}) > 190
    assert {sample.finish_reason for sample in samples} == {"stop", "length"}


def test_max_tokens_is_the_length_of_a_cut_sample(setup):
    for generation in generate(setup, range(40)).values():
        for sample in generation.samples:
            assert 1 <= sample.num_tokens <= 12
            assert sample.finish_reason == "stop" or sample.num_tokens == 12


def test_texts_try_what_breaks_files(setup):
    text = "".join(s.text for g in generate(setup, range(60)).values() for s in g.samples)
    assert all(sign in text for sign in '"\n\u2028🙂部映\\\t')


def test_greedy_gives_one_sample(tmp_path):
    setup = make_setup(tmp_path, EngineKind.STUB, sampling={"num_samples": None, "temperature": 0})
    assert len(generate(setup, [1])[1].samples) == 1


def test_it_refuses_the_item_it_was_told_to(setup):
    engine = open_stub(setup, {"VLLM_LAUNCH_STUB_FAIL": "key:user3#0.0,task:9"})
    engine.add(make_request(2, [5]))
    with pytest.raises(RequestRefused, match="told to refuse") as refused:
        engine.add(make_request(3, [5]))
    assert refused.value.failure_class == "refused"
    assert engine.num_unfinished == 1


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"VLLM_LAUNCH_STUB_FAIL": "start"}, True),
        ({"VLLM_LAUNCH_STUB_FAIL": "task:2", "VLLM_LAUNCH_TASK": "2"}, True),
        ({"VLLM_LAUNCH_STUB_FAIL": "task:2", "SLURM_ARRAY_TASK_ID": "2"}, True),
        ({"VLLM_LAUNCH_STUB_FAIL": "task:2", "SLURM_ARRAY_TASK_ID": "3"}, False),
        ({"VLLM_LAUNCH_STUB_FAIL": "task:2", "VLLM_LAUNCH_TASK": "12", "SLURM_ARRAY_TASK_ID": "2"}, False),
    ],
)
def test_it_fails_to_start_for_the_task_it_was_told_to(setup, environment, told):
    if told:
        with pytest.raises(RuntimeError, match="told to fail at start"):
            open_stub(setup, environment)
    else:
        assert open_stub(setup, environment).num_unfinished == 0


def test_a_failure_that_it_does_not_know_is_refused(setup):
    with pytest.raises(EngineError, match="got 'item:3'"):
        open_stub(setup, {"VLLM_LAUNCH_STUB_FAIL": "step:2,item:3"})


def test_it_fails_in_the_step_it_was_told_to(setup):
    engine = open_stub(setup, {"VLLM_LAUNCH_STUB_FAIL": "step:2"})
    engine.add(make_request(0, [5]))
    engine.add(make_request(1, [5]))
    assert len(engine.step()) == 1
    with pytest.raises(RuntimeError, match="step 2"):
        engine.step()


def test_select_opens_it_by_kind(setup):
    engine = open_engine(setup, pytest.fail)
    assert engine.facts.kind is EngineKind.STUB
    assert "not from a model" in engine.facts.notes[0]
    engine.close()
    assert engine.num_unfinished == 0


def test_reasoning_is_split_off(tmp_path):
    setup = make_setup(tmp_path, EngineKind.STUB, engine=EngineConfig(max_model_len=512), reasoning_end=MARK)
    sample = generate(setup, [1])[1].samples[0]
    assert sample.reasoning is not None
    assert MARK in sample.reasoning
    assert MARK not in sample.text


def test_special_tokens_stay_in_the_text_only_for_an_end_of_reasoning_among_them(tmp_path):
    class Tokenizer:
        all_special_tokens = ("</think>", "<|im_end|>")

    def keeps(reasoning_end):
        setup = make_setup(tmp_path, EngineKind.STUB, reasoning_end=reasoning_end)
        return keeps_special_tokens(setup, Tokenizer())

    assert [keeps(None), keeps("</think>"), keeps("Answer:")] == [False, True, False]


def test_the_trace_has_a_line_for_every_item_generated(setup, tmp_path):
    engine = open_stub(setup, {"VLLM_LAUNCH_STUB_TRACE": str(tmp_path / "trace")})
    requests = [make_request(number, [5]) for number in (3, 1)]
    run_all(engine, requests)
    lines = (tmp_path / "trace").read_text().splitlines()
    assert lines == [f"{os.getpid()} {request.key}" for request in requests]
