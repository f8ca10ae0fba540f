"""What a submission is to generate: the items of a run that are missing, and what each user of them costs."""

from launch.config.schema import RunConfig
from launch.errors import RunError
from launch.planning.cost import UserCost, cost_user, expected_output_tokens
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
    failed = f", {settled.num_failed} failed (--retry-failed tries again)" if settled.num_failed else ""
    raise RunError(
        f"{run.root}: every item is settled{failed}; nothing is left to generate. Run `vllm-launch merge`,"
        " which takes settings of publish as well."
    )


def mean_sample(settled: Settled, config: RunConfig) -> float | None:
    """Tokens of a sample by what earlier submissions generated; None while that is little."""
    if settled.num_done < ITEMS_TO_LEARN_FROM:
        return None
    return settled.num_output_tokens / (settled.num_done * config.sampling.samples_per_item)


def cost_users(
    index: list[IndexEntry], missing: set[int], config: RunConfig, sample_tokens: float | None
) -> list[UserCost]:
    """The users of `index`, each with its missing items; `sample_tokens` is what `mean_sample` says."""
    sampling = config.sampling
    output = expected_output_tokens(
        sampling.samples_per_item,
        sampling.max_tokens,
        sample_tokens,
        only_length_ends=sampling.ignore_eos and not (sampling.stop or sampling.stop_token_ids),
    )
    users = []
    for entry in index:
        places = [place for place in range(entry.num_items) if entry.first_item + place in missing]
        numbers = [entry.first_item + place for place in places]
        tokens = [entry.prompt_tokens[place] for place in places]
        users.append(cost_user(entry.position, entry.user_hash, numbers, tokens, output))
    return users
