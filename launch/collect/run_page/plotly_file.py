"""plotly.min.js, which the charts are drawn with: one in the folder above, for the pages of all runs there.

It comes out of plotly's package, whose version is pinned. Where the folder above is not for published
directories (see `holds_only_ours`), it lies beside the page instead.
"""

from pathlib import Path

from launch.collect.leaderboard.folder import holds_only_ours
from launch.collect.manifest import PLOTLY_FILE
from launch.errors import RunError
from launch.rundir.journal import size_of, write_bytes


def plotly_of(published_dir: Path) -> Path:
    """Where the page of a published directory finds plotly.min.js."""
    folder = published_dir.absolute().parent
    return (folder if holds_only_ours(folder) else published_dir) / PLOTLY_FILE


def write_plotly(path: Path) -> None:
    """Puts plotly.min.js there unless the same is there.

    RunError without plotly, StorageError where it cannot be written.
    """
    try:
        import plotly  # noqa: PLC0415  its file is wanted, not the library
    except ImportError:
        raise RunError(
            "plotly is not installed, which the page's charts are drawn with. Install what vllm-launch"
            " requires, then `vllm-launch report` makes the page."
        ) from None

    source = Path(plotly.__file__).with_name("package_data") / PLOTLY_FILE
    if size_of(path) != source.stat().st_size:
        write_bytes(path, source.read_bytes())
