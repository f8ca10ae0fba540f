"""The subset that --limit-users and --limit-items take: deterministic, independent of input order.

Users are ranked by a hash of user_hash, which is as good as drawing them at random with a fixed seed: every
limit takes the first of the same ranking, so a larger subset holds a smaller one.
"""

from collections.abc import Iterable

from launch.planning.cost import user_order


def choose_subset(
    users: Iterable[tuple[str, int]], limit_users: int | None = None, limit_items: int | None = None
) -> dict[int, int]:
    """Position of each chosen user -> how many of its first items are taken (at least 1), in input order.

    `users` gives user_hash and number of items in input order. The first `limit_users` of the ranking are
    chosen, whole, until `limit_items` items are reached; the last user gives its first items for the rest.
    """
    ranked = sorted(
        (user_order(user_hash), position, num_items)
        for position, (user_hash, num_items) in enumerate(users)
        if num_items > 0
    )
    left = sum(num_items for _, _, num_items in ranked) if limit_items is None else limit_items
    chosen: dict[int, int] = {}
    for _, position, num_items in ranked[:limit_users]:
        if left <= 0:
            break
        chosen[position] = min(num_items, left)
        left -= chosen[position]
    return dict(sorted(chosen.items()))
