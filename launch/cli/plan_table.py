"""The plan of a submission as submit and resume print it: what runs where, how long, and on what basis."""

import click

from launch.config.datasets import dataset_language
from launch.config.schema import EngineKind, RunConfig
from launch.rundir.layout import RunPaths
from launch.rundir.records import RunRecord, load_run, load_submission, run_config
from launch.rundir.submissions import Opened

MOST_STARTUP = 0.2
"""Of GPU time; above it submit warns."""


def show_plan(run: RunPaths, opened: Opened) -> None:
    """Prints the plan table, and notes on stderr."""
    record, sent = load_run(run), load_submission(run, opened.submission)
    for note in record.notes:
        click.echo(f"note: {note}", err=True)
    if record.subset is not None:
        subset = record.subset
        click.echo(
            f"note: limited to {subset.num_items} of {subset.of_items} items"
            f" ({subset.num_users} of {subset.of_users} users)",
            err=True,
        )
    for warning in (opened.plan.warning, startup_warning(opened)):
        if warning is not None:
            click.echo(f"note: {warning}", err=True)
    expected = opened.forecast
    rows = [
        ("run", str(run.root)),
        ("submission", f"{opened.submission}: {sent.num_items:,} items in {opened.num_chunks} chunks"),
        *_language_row(record),
        ("tasks", opened.plan.why),
        *_engine_rows(run_config(record, sent), opened),
        ("balance", f"largest shard / mean {expected.balance:.2f}"),
        (
            "forecast",
            f"{expected.makespan_s / 60:.0f} min from the first start, {expected.gpu_hours:.2f} GPU hours"
            f"{_measured_start(opened)}",
        ),
        *([] if opened.plan.rate.source in opened.plan.why else [("speed", opened.plan.rate.source)]),
        ("results in", str(sent.publish.output_dir)),
    ]
    for name, value in rows:
        click.echo(f"{name:<12}{value}")


def _language_row(record: RunRecord) -> list[tuple[str, str]]:
    """The language of a dataset that we do not know, for a wrong one is seen in the results only."""
    dataset, language = record.data.dataset, record.prompt.language
    if language is None or (dataset is not None and dataset_language(dataset) is language):
        return []
    return [("prompts", f"in {language.name.capitalize()} (--language {language.value})")]


def _engine_rows(config: RunConfig, opened: Opened) -> list[tuple[str, str]]:
    rows = []
    if config.num_engines > 1:
        engine = config.engine
        why = "as asked for" if engine.engines_per_node is not None else "the cluster gives whole nodes"
        rows.append(
            ("engines", f"{config.num_engines} in a task, {engine.tensor_parallel_size} GPU each: {why}")
        )
    if config.model.engine is EngineKind.VLLM:
        rows.append(("start", opened.plan.compilation.why))
        if opened.forecast.is_warm:
            rows.append(("caches", "warm: an earlier run compiled what these engines need"))
    return rows


def startup_warning(opened: Opened) -> str | None:
    """What to say when more of the GPU time than a fifth is predicted to go into starts; None else."""
    expected, rate = opened.forecast, opened.plan.rate
    share = expected.startup_share
    if expected.gpu_hours == 0 or share <= MOST_STARTUP:
        return None
    work_s = expected.total_cost / rate.tokens_per_s
    warm = ""
    if rate.warm_startup_s is not None and expected.num_cold_starts == expected.num_tasks:
        starts_s = rate.warm_startup_s * expected.num_tasks
        each = f"{rate.warm_startup_s:.0f} s each{_basis(opened)}"
        warm = f", {starts_s / (starts_s + work_s):.0%} with warm ones ({each})"
    start_s = expected.starts_s / expected.num_tasks
    fewer = max(1, int(work_s * MOST_STARTUP / (1 - MOST_STARTUP) / start_s))
    advice = f" Fewer tasks spend less: --num-tasks {fewer}." if fewer < expected.num_tasks else ""
    return f"start-up is predicted to take {share:.0%} of GPU time with {_starts(opened)}{warm}.{advice}"


def _starts(opened: Opened) -> str:
    """`cold caches (2 x 121 s)`, `cold caches at first (1 x 121 s, 7 x 9 s)`, `warm caches (8 x 9 s)`."""
    expected, rate = opened.forecast, opened.plan.rate
    if expected.is_warm:
        start_s = expected.starts_s / expected.num_tasks
        return f"warm caches ({expected.num_tasks} x {start_s:.0f} s{_basis(opened)})"
    cold, warm = expected.num_cold_starts, expected.num_tasks - expected.num_cold_starts
    if warm == 0 or rate.warm_startup_s is None:
        return f"cold caches ({expected.num_tasks} x {rate.startup_s:.0f} s)"
    warm_starts = f"{warm} x {rate.warm_startup_s:.0f} s{_basis(opened)}"
    return f"cold caches at first ({cold} x {rate.startup_s:.0f} s, {warm_starts})"


def _measured_start(opened: Opened) -> str:
    rate = opened.plan.rate
    if rate.starts is None or rate.warm_startup_s is None:
        return ""
    return f"; a warm start takes {rate.warm_startup_s:.0f} s{_basis(opened)}"


def _basis(opened: Opened) -> str:
    """Where the seconds of a warm start are from, if not from configs/gpus.yaml."""
    starts = opened.plan.rate.starts
    if starts is None:
        return ""
    number = len(starts.seconds)
    earlier = "an earlier start" if number == 1 else f"{number} earlier starts"
    return f" by the median of {earlier} here and the table's"
