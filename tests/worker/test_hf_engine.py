"""The transformers engine: its sampling, its endings, and that a batch does not change an item."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from launch.config.schema import EngineConfig, EngineKind, SamplingConfig
from launch.errors import EngineError
from launch.model.checkpoint import inspect_checkpoint
from launch.worker.engines.hf import TransformersEngine, open_transformers
from launch.worker.engines.hf_batch import find_stop
from launch.worker.engines.protocol import RequestRefused
from launch.worker.engines.warping import RowSampler, warp
from tests.models import make_tiny_llama
from tests.worker.engine_setups import make_request, make_requests, make_setup, run_all, texts_of

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def tiny(tiny_llama):
    """The tiny Llama in transformers: two samples of up to 16 tokens."""
    return open_transformers(make_setup(tiny_llama, EngineKind.TRANSFORMERS))


def again(engine, sampling, eos_token_ids=(2,)):
    """The same model, sampled otherwise."""
    asked = SamplingConfig(**({"max_tokens": 16, "num_samples": 1} | sampling))
    setup = replace(engine._setup, sampling=asked, eos_token_ids=eos_token_ids)
    return TransformersEngine(setup, engine._model, engine._tokenizer, engine.facts)


def sampling(**changes):
    """Sampling that leaves everything in, but for the changes."""
    return SamplingConfig(**({"top_p": 1.0, "top_k": 0} | changes))


# The draw


def test_drawn_tokens_follow_the_softmax():
    torch = pytest.importorskip("torch")
    probs = torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03])
    rows = 8000
    sampler = RowSampler(sampling(), [(0,)] * rows, list(range(rows)), torch.device("cpu"))
    scores = sampler(torch.zeros(rows, 1, dtype=torch.long), probs.log().repeat(rows, 1))
    assert torch.isfinite(scores).sum() == rows
    counts = torch.bincount(scores.argmax(-1), minlength=5)
    expected = probs * rows
    assert float(((counts - expected) ** 2 / expected).sum()) < 18.5  # chi-square, 4 degrees: p = 0.001


def test_a_row_does_not_depend_on_its_neighbours():
    torch = pytest.importorskip("torch")
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    ids = torch.zeros(4, 1, dtype=torch.long)
    together = RowSampler(sampling(), [(0,)] * 4, [11, 12, 13, 14], logits.device)
    alone = RowSampler(sampling(), [(0,)], [13], logits.device)
    for _ in range(5):
        assert torch.equal(together(ids, logits)[2:3], alone(ids[2:3], logits[2:3]))


@pytest.mark.vllm_adapter
@pytest.mark.parametrize(
    "asked", [{"top_k": 5}, {"top_p": 0.7}, {"top_k": 20, "top_p": 0.4}, {"top_p": 0.001}, {"top_k": 99}]
)
def test_top_k_and_top_p_leave_what_vllm_leaves(asked):
    torch = pytest.importorskip("torch")
    from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p

    logits = torch.randn(16, 64, generator=torch.Generator().manual_seed(1)) * 3
    wanted = sampling(**asked)
    top_k = torch.full((16,), wanted.top_k if wanted.top_k < 64 else 64) if wanted.top_k else None
    top_p = torch.full((16,), wanted.top_p) if wanted.top_p < 1 else None
    assert torch.equal(warp(logits, wanted), apply_top_k_top_p(logits.clone(), top_k, top_p))


def test_min_p_is_relative_to_the_likeliest():
    torch = pytest.importorskip("torch")
    logits = torch.tensor([[0.6, 0.3, 0.07, 0.03]]).log()
    assert torch.isfinite(warp(logits, sampling(min_p=0.1))).tolist() == [[True, True, True, False]]


@pytest.mark.vllm_adapter
def test_penalties_are_those_of_vllm():
    torch = pytest.importorskip("torch")
    from vllm.model_executor.layers.utils import apply_penalties

    prompts, outputs = [(1, 2, 3), (4,)], torch.tensor([[5, 5, 1], [6, 7, 6]])
    logits = torch.randn(2, 10, generator=torch.Generator().manual_seed(2))
    asked = sampling(temperature=0, repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=0.2)
    sampler = RowSampler(asked, prompts, [1, 2], logits.device)
    ids = torch.tensor([[1, 2, 3], [0, 0, 4]])
    for length in range(4):
        mine = sampler._penalize(torch.cat([ids, outputs[:, :length]], 1), logits.clone())
    padded = torch.tensor([[1, 2, 3], [4, 10, 10]])

    def each(value):
        return torch.full((2,), value)

    theirs = apply_penalties(logits.clone(), padded, outputs, each(0.4), each(0.2), each(1.3))
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    ("text", "num_new", "stop", "place"),
    [
        ("one\n\ntwo", 3, ("\n\n",), None),
        ("one\n\n", 1, ("\n\n",), 3),
        ("one. END", 5, ("END", "."), 3),
        ("ab", 2, ("ab", "b"), 0),
        ("ab", 0, ("ab",), None),
        ("ab", 1, (), None),
    ],
)
def test_the_stop_string_that_is_complete_first_ends_a_text(text, num_new, stop, place):
    assert find_stop(text, num_new, stop) == place


# The engine


def test_facts_say_what_runs(tiny):
    assert tiny.facts.kind is EngineKind.TRANSFORMERS
    assert tiny.facts.settings["dtype"] == "float32"
    assert tiny.facts.versions["transformers"] == tiny.facts.version
    assert tiny.window >= tiny.facts.max_num_seqs // 2


def test_an_item_gives_the_same_alone_and_in_a_batch(tiny):
    requests = [make_request(n, range(3, 6 + 5 * n)) for n in range(10)]
    together = run_all(tiny, requests)
    assert len(together) == 10
    for request in (requests[0], requests[9]):
        assert run_all(tiny, [request])[request.number] == together[request.number]


def test_samples_of_an_item_differ(tiny):
    generation = run_all(again(tiny, {"num_samples": 5}), [make_request(0, [5, 6, 7])])[0]
    assert len(set(texts_of(generation))) > 1


def test_greedy_is_what_generate_gives_by_itself(tiny):
    torch = pytest.importorskip("torch")
    request = make_request(0, [10, 11, 12, 13])
    (sample,) = run_all(again(tiny, {"temperature": 0, "ignore_eos": True}), [request])[0].samples
    with torch.inference_mode():
        ids = tiny._model.generate(torch.tensor([request.token_ids]), max_new_tokens=16, do_sample=False)
    assert sample.num_tokens == 16
    assert sample.finish_reason == "length"
    assert sample.text == tiny._tokenizer.decode(ids[0, 4:], skip_special_tokens=True).rstrip("\ufffd")


def test_an_ending_token_is_counted_and_not_shown(tiny):
    request = make_request(0, [10, 11, 12, 13])
    free = again(tiny, {"temperature": 0, "ignore_eos": True})
    ids = greedy_ids(tiny, request)
    place, token = first_new_token(ids, after=3)
    for changed in (
        again(tiny, {"temperature": 0}, eos_token_ids=(2, token)),
        again(tiny, {"temperature": 0, "ignore_eos": True, "stop_token_ids": (token,)}),
    ):
        (sample,) = run_all(changed, [request])[0].samples
        assert (sample.finish_reason, sample.num_tokens) == ("stop", place + 1)
        assert run_all(free, [request])[0].samples[0].text.startswith(sample.text)


def greedy_ids(engine, request):
    """The first 16 greedy token ids."""
    torch = pytest.importorskip("torch")
    with torch.inference_mode():
        ids = engine._model.generate(torch.tensor([request.token_ids]), max_new_tokens=16, do_sample=False)
    return ids[0, len(request.token_ids) :].tolist()


def first_new_token(ids, after):
    """(place, id) of the first token from `after` on that was not there before."""
    return next(
        (place, token) for place, token in enumerate(ids) if place >= after and token not in ids[:place]
    )


def test_a_stop_string_ends_a_sample_and_is_not_kept(tiny):
    request = make_request(0, [10, 11, 12, 13])
    whole = run_all(again(tiny, {"temperature": 0, "ignore_eos": True}), [request])[0].samples[0].text
    stop = whole[4:7]
    asked = {"temperature": 0, "ignore_eos": True, "stop": (stop,)}
    (sample,) = run_all(again(tiny, asked), [request])[0].samples
    assert sample.text == whole[: whole.index(stop)]
    assert sample.finish_reason == "stop"
    assert sample.num_tokens < 16


def test_penalties_change_what_is_said(tiny):
    request = make_request(0, [10, 11, 12, 13])
    asked = {"temperature": 0, "ignore_eos": True, "max_tokens": 40}
    plain = run_all(again(tiny, asked), [request])[0].samples[0].text
    penalized = run_all(again(tiny, asked | {"frequency_penalty": 2.0, "repetition_penalty": 5.0}), [request])
    text = penalized[0].samples[0].text
    assert max(Counter(text).values()) < max(Counter(plain).values())


SAMPLING_OF_A_CHECKPOINT = {
    "do_sample": True,
    "temperature": 0.01,
    "top_k": 1,
    "repetition_penalty": 5.0,
    "no_repeat_ngram_size": 1,
    "suppress_tokens": list(range(3, 260)),
    "max_new_tokens": 3,
}


def recommend(checkpoint, **more):
    """Writes this sampling, and `more`, into a checkpoint's generation_config.json."""
    path = checkpoint / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | SAMPLING_OF_A_CHECKPOINT | more))


@pytest.mark.parametrize("asked", [{"temperature": 0}, {"temperature": 1.0}], ids=["greedy", "drawn"])
def test_the_sampling_that_a_checkpoint_recommends_changes_no_text(tiny, tmp_path, asked):
    checkpoint = make_tiny_llama(tmp_path / "model")  # the same weights
    recommend(checkpoint)
    request = make_request(0, [10, 11, 12, 13])
    opened = open_transformers(make_setup(checkpoint, EngineKind.TRANSFORMERS))
    plain = run_all(again(tiny, asked), [request])[0].samples
    assert plain[0].num_tokens == 16
    assert run_all(again(opened, asked), [request])[0].samples == plain


def test_the_ends_that_a_checkpoint_names_count(tiny, tmp_path):
    checkpoint = make_tiny_llama(tmp_path / "model")
    request = make_request(0, [10, 11, 12, 13])
    place, token = first_new_token(greedy_ids(tiny, request), after=3)
    recommend(checkpoint, eos_token_id=[2, token])
    setup = make_setup(
        checkpoint, EngineKind.TRANSFORMERS, eos_token_ids=inspect_checkpoint(checkpoint).eos_token_ids
    )
    engine = again(open_transformers(setup), {"temperature": 0}, setup.eos_token_ids)
    (sample,) = run_all(engine, [request])[0].samples
    assert (sample.finish_reason, sample.num_tokens) == ("stop", place + 1)


def test_what_does_not_fit_is_refused_alone(tiny):
    for token_ids, failure_class in (([5] * 497, "too_long"), ([], "refused"), ([5, 99999], "refused")):
        with pytest.raises(RequestRefused) as refused:
            tiny.add(make_request(0, token_ids))
        assert refused.value.failure_class == failure_class
    assert tiny.num_unfinished == 0


def test_memory_that_runs_out_halves_the_batch(tiny, monkeypatch):
    torch = pytest.importorskip("torch")
    engine = again(tiny, {"num_samples": 2})
    requests = [make_request(number, [5, 6, 7 + number]) for number in range(8)]
    expected = run_all(engine, requests)
    sizes = []
    generate = TransformersEngine._generate

    def short_of_memory(self, batch):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(self, batch)

    monkeypatch.setattr(TransformersEngine, "_generate", short_of_memory)
    assert run_all(engine, requests) == expected
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert "now 2" in engine.facts.notes[-1]


@pytest.mark.parametrize(
    ("limits", "model", "said"),
    [
        ({"tensor_parallel_size": 2}, {}, "engine.tensor_parallel_size"),
        ({}, {"kv_cache_dtype": "fp8"}, "model.kv_cache_dtype"),
        ({}, {"quantization": "awq"}, "model.quantization"),
    ],
)
def test_settings_it_does_not_have_are_refused(tiny_llama, limits, model, said):
    setup = make_setup(
        tiny_llama, EngineKind.TRANSFORMERS, engine=EngineConfig(**({"max_model_len": 512} | limits))
    )
    with pytest.raises(EngineError, match=said):
        open_transformers(replace(setup, model=setup.model.model_copy(update=model)))


def test_a_model_it_cannot_load_is_a_users_error(tmp_path):
    with pytest.raises(EngineError, match="transformers refuses it"):
        open_transformers(make_setup(tmp_path, EngineKind.TRANSFORMERS))


def test_a_real_model_answers(hf_smollm2):
    requests = make_requests(hf_smollm2._setup.checkpoint)
    (sample,) = run_all(again(hf_smollm2, {"temperature": 0}), requests[:1])[0].samples
    assert "Paris" in sample.text
