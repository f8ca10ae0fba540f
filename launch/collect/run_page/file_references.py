"""True continuations that came from a file, for the items that a run page shows.

The published directory does not hold that file, so they are found while the run directory still says which
it was, and travel in timeline.json.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

import orjson

from launch.collect.reference_file import read_reference_file
from launch.collect.reference_texts import REFERENCES_FILE
from launch.collect.referenced_items import place_texts
from launch.collect.run_page.items import PublishedItem
from launch.collect.run_page.samples import clipped_reference, draw_rank, page_bytes
from launch.rundir.layout import RunPaths
from launch.rundir.records import list_submissions, load_run, load_submission

MAX_BYTES = 1_500_000


def references_file(run: RunPaths) -> Path | None:
    """The file that the run's newest submission names, else the one beside its scenario, if there is one."""
    given = load_submission(run, list_submissions(run)[-1]).publish.references
    if given is not None:
        return given
    scenario = load_run(run).data.scenario_path
    beside = None if scenario is None else scenario / REFERENCES_FILE
    return beside if beside is not None and beside.is_file() else None


def place_references(path: Path, items: Iterable[PublishedItem], keys: Collection[str]) -> dict[str, str]:
    """By key, the reference of each of the items that is in `keys`, clipped as the page shows it.

    Of more than MAX_BYTES those of the lowest ranks. InputError when the file is not there, or of another
    shape.
    """
    found: dict[str, str] = {}
    with read_reference_file(path).open() as lists:
        for user, group in groupby(items, key=lambda item: item.user):
            texts = lists.read(user)
            if texts is None:
                continue
            of_user = [(item.key, item.data) for item in group]
            placed = place_texts([key for key, _ in of_user], texts) or ()
            for (key, data), text in zip(of_user, placed, strict=False):
                if key in keys and text is not None:
                    found[key] = clipped_reference(text, data)
    return dict(_within(found))


def _within(found: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    room = MAX_BYTES
    for key in sorted(found, key=draw_rank):
        room -= page_bytes(orjson.dumps([key, found[key]]))
        if room < 0:
            return
        yield key, found[key]
