"""`vllm-launch presets`: what can be named: presets, clusters, datasets."""

import click

from launch.config.datasets import list_datasets
from launch.config.presets import list_clusters, list_presets
from launch.errors import ExitCode


@click.command("presets", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> int:
    """List the presets, clusters and datasets that can be named."""
    for title, rows in (("presets", list_presets()), ("clusters", list_clusters())):
        click.echo(f"{title}:")
        for name, description, _ in rows:
            click.echo(f"  {name:<24}{description}")
    click.echo("datasets:")
    for row in list_datasets():
        aliases = f" (also {', '.join(row.aliases)})" if row.aliases else ""
        click.echo(f"  {row.name:<24}{row.language}{aliases}")
    return ExitCode.OK
