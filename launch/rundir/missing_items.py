"""What a submission is to generate: the items of a run that are missing, and what each user of them costs."""

from dataclasses import dataclass

from launch.config.schema import RunConfig
from launch.errors import RunError
from launch.planning.cost import UserCost, cost_user, expected_output_tokens
from launch.rundir.failed_items import read_classes, ways_for_failed
from launch.rundir.layout import RunPaths
from launch.rundir.plan import IndexEntry
from launch.rundir.progress import Settled

ITEMS_TO_LEARN_FROM = 100
"""Done items; fewer say little of how long samples are."""


def missing_items(run: RunPaths, settled: Settled, *, retry_failed: bool) -> set[int]:
    """The numbers of the items to generate; RunError where there are none."""
    missing = set(settled.missing(retry_failed=retry_failed))
    if missing:
        return missing
    if settled.num_failed:
        ways = "; ".join(ways_for_failed(run, read_classes(run, settled)))
        raise RunError(
            f"{run.root}: every item is settled, {settled.num_failed} failed; nothing is left to generate."
            f" {ways}."
        )
    raise RunError(
        f"{run.root}: every item is settled; nothing is left to generate. Run `vllm-launch merge`,"
        " which takes settings of publish as well."
    )


def mean_sample(settled: Settled, config: RunConfig) -> float | None:
    """Tokens of a sample by what earlier submissions generated; None while that is little."""
    if settled.num_done < ITEMS_TO_LEARN_FROM:
        return None
    return settled.num_output_tokens / (settled.num_done * config.sampling.samples_per_item)


@dataclass(frozen=True, slots=True)
class MissingWork:
    """What a submission is to generate.

    `users` have their missing items, `num_items` in all; `sequence_tokens` is what one sequence is expected
    to take of a KV cache on average: its sample whole, and its part of a prompt that an item's samples share.
    """

    users: list[UserCost]
    num_items: int
    sequence_tokens: float


def cost_missing(
    index: list[IndexEntry], missing: set[int], config: RunConfig, sample_tokens: float | None
) -> MissingWork:
    """The `missing` items, at least one, of the users of `index`; `sample_tokens`: see `mean_sample`."""
    sampling = config.sampling
    output = expected_output_tokens(
        sampling.samples_per_item,
        sampling.max_tokens,
        sample_tokens,
        only_length_ends=sampling.ignore_eos and not (sampling.stop or sampling.stop_token_ids),
    )
    users, num_prompt_tokens = [], 0.0
    for entry in index:
        places = [place for place in range(entry.num_items) if entry.first_item + place in missing]
        numbers = [entry.first_item + place for place in places]
        tokens = [entry.prompt_tokens[place] for place in places]
        users.append(cost_user(entry.position, entry.user_hash, numbers, tokens, output))
        num_prompt_tokens += sum(tokens)
    of_item = num_prompt_tokens / len(missing) + output
    return MissingWork(users, len(missing), of_item / sampling.samples_per_item)
