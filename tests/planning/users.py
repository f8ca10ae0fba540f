"""Users made of item costs."""

from launch.planning.cost import UserCost


def make_users(rows: list[list[float]]) -> list[UserCost]:
    """A user per row of item costs, item numbers counted through."""
    users, number = [], 0
    for position, row in enumerate(rows):
        items = tuple((number + place, cost) for place, cost in enumerate(row))
        users.append(UserCost(position, f"user{position}", items))
        number += len(row)
    return users
