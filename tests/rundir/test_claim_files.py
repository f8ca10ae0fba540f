"""The files of claims: one maker each, and what is there that no claim is."""

from pathlib import Path

import pytest

from launch.rundir.claim_files import (
    MAX_CLAIMS,
    NOBODY,
    Owner,
    make_claim,
    mark_done,
    read_claim,
    survey_claims,
)
from launch.rundir.layout import SubmissionPaths

OWNER = Owner(task=3, attempt=0, slot=1, start=2, job="12_3", host="n1", pid=7)


@pytest.fixture
def paths(tmp_path: Path) -> SubmissionPaths:
    return SubmissionPaths(tmp_path)


def test_a_claim_is_of_who_made_it_first(paths: SubmissionPaths) -> None:
    assert make_claim(paths, 5, 1, OWNER)
    assert not make_claim(paths, 5, 1, NOBODY)
    assert read_claim(paths, 5, 1) == OWNER


def test_a_survey_has_the_highest_claims_and_what_is_done(paths: SubmissionPaths) -> None:
    for chunk, number in ((0, 1), (0, 2), (7, 1)):
        assert make_claim(paths, chunk, number, OWNER)
    mark_done(paths, 7)
    for name in ("notes", "0.03", "01.4", "0.5 (copy)", f"0.{MAX_CLAIMS + 1}"):
        (paths.claims / name).touch()
    survey = survey_claims(paths)
    assert (survey.highest, survey.done) == ({0: 2, 7: 1}, {7})


def test_what_has_no_owners_words_is_being_written_and_a_directory_is_nobodys(paths: SubmissionPaths) -> None:
    paths.claim(1, 1).mkdir(parents=True)
    paths.claim(0, 1).write_bytes(b'{"task": "3"}')
    assert read_claim(paths, 0, 1) is None and read_claim(paths, 1, 1) == NOBODY
    with pytest.raises(FileNotFoundError):
        read_claim(paths, 2, 1)
