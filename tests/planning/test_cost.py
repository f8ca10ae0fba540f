"""Costs of items and users, and an order of users that has nothing to do with input order."""

import pytest

from launch.planning.cost import ItemCost, UserCost, cost_user, expected_output_tokens, user_order


def test_a_prompt_token_costs_a_third_of_an_output_token() -> None:
    assert ItemCost(prompt_tokens=300.0, output_tokens=100.0).cost == pytest.approx(200.0)


def test_a_user_is_costed_item_by_item() -> None:
    user = cost_user(7, "ab", [20, 22], [300.0, 600.0], 100.0)
    assert user == UserCost(7, "ab", ((20, 200.0), (22, 300.0)))
    assert user.cost == 500.0
    with pytest.raises(ValueError, match="zip"):
        cost_user(7, "ab", [20, 22], [300.0], 100.0)


def test_the_sum_does_not_depend_on_the_order_of_items() -> None:
    items = [(place, cost) for place, cost in enumerate([1e16, 1.0, -1e16, 1.0, 1e-3])]
    assert UserCost(0, "a", tuple(items)).cost == UserCost(0, "a", tuple(reversed(items))).cost == 2.001


def test_output_is_half_of_max_tokens_until_measured_and_never_above_it() -> None:
    assert expected_output_tokens(5, 512) == 1280.0
    assert expected_output_tokens(5, 512, mean_sample=40.0) == 200.0
    assert expected_output_tokens(5, 32, mean_sample=40.0) == 160.0
    assert expected_output_tokens(5, 512, only_length_ends=True) == 2560.0
    assert expected_output_tokens(5, 512, mean_sample=40.0, only_length_ends=True) == 200.0


def test_user_order_is_fixed_and_takes_any_text() -> None:
    names = ["a", "b", "c", "用户", "\ud800", ""]
    backwards = names[::-1]
    assert sorted(names, key=user_order) == sorted(backwards, key=user_order)
    assert len({user_order(name) for name in names}) == len(names)
    # A golden value: plans of runs that stand must not be laid out otherwise by a later version.
    assert user_order("a").hex() == "40f89e395b66422f61"
