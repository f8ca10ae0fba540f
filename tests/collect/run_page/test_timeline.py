"""The timeline of a run: spans, ends, failures; kept in a file that says of which results it is."""

import shutil
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from launch.collect.manifest import Manifest, read_published
from launch.collect.merge import merge
from launch.collect.run_page import timeline as module
from launch.collect.run_page import troubles
from launch.collect.run_page.timeline import make_timeline
from launch.collect.run_page.timeline_record import Timeline, read_timeline, write_timeline
from launch.collect.schemas import read_schema
from launch.errors import RunError
from launch.rundir.journal import Journal, write_json
from launch.rundir.layout import RunPaths
from tests.collect.builders import make_generations, read_value, write_results
from tests.collect.run_page.builders import write_attempt

BEGAN = 1_700_000_000.0
OUT_OF_MEMORY = {"event": "ladder", "slot": 0, "start": 0, "class": "gpu_memory_at_start"}
CHANGE = {**OUT_OF_MEMORY, "time": 5, "action": "change", "setting": "max_num_seqs", "from": 8, "to": 4}


@pytest.fixture
def published(run: RunPaths) -> tuple[RunPaths, Manifest]:
    """Task 0 was killed and went on in a second attempt, by a clock an hour ahead; task 1 failed."""
    everything = make_generations(run)
    for place, (task, chosen) in enumerate(((0, everything[:3]), (0, everything[3:6]), (1, everything[6:]))):
        start = write_results(run, chosen, task=task)
        paths = run.attempt(1, task, start.attempt)
        failure = {
            "code": 1,
            "reason": "failed",
            "failure": {"class": "engine_died", "message": "it died" * 999},
        }
        ended = (None, {}, failure)[place]
        events = [(), [CHANGE], [{"event": "kill", "slot": 0, "start": 0, "time": 30, "why": "stuck"}]][place]
        write_attempt(paths, BEGAN + 100 * place, ended=ended, events=events, ahead_s=3600.0 * (place == 1))
    return run, merge(run).manifest


def test_who_did_what_when(published: tuple[RunPaths, Manifest]) -> None:
    run, manifest = published
    timeline = make_timeline(run, manifest, {})
    assert timeline.begin == pytest.approx(BEGAN)
    assert (timeline.num_tasks, timeline.num_attempts, timeline.first_slots_only) == (2, 3, False)
    again = timeline.attempts[1]
    assert (again.task, again.attempt, again.host, again.end, again.reason) == (0, 1, "n1", "ended", "empty")
    named = [(timeline.phases[span.phase], span.begin_s, span.end_s) for span in again.spans]
    assert [each for each in named if each[0] in ("loading", "generating", "draining")] == [
        ("loading", 101, 111),
        ("generating", 111, 161),
        ("draining", 161, 162),
    ]
    assert [attempt.end for attempt in timeline.attempts] == ["killed", "ended", "failed"]


def test_failures_and_what_was_done_in_order_of_time(published: tuple[RunPaths, Manifest]) -> None:
    run, manifest = published
    timeline = make_timeline(run, manifest, {})
    found = [
        (each.task, each.attempt, each.failure_class, each.action, each.slot) for each in timeline.troubles
    ]
    steps = [
        (0, 1, "gpu_memory_at_start", "after gpu_memory_at_start: max_num_seqs 8 -> 4", 0),
        (1, 0, "engine killed", None, 0),
        (1, 0, "engine_died", None, None),
    ]
    assert [each for each in found if each[2] != "killed"] == steps
    assert (0, 0, "killed", None, None) in found
    assert timeline.num_troubles == 4 and timeline.troubles_by_class["engine_died"] == 1
    by_class = {each.failure_class: each for each in timeline.troubles}
    assert by_class["gpu_memory_at_start"].at_s == 105, "an attempt's clock that is ahead is set right"
    assert by_class["engine_died"].at_s == 263
    assert len(by_class["engine_died"].message or "") == troubles.MAX_MESSAGE_CHARS
    assert by_class["killed"].message == "the attempt ended without a word"


def test_of_very_many_failures_the_first_are_kept_and_all_are_counted(
    published: tuple[RunPaths, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(troubles, "MAX_TROUBLES", 2)
    timeline = make_timeline(*published, {})
    assert (len(timeline.troubles), timeline.num_troubles) == (2, 4)


def test_of_too_many_spans_those_of_the_first_slot_are_kept(
    published: tuple[RunPaths, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, manifest = published
    whole = make_timeline(run, manifest, {})
    monkeypatch.setattr(module, "MAX_SPANS", 3)
    thinned = make_timeline(run, manifest, {})
    assert thinned.first_slots_only
    assert [len(each.spans) for each in thinned.attempts] == [len(each.spans) for each in whole.attempts]


def test_readings_of_gpus_are_by_the_run_s_begin(published: tuple[RunPaths, Manifest]) -> None:
    run, manifest = published
    journal = Journal(run.attempt(1, 1, 0).gpu)
    journal.append({"time": BEGAN + 200, "devices": [{"name": "H200"}]})
    journal.append({"time": BEGAN + 221, "gpus": [{"utilization_percent": 50, "memory_used_mib": 1024}]})
    journal.close()
    gpu = make_timeline(run, manifest, {}).gpu
    assert gpu is not None and gpu.bin_s == 2
    assert [place for place, count in enumerate(gpu.num_gpus) if count] == [110]


def test_a_file_of_an_earlier_version_is_read_without_counts_of_a_reading(
    published: tuple[RunPaths, Manifest], tmp_path: Path
) -> None:
    run, manifest = published
    journal = Journal(run.attempt(1, 1, 0).gpu)
    journal.append({"time": BEGAN + 200, "devices": [{"name": "H200"}]})
    journal.append({"time": BEGAN + 221, "gpus": [{"utilization_percent": 50, "memory_used_mib": 1024}]})
    journal.close()
    write_timeline(tmp_path, make_timeline(run, manifest, {}))
    value = read_value(tmp_path / "timeline.json")
    del value["gpu"]["num_utilization_gpus"], value["gpu"]["num_memory_gpus"]
    write_json(tmp_path / "timeline.json", value)
    gpu = read_timeline(tmp_path, manifest).gpu
    assert gpu is not None and gpu.num_utilization_gpus is gpu.num_memory_gpus is None
    Draft202012Validator(read_schema("timeline")).validate(value)


def test_a_run_that_left_no_attempt_has_a_timeline_without_a_time(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    manifest = merge(run).manifest
    shutil.rmtree(run.tasks)
    timeline = make_timeline(run, manifest, {})
    assert (timeline.begin, timeline.attempts, timeline.gpu) == (None, (), None)
    assert timeline.no_gpu == "no attempt was sampled"


def test_it_is_kept_and_read_again(published: tuple[RunPaths, Manifest], tmp_path: Path) -> None:
    run, manifest = published
    timeline = make_timeline(run, manifest, {"u0#0.0": "</script>\u202e長い"})
    write_timeline(tmp_path, timeline)
    assert read_timeline(tmp_path, manifest) == timeline
    Draft202012Validator(read_schema("timeline")).validate(read_value(tmp_path / "timeline.json"))
    assert set(read_schema("timeline")["properties"]) == set(Timeline.model_fields)


def test_one_that_is_missing_damaged_or_of_other_results_is_told(
    published: tuple[RunPaths, Manifest], tmp_path: Path
) -> None:
    run, manifest = published
    with pytest.raises(RunError, match=r"timeline\.json is not in this directory"):
        read_timeline(tmp_path, manifest)
    timeline = make_timeline(run, manifest, {})
    write_timeline(tmp_path, timeline.model_copy(update={"generations_sha256": "0" * 64}))
    with pytest.raises(RunError, match="is of other results"):
        read_timeline(tmp_path, manifest)
    for data in (b"", b"[]", b'{"format": "vllm-launch-timeline/2"}', b"\xff"):
        (tmp_path / "timeline.json").write_bytes(data)
        with pytest.raises(RunError, match="was changed after it was written"):
            read_timeline(tmp_path, manifest)


def test_publishing_again_leaves_no_timeline_of_earlier_results(published: tuple[RunPaths, Manifest]) -> None:
    run, manifest = published
    directory = merge(run).output_dir
    write_timeline(directory, make_timeline(run, manifest, {}))
    write_results(run, make_generations(run)[:1], task=1)
    assert merge(run).is_new and read_published(directory) != manifest
    assert not (directory / "timeline.json").exists()
