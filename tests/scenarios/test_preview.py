"""The preview shows what a task would send."""

from collections.abc import Iterator, Sequence
from itertools import islice

from launch.config.schema import Ablation
from launch.rundir.chosen_users import Chosen, stream_chosen
from launch.scenarios.chat import ChatForm
from launch.scenarios.fit import PromptMaker, fit
from launch.scenarios.history import stream_history
from launch.scenarios.preview import preview
from launch.scenarios.records import Item, Request, User
from launch.scenarios.stream import stream_users
from tests.scenarios import chat_templates
from tests.scenarios.builders import DEMO, prompt_writer
from tests.scenarios.conftest import TokenizerFor

SCENARIO = DEMO / "Chameleons"


def make(tokenizer_for: TokenizerFor, budget: int) -> PromptMaker:
    tokenizer = tokenizer_for(chat_templates.CHATML)
    writer = prompt_writer(Ablation.HISTORY_AND_CONTEXT)
    return PromptMaker(writer, tokenizer, ChatForm.NATIVE, budget, run_seed=1)


def test_it_shows_text_tokens_and_cuts_of_each_item(tokenizer_for: TokenizerFor) -> None:
    maker = make(tokenizer_for, 900)
    history = dict(stream_history(SCENARIO / "train.json", 30, 300))
    users = list(stream_users(SCENARIO / "test_leaderboard.json"))
    shown = list(preview(maker, [(user, user.items) for user in users], history))
    made = [fit(maker, u.record, item, history[u.user_hash]) for u in users for item in u.items]
    assert [p.key for p in shown] == [m.key for m in made]
    assert [p.cuts for p in shown] == [m.cuts for m in made]
    assert [p.fits for p in shown] == [isinstance(m, Request) for m in made]
    assert any(p.cuts.history for p in shown)
    for prompt, request in zip(shown, made, strict=True):
        assert prompt.text.startswith("<|im_start|>system\n")
        assert prompt.text.endswith("<|im_start|>assistant\n")
        assert prompt.num_test_items_left_out == 0
        if isinstance(request, Request):
            assert prompt.num_tokens == len(request.token_ids)


def test_what_does_not_fit_is_shown_as_such(tokenizer_for: TokenizerFor) -> None:
    (first,) = islice(
        preview(make(tokenizer_for, 10), stream_chosen(SCENARIO / "test_leaderboard.json", Chosen()), {}), 1
    )
    assert not first.fits
    assert first.num_tokens > 10
    assert first.text


def test_it_is_lazy(tokenizer_for: TokenizerFor) -> None:
    taken: list[str] = []

    def stream() -> Iterator[tuple[User, Sequence[Item]]]:
        for u in stream_users(SCENARIO / "test_leaderboard.json"):
            taken.append(u.user_hash)
            yield u, u.items

    list(islice(preview(make(tokenizer_for, 900), stream(), {}), 1))
    assert len(taken) == 1
