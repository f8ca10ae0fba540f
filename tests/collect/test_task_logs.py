"""Where a task's logs are, how they end, and what comes: in bounded pieces, harmless to a terminal."""

from pathlib import Path

import pytest

from launch.collect.followed_log import MAX_LINE_BYTES, PIECE_BYTES, FollowedLog
from launch.collect.task_logs import FAR_BYTES, engine_logs, last_lines, merge_logs, own_log
from launch.rundir.attempts import open_attempt
from launch.rundir.journal import Journal, write_json
from launch.rundir.layout import RunPaths


def test_the_log_of_a_task_is_found_by_what_is_known(tmp_path: Path) -> None:
    run, logs = RunPaths(tmp_path / "run"), tmp_path / "logs"
    assert own_log(run, 1, 3, None, logs).path == logs / "task-3.log"
    run.submission(1).root.mkdir(parents=True)
    journal = Journal(run.submission(1).jobs)
    for name, job_id, offset, size in (("tasks-0", "7", 0, 2), ("tasks-1", "8", 2, 2), ("merge", "9", 0, 0)):
        journal.append({"name": name, "job_name": "x", "offset": offset, "size": size})
        journal.append({"name": name, "job_name": "x", "offset": offset, "size": size, "job_id": job_id})
    journal.close()
    assert own_log(run, 1, 3, None, logs).path == logs / "8_1.log"
    attempt, paths = open_attempt(run, 1, 3)
    assert own_log(run, 1, 3, attempt, logs).path == logs / "8_1.log"
    slurm = {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "1", "SLURM_JOB_ID": "15"}
    write_json(paths.attempt_json, {"host": "n", "slurm": slurm})
    assert own_log(run, 1, 3, attempt, logs).path == logs / "12_1.log"
    assert [log.path for log in merge_logs(run, 1, logs)] == [logs / "merge-9.log"]


def test_logs_of_engines_by_slot_and_start(tmp_path: Path) -> None:
    attempt, paths = open_attempt(RunPaths(tmp_path), 1, 0)
    for name in ("0.10.log", "0.2.log", "1.0.log", "x.log", "01.0.log", "0.0.results.jsonl"):
        (paths.root / name).touch()
    assert attempt == 0
    assert [log.label for log in engine_logs(paths)] == ["engine 0.2", "engine 0.10", "engine 1.0"]


def test_the_last_lines_that_say_something(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\n\n\x1b[31mtwo\x1b[0m\n  \nthree \xff\n" + b"y" * 1_000_000 + b"\nlast")
    assert last_lines(log, 2) == ["last"]  # what lies before is over 256 KiB away
    log.write_bytes(b"one\n\n\x1b[31mtwo\x1b[0m\n  \nthree \xff\n")
    assert last_lines(log, 2) == ["two", "three \ufffd"]
    assert last_lines(log, 0) == last_lines(tmp_path / "none", 5) == []


def test_a_long_line_hides_none_of_the_lines_before_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    before = [f"line {number}" for number in range(50)]
    log.write_text("\n".join([*before, "y" * 1_000_000, "last", ""]))
    shown = last_lines(log, 40, reach=FAR_BYTES)
    assert len(shown) == 40 and shown[:38] == before[-38:] and shown[-1] == "last"
    assert shown[38].startswith("yyy") and shown[38].endswith("(a line of over 1,000 characters)")
    assert last_lines(log, 100, reach=FAR_BYTES)[0] == "line 0"


def test_a_followed_log_gives_whole_lines_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    followed = FollowedLog(log)
    assert followed.read() == []
    with log.open("ab", buffering=0) as handle:
        handle.write(b"one\ntw")
        assert followed.read() == ["one"]
        handle.write(b"o\n\n")
        assert followed.read() == ["two", ""]
        assert followed.read() == []
    log.write_bytes(b"new\n")  # truncated, as some do at a new start
    assert followed.read() == ["new"]


def test_a_line_without_an_end_is_cut_and_the_next_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    followed = FollowedLog(log)
    log.write_bytes(b"x" * (3 * PIECE_BYTES))
    shown = [line for _ in range(5) for line in followed.read()]
    assert len(shown) == 1 and shown[0].startswith("xxx") and len(shown[0]) < MAX_LINE_BYTES
    with log.open("ab") as handle:
        handle.write(b"x\nnext\n")
    assert followed.read() == ["next"]


@pytest.mark.parametrize("size", [0, 1, 5])
def test_following_from_an_offset(tmp_path: Path, size: int) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"a\nbb\nccc\n")
    assert FollowedLog(log, size).read() == log.read_bytes()[size:].decode().split("\n")[:-1]
