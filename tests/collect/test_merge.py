"""Every item exactly once, checked, or nothing published and a sentence that says why."""

import os
import re
import zlib
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launch.collect import buckets
from launch.collect.incomplete import check_complete
from launch.collect.manifest import FailedItem
from launch.collect.merge import merge
from launch.collect.summary import read_sources
from launch.collect.tally import Tally
from launch.collect.verify_run import verify_run
from launch.config.schema import PublishConfig
from launch.errors import IncompleteError, RunError, StorageError
from launch.rundir.attempts import EngineStart
from launch.rundir.identity import settings_digest
from launch.rundir.journal import json_line, write_json
from launch.rundir.layout import RunPaths
from launch.rundir.plan import KeyIndex
from launch.rundir.process_mark import mark_process
from launch.rundir.records import list_submissions, load_run, save_record
from tests.collect.builders import (
    change_publish,
    copy_run,
    make_generations,
    make_users,
    plan_run,
    published,
    read_lines,
    read_value,
    same_bytes,
    write_results,
)


def change_line(run: RunPaths, start: EngineStart, number: int, old: bytes, new: bytes) -> None:
    """Changes bytes of one result line on disk, commits as they were; the length must stay."""
    assert len(old) == len(new)
    path = start.paths(run).results
    lines = path.read_bytes().splitlines(keepends=True)
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new)
    path.write_bytes(b"".join(lines))


def recommit(run: RunPaths, start: EngineStart) -> None:
    """Commits the lines as they are now on disk: what is wrong with them is no longer the crc's to find."""
    paths = start.paths(run)
    commit = read_lines(paths.commits)[0]
    data = paths.results.read_bytes()
    for row in commit["items"]:
        row[3] = zlib.crc32(data[row[1] : row[1] + row[2]])
    paths.commits.write_bytes(json_line(commit))


def test_a_complete_run_is_published_item_for_item(run: RunPaths) -> None:
    everything = make_generations(run)
    first, second = write_results(run, everything[5:], task=1), write_results(run, everything[4::-1])
    result = merge(run)
    assert result.is_new
    assert result.manifest.complete
    directory = result.output_dir
    assert directory == published(run)
    lines = (directory / "generations.jsonl").read_bytes().splitlines(keepends=True)
    on_disk = [start.paths(run).results.read_bytes() for start in (second, first)]
    assert lines == sorted(
        b"".join(on_disk).splitlines(keepends=True), key=lambda line: orjson.loads(line)["key"]
    )
    provenance = read_lines(directory / "provenance.jsonl")
    assert [row["key"] for row in provenance] == [generation.key for generation in everything]
    assert [row["host"] for row in provenance] == ["node0"] * 5 + ["node1"] * 7
    assert not list(run.merge.glob("*.scratch"))
    assert [path.name for path in directory.parent.iterdir()] == ["run"]


def test_the_input_is_filled_in_its_order(run: RunPaths) -> None:
    everything = make_generations(run)
    write_results(run, everything)
    users = read_value(merge(run).output_dir / "test_leaderboard.json")
    expected = make_users()
    texts = iter([[sample.text for sample in generation.samples] for generation in everything])
    for user in expected:
        for item in user["task"]["task_behavior_collections"][0]["data"]:
            item["continuations"] = next(texts)
        user["stub"] = True
    assert users == expected
    one = read_value(published(run) / "users" / "u2.json")
    samples = one.pop("generated_samples")
    assert one == expected[2]
    assert [entry["key"] for entry in samples] == ["u2#0.0", "u2#0.1", "u2#0.2"]
    assert samples[1]["continuations"] == ["text 7.0\n影\u2028", "text 7.1\n影\u2028"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(data=st.data())
@pytest.mark.process
def test_the_same_bytes_however_the_work_was_spread(
    tmp_path_factory: pytest.TempPathFactory, planned: RunPaths, data: st.DataObject
) -> None:
    run = copy_run(planned, tmp_path_factory.mktemp("spread"))
    everything = make_generations(run)
    write_results(run, everything)
    expected = same_bytes(merge(run).output_dir)
    other = copy_run(planned, tmp_path_factory.mktemp("spread"))
    order = data.draw(st.permutations(everything), "order")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4), "cuts"))
    for begin, end in zip([0, *cuts], [*cuts, len(order)], strict=True):
        write_results(other, order[begin:end], task=data.draw(st.integers(0, 1), "task"))
    again = data.draw(
        st.lists(st.sampled_from(everything), max_size=5, unique_by=lambda each: each.key), "again"
    )
    write_results(other, again, task=1)
    assert same_bytes(merge(other).output_dir) == expected


def test_many_buckets_give_the_same_bytes(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = make_generations(run)
    write_results(run, everything[::-1])
    expected = same_bytes(merge(run).output_dir)
    monkeypatch.setattr(buckets, "BUCKET_BYTES", 500)
    write_results(run, everything[3:5])
    result = merge(run)
    assert result.is_new
    assert same_bytes(result.output_dir) == expected


def test_a_bucket_is_removed_when_it_was_read(
    run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory and its room on the disk are for what is published next."""
    monkeypatch.setattr(buckets, "BUCKET_BYTES", 500)
    start = write_results(run, make_generations(run))
    (tmp_path / "scratch").mkdir()
    scratch = buckets.Buckets(tmp_path / "scratch", 12, start.paths(run).results.stat().st_size)
    assert len(list(scratch.fill(run, [start], KeyIndex(run), settings_digest(load_run(run))))) == 12
    most = len(list((tmp_path / "scratch").iterdir()))
    left = [(line.number, len(list((tmp_path / "scratch").iterdir()))) for line in scratch.read()]
    assert most > 3
    assert [number for number, _ in left] == list(range(12))
    assert left[0][1] == most - 1
    assert left == sorted(left, key=lambda each: -each[1])
    assert list((tmp_path / "scratch").iterdir()) == []


def test_missing_items_and_their_task_are_named_and_nothing_is_published(run: RunPaths) -> None:
    ended = write_results(run, make_generations(run)[:3])
    write_json(run.attempt(1, 0, ended.attempt).ended, {"code": 1, "reason": "failed"})
    with pytest.raises(IncompleteError) as caught:
        merge(run)
    said = str(caught.value)
    assert "9 of 12 items are missing (u1#0.0, u1#0.1, " in said
    assert "of submission 1: task" in said
    assert f"`vllm-launch resume {run.root}`" in said
    assert caught.value.exit_code == 3
    assert not published(run).parent.exists()


def test_of_a_task_that_is_at_work_no_resume_is_advised(run: RunPaths) -> None:
    """It would be refused."""
    write_results(run, make_generations(run)[:3])
    write_json(run.attempt(1, 0, 0).attempt_json, mark_process().as_json())
    with pytest.raises(IncompleteError) as caught:
        merge(run)
    said = str(caught.value)
    assert "task 0 is still at work" in said and "resume" not in said
    assert said.endswith(f"Wait for task 0, or end that work with `vllm-launch cancel {run.root}`.")
    write_results(run, make_generations(run)[3:4], task=1)
    write_json(run.attempt(1, 1, 0).attempt_json, mark_process().as_json())
    with pytest.raises(IncompleteError, match=r" Wait for 2 tasks, or "):
        merge(run)


def test_a_missing_results_file_is_missing_items(run: RunPaths) -> None:
    everything = make_generations(run)
    write_results(run, everything[:6])
    write_results(run, everything[6:], task=1).paths(run).results.unlink()
    with pytest.raises(IncompleteError, match="6 of 12 items are missing"):
        merge(run)


def test_a_read_error_names_the_results_and_not_the_scratch(run: RunPaths) -> None:
    """Memory of a process cannot be read at 0: EIO, as of a disk that fails."""
    write_results(run, make_generations(run))
    paths = read_sources(run).starts[0].paths(run)
    results, commits = paths.results, paths.commits
    commits.rename(run.root / "kept")
    commits.symlink_to("/proc/self/mem")
    for read in (merge, verify_run):
        with pytest.raises(
            StorageError, match=f"^{re.escape(str(results))}: cannot read: Input/output error"
        ):
            read(run)
    (run.root / "kept").replace(commits)
    results.rename(run.root / "kept")
    results.mkdir()
    with pytest.raises(IncompleteError):
        merge(run)


def test_scratch_that_cannot_be_written_names_the_scratch(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    starts = read_sources(run).starts
    (run.root / "scratch").mkdir()
    (run.root / "scratch" / "0.bucket").symlink_to("/dev/full")
    filled = buckets.Buckets(run.root / "scratch", 1, 1)
    with pytest.raises(StorageError, match=r"/scratch: cannot write: the disk is full"):
        list(filled.fill(run, starts, KeyIndex(run), settings_digest(load_run(run))))


def test_a_torn_last_line_is_dropped_and_counted(run: RunPaths) -> None:
    everything = make_generations(run)
    torn = write_results(run, everything[:6]).paths(run)
    with torn.results.open("ab") as results:
        results.write(b'{"key":"u1#0.')
    with pytest.raises(IncompleteError, match="6 of 12 items are missing"):
        merge(run)
    write_results(run, everything[6:], task=1)
    assert merge(run).manifest.complete
    assert read_value(published(run) / "inference_summary.json")["results"]["unused_bytes"] == 13


def test_a_whole_line_behind_the_commits_counts(run: RunPaths) -> None:
    start = write_results(run, make_generations(run))
    os.truncate(start.paths(run).commits, 0)
    assert merge(run).manifest.complete
    assert {row["time"] for row in read_lines(published(run) / "provenance.jsonl")} == {None}


def test_of_two_texts_the_lowest_start_wins_and_it_is_said(run: RunPaths) -> None:
    everything = make_generations(run)
    write_results(run, make_generations(run, says="other")[4:6], task=1)
    write_results(run, everything)
    write_results(run, everything[:2], task=1)
    merge(run)
    lines = read_lines(published(run) / "generations.jsonl")
    assert all(line["samples"][0]["text"].startswith("text ") for line in lines)
    results = read_value(published(run) / "inference_summary.json")["results"]
    assert (results["duplicate_lines"], results["duplicates_with_other_text"]) == (4, 2)
    assert "another text for 'u1#0.1'" in results["first_with_other_text"][0]
    assert "task 1, attempt 0" in results["first_with_other_text"][0]


def test_done_beats_failed(run: RunPaths) -> None:
    write_results(run, make_generations(run, failed=[0, 7]))
    write_results(run, make_generations(run)[7:8], task=1)
    write_results(run, make_generations(run)[0:1], task=1)
    assert merge(run).manifest.complete
    summary = read_value(published(run) / "inference_summary.json")
    assert summary["results"]["failures_superseded"] == 2
    assert summary["results"]["duplicate_lines"] == 0


def test_a_line_with_other_bytes_than_committed_is_missing_and_remembered(run: RunPaths) -> None:
    start = write_results(run, make_generations(run))
    change_line(run, start, 4, b"text 4.0", b"text 9.9")
    with pytest.raises(IncompleteError, match=r"1 of 12 items are missing \(u1#0\.1\)"):
        merge(run)
    assert not published(run).exists()
    (row,) = read_lines(run.merge / "damaged.jsonl")
    assert (row["task"], row["number"]) == (0, 4)
    write_results(run, make_generations(run)[4:5], task=1)
    assert merge(run).manifest.complete
    damaged = read_value(published(run) / "inference_summary.json")["results"]["first_damaged"]
    assert damaged == [
        f"submission 1, task 0, attempt 0, slot 0, start 0, offset {row['offset']}: its bytes are not those"
        " that were committed (crc32)"
    ]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'"key":"u1#0.1"', b'"key":"x1#0.1"', "its key is another item's or another run's"),
        (b'"digest":"', b'"digesT":"', "its digest is another item's or another run's"),
        (b'"settings":"', b'"settingz":"', "its settings is another item's or another run's"),
        (b'"seed":', b'"sEed":', "its seed is another item's or another run's"),
        (b'"finish_reason":"stop"', b'"finish_reason":"drop"', "a sample did not end by stop or length"),
        (b'"samples":', b'"sampleZ":', "it is no result"),
        (b'{"key"', b'["key"', "it is no JSON"),
        (b'"text":"text 4.0', b'"texT":"text 4.0', "a sample did not end by stop or length"),
    ],
)
def test_a_foreign_line_under_a_good_commit_is_refused(
    run: RunPaths, old: bytes, new: bytes, why: str
) -> None:
    start = write_results(run, make_generations(run))
    change_line(run, start, 4, old, new)
    recommit(run, start)
    with pytest.raises(IncompleteError, match="1 of 12 items are missing"):
        merge(run)
    assert why in verify_run(run).problems[0]


def test_a_line_with_too_few_samples_is_refused(run: RunPaths) -> None:
    everything = make_generations(run)
    short = make_generations(run)[4]
    few = type(short)(
        **{**{name: getattr(short, name) for name in short.__slots__}, "samples": short.samples[:1]}
    )
    write_results(run, [*everything[:4], few, *everything[5:]])
    with pytest.raises(IncompleteError, match="1 of 12 items are missing"):
        merge(run)
    assert "it has 1 samples, not 2" in verify_run(run).problems[0]


def test_what_may_succeed_is_tried_again_and_what_is_too_long_needs_room(run: RunPaths) -> None:
    failed = [FailedItem(key=name, failure_class=name, message="") for name in ("too_long", "poison")]
    with pytest.raises(IncompleteError) as caught:
        check_complete(run, PublishConfig(), Tally(num_items=2, failed=failed))
    assert "What is too_long fails again: a new run with a larger --max-model-len" in str(caught.value)
    assert f"`vllm-launch resume {run.root} --retry-failed` tries failed ones again" in str(caught.value)


def test_failed_items_stop_publishing_unless_allowed_and_are_marked(run: RunPaths) -> None:
    write_results(run, make_generations(run, failed=[1, 5]))
    with pytest.raises(IncompleteError) as caught:
        merge(run)
    assert "2 failed (u0#0.1 too_long, u1#0.2 too_long); nothing was published" in str(caught.value)
    assert "--retry-failed" not in str(caught.value)  # too long it stays
    assert f"`vllm-launch merge {run.root} --max-failed-items 2` publishes without" in str(caught.value)
    change_publish(run, max_failed_items=1)
    with pytest.raises(IncompleteError):
        merge(run)
    change_publish(run, max_failed_items=2)
    manifest = merge(run).manifest
    assert not manifest.complete
    assert [item.key for item in manifest.failed_items] == ["u0#0.1", "u1#0.2"]
    failure = {"class": "too_long", "message": "so long"}
    item = read_value(published(run) / "test_leaderboard.json")[0]["task"]["task_behavior_collections"][0][
        "data"
    ][1]
    assert (item["continuations"], item["failure"]) == ([], failure)
    sample = read_value(published(run) / "users" / "u1.json")["generated_samples"][2]
    assert sample == {"key": "u1#0.2", "continuations": [], "failure": failure}
    assert read_lines(published(run) / "generations.jsonl")[1]["failure"] == failure
    summary = read_value(published(run) / "inference_summary.json")
    assert (summary["num_data_items_filled"], summary["num_failed_items"]) == (10, 2)
    assert summary["failed_items"][0]["key"] == "u0#0.1"


def test_missing_items_are_published_only_when_allowed_and_marked(run: RunPaths) -> None:
    write_results(run, make_generations(run)[:-1])
    change_publish(run, allow_missing=True)
    manifest = merge(run).manifest
    assert (manifest.complete, manifest.missing_items) == (False, ("u3#0.2",))
    data = read_value(published(run) / "test_leaderboard.json")[3]["task"]["task_behavior_collections"][0][
        "data"
    ]
    assert (data[2]["continuations"], data[2]["missing"]) == ([], True)
    assert "missing" not in data[1]
    sample = read_value(published(run) / "users" / "u3.json")["generated_samples"][2]
    assert sample == {"key": "u3#0.2", "continuations": [], "missing": True}
    summary = read_value(published(run) / "inference_summary.json")
    assert (summary["complete"], summary["missing_items"]) == (False, ["u3#0.2"])


def test_nothing_new_is_said_and_later_results_replace(run: RunPaths) -> None:
    everything = make_generations(run)
    write_results(run, everything[:-1])
    change_publish(run, allow_missing=True)
    first = merge(run)
    inode = first.output_dir.stat().st_ino
    again = merge(run)
    assert (again.is_new, again.manifest) == (False, first.manifest)
    assert first.output_dir.stat().st_ino == inode
    write_results(run, everything[-1:], task=1)
    assert merge(run).manifest.complete
    assert [path.name for path in first.output_dir.parent.iterdir()] == ["run"]


def test_a_published_file_that_was_removed_is_made_again(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    (merge(run).output_dir / "users" / "u1.json").unlink()
    assert merge(run).is_new
    assert (published(run) / "users" / "u1.json").exists()


def test_another_run_in_the_same_place_is_published_however_large_its_results(run: RunPaths) -> None:
    """As --no-resume makes one of the same id; its lines may well be as long."""
    write_results(run, make_generations(run))
    assert merge(run).is_new
    record = load_run(run)
    save_record(run.run_yaml, record.model_copy(update={"created": "2020-01-01T00:00:00+00:00"}))
    assert merge(run).is_new and not merge(run).is_new


def test_an_incomplete_merge_leaves_what_was_published(run: RunPaths) -> None:
    start = write_results(run, make_generations(run))
    merge(run)
    before = same_bytes(published(run))
    change_line(run, start, 0, b"text 0.0", b"text 9.9")
    write_results(run, make_generations(run)[3:4], task=1)
    with pytest.raises(IncompleteError):
        merge(run)
    assert same_bytes(published(run)) == before


def test_a_subset_publishes_the_chosen_items_only_and_says_so(tmp_path: Path, checkpoint: Path) -> None:
    run = plan_run(tmp_path, checkpoint, make_users(6, 4), data={"limit_users": 3, "limit_items": 7})
    everything = make_generations(run)
    write_results(run, everything)
    manifest = merge(run).manifest
    assert manifest.subset is not None
    assert (manifest.subset.num_items, manifest.subset.of_items) == (7, 24)
    users = read_value(published(run) / "test_leaderboard.json")
    items = [item for user in users for item in user["task"]["task_behavior_collections"][0]["data"]]
    assert len(users) == 2
    assert [item["continuations"][0] for item in items] == [each.samples[0].text for each in everything]
    assert {user["limited"]["of_items"] for user in users} == {24}
    keys = [
        entry["key"]
        for user in users
        for entry in read_value(published(run) / "users" / f"{user['user_hash']}.json")["generated_samples"]
    ]
    assert keys == [each.key for each in everything]


def test_big_integers_of_the_input_are_published_as_they_were(tmp_path: Path, checkpoint: Path) -> None:
    users = make_users(1, 1)
    users[0]["user"]["profile"]["id"] = 2**90
    run = plan_run(tmp_path, checkpoint, users)
    write_results(run, make_generations(run))
    assert str(2**90).encode() in (merge(run).output_dir / "test_leaderboard.json").read_bytes()


def test_a_run_that_was_never_submitted_cannot_be_merged(run: RunPaths) -> None:
    run.submissions.rename(run.root / "elsewhere")
    assert list_submissions(run) == []
    with pytest.raises(RunError, match="was never submitted"):
        merge(run)
