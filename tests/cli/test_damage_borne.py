"""Damage that a run goes on with: nothing whole is lost, and the same bytes are published in the end."""

import shutil
from pathlib import Path

import pytest

from launch.collect.merge import merge
from launch.errors import IncompleteError
from launch.rundir.attempts import EngineStart, open_attempt
from launch.rundir.journal import write_json
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from launch.rundir.records import list_submissions, load_run, load_submission, run_config
from launch.rundir.sharing import Place
from launch.rundir.submissions import open_submission
from launch.worker.caution import Caution
from launch.worker.engine_process import work
from tests.cli.commands import vllm_launch
from tests.cli.damages import (
    NUM_ITEMS,
    ZEROS,
    Damage,
    append,
    become_directory,
    bring_foreign_results,
    chunks,
    copy_attempt,
    copy_of,
    cut,
    edit_json,
    edit_row,
    engine,
    everything,
    half_done,
    lines,
    put,
)
from tests.local_submit import digests
from tests.worker.tasks import SilentChannel

pytestmark = pytest.mark.process  # every row is a run

GARBAGE = b'no json\n{"key":5}\n[]\n{"key":"user0#0.0","digest":1,"samples":[{}]}\n'
BAD_EVENTS = b"""{"a":1}
[]
{"time":"x","event":"phase"}
{"time":1.5,"event":"phase"}
{"time":2,"event":"ladder"}
{"time":2,"event":"canary"}
{"time":2,"event":"signal"}
{"time":3,"event":"phase","slot":0,"start":0,"phase":"generating"}
"""
BAD_GPU = b'{"devices":5}\n{"gpus":[{}]}\n{"time":1,"gpus":[{},{}]}\n{"failed":1}\n{"no_gpu":1}\n'
BAD_COMMITS = b'{"a":1}\n{"time":1,"items":[[1],["x",0,1,0,0,0,0],7]}\n{"time":1,"items":5}\n{"time":null}\n'


def attempt(run: RunPaths):
    return run.attempt(1, 0, 0)


def claims(run: RunPaths) -> Path:
    return run.submission(1).claims


def foreign_claims(run: RunPaths) -> None:
    put(claims(run), notes="", n1_x="", n01_1="", n0_01="", n99_done="", n0_99999999="{}", n2_8="[1]")
    put(claims(run), n3_4="{}")


def no_tokens(run: RunPaths) -> None:
    """Lines of another form behind no commit."""
    engine(run).commits.unlink()
    whole = engine(run).results.read_bytes()
    engine(run).results.write_bytes(whole.replace(b'"tokens":', b'"tokenz":', 2))


CLAIMS = [
    Damage("all deleted", lambda run: shutil.rmtree(claims(run)), again=6),
    Damage("none done", lambda run: [path.unlink() for path in claims(run).glob("*.done")]),
    Damage("an owner's deleted", lambda run: run.submission(1).claim(2, 1).unlink()),
    Damage("foreign names", foreign_claims),
    Damage("a directory", lambda run: run.submission(1).claim(2, 2).mkdir()),
]
FILES = [
    Damage("chunks: zeros", lambda run: chunks(run).write_bytes(ZEROS)),
    Damage("attempt.json: empty", lambda run: cut(attempt(run).attempt_json, 0)),
    Damage(
        "attempt.json: types",
        lambda run: edit_json(attempt(run).attempt_json, host=5, pid="x", slurm=[1], slots=None),
    ),
    Damage("attempt.json: absent", lambda run: attempt(run).attempt_json.unlink()),
    Damage("ended.json: empty", lambda run: cut(attempt(run).ended, 0)),
    Damage("ended.json: an object", lambda run: attempt(run).ended.write_text("{}")),
    Damage(
        "ended.json: types",
        lambda run: edit_json(attempt(run).ended, failure=5, gpu={"gpus": 3}, counts="x"),
    ),
    Damage("ended.json: a directory", lambda run: become_directory(attempt(run).ended)),
    Damage("heartbeat: absent", lambda run: attempt(run).heartbeat.unlink()),
    Damage("events: garbage", lambda run: attempt(run).events.write_bytes(BAD_EVENTS + ZEROS + b"\n")),
    Damage("gpu: garbage", lambda run: attempt(run).gpu.write_bytes(BAD_GPU + ZEROS)),
    Damage("engine.json: an object", lambda run: engine(run).engine_json.write_text('{"notes": 5}')),
    Damage("jobs: garbage", lambda run: run.submission(1).jobs.write_text('{"a":1}\n{"job_id":"1"}\n')),
    Damage("rounds: garbage", lambda run: run.submission(1).rounds.write_text('{"a":1}\n')),
    Damage("driver: garbage", lambda run: run.submission(1).driver.write_text('{"host":"x"}')),
    Damage("squeue: garbage", lambda run: run.submission(1).queue.write_text('{"rows":[],"jobs":[]}')),
    Damage("damaged: garbage", lambda run: (run.merge.mkdir(), run.damaged.write_text('{"task":0}\n'))),
    Damage("commits: absent", lambda run: engine(run).commits.unlink()),
    Damage("commits: zeros", lambda run: engine(run).commits.write_bytes(ZEROS)),
    Damage("commits: garbage", lambda run: engine(run).commits.write_bytes(BAD_COMMITS)),
    Damage(
        "commits: the first lost to zeros",
        lambda run: engine(run).commits.write_bytes(ZEROS + b"\n" + b"".join(lines(engine(run).commits)[1:])),
    ),
    Damage("commits: a number too high", lambda run: edit_row(run, 0, 999)),
    Damage("commits: a negative number", lambda run: edit_row(run, 0, -1)),
    Damage("commits: an offset outside", lambda run: edit_row(run, 1, 10**12)),
    Damage("commits: an offset of no file", lambda run: edit_row(run, 1, 2**63)),
    Damage("commits: a negative offset", lambda run: edit_row(run, 1, -5)),
    Damage("commits: a length outside", lambda run: edit_row(run, 2, 2**40)),
    Damage("commits: no crc32", lambda run: edit_row(run, 3, 2**40)),
    Damage("commits: another crc32", lambda run: edit_row(run, 3, 7), again=1),
    Damage("commits: another item's", lambda run: edit_row(run, 0, NUM_ITEMS - 1), again=1),
    Damage("commits: too long", lambda run: edit_row(run, 2, 700), again=1),
    Damage("results: garbage behind", lambda run: append(engine(run).results, GARBAGE)),
    Damage("results: zeros behind", lambda run: append(engine(run).results, ZEROS)),
    Damage("results: lines of another form", no_tokens, again=1),
    Damage("results: cut in the second", lambda run: cut(engine(run).results, 700), again=5),
    Damage("results: empty", lambda run: cut(engine(run).results, 0), again=6),
    Damage("results: absent", lambda run: engine(run).results.unlink(), again=6),
    Damage("results: a directory", lambda run: become_directory(engine(run).results), again=6),
    Damage(
        "results: zeros",
        lambda run: engine(run).results.write_bytes(bytes(engine(run).results.stat().st_size)),
        again=6,
    ),
    Damage("results: of other settings", bring_foreign_results),
    Damage("an attempt copied", lambda run: copy_attempt(run, "7")),
    Damage("an attempt copied by a desktop", lambda run: copy_attempt(run, "0 (copy)")),
    Damage("a task copied", lambda run: shutil.copytree(run.task(1, 0), run.task(1, 55))),
    Damage("tasks of a submission copied", lambda run: shutil.copytree(run.tasks / "1", run.tasks / "9")),
    Damage("files among attempts", lambda run: put(run.task(1, 0), n3="x", n00="x")),
    Damage("files among tasks", lambda run: put(run.tasks / "1", n3="x")),
    Damage("names that are no slots", lambda run: put(attempt(run).root, x_y_results_jsonl="x")),
    Damage("digits of another script", lambda run: (run.tasks / "\u0663").mkdir()),
]


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    return half_done(tmp_path_factory.mktemp("half"))


@pytest.fixture(scope="module")
def expected(half: RunPaths, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of what the run publishes when nothing is damaged."""
    run = copy_of(half, tmp_path_factory.mktemp("sound"))
    go_on(run)
    return digests(merge(run).output_dir)


def work_on(run: RunPaths, submission: int) -> None:
    """One more attempt of the only task of a submission."""
    number, _ = open_attempt(run, submission, 0)
    work(run, EngineStart(submission, 0, number, 0, 0), SilentChannel(), {}, Caution())  # type: ignore[arg-type]


def go_on(run: RunPaths) -> None:
    """What a resume sends, and its one task."""
    open_submission(run, run_config(load_run(run), load_submission(run, 1)), Place(1001, None, 0))
    work_on(run, list_submissions(run)[-1])


def test_the_run_is_half_done(half: RunPaths) -> None:
    assert survey_settled(half).num_done == NUM_ITEMS // 2
    assert len(lines(engine(half).commits)) > 0 and len(lines(chunks(half))) > 3


@pytest.mark.parametrize("damage", [*FILES, *CLAIMS], ids=lambda damage: damage.name)
def test_no_command_minds_and_a_resume_completes_the_run(
    half: RunPaths, expected: dict[str, str], tmp_path: Path, damage: Damage
) -> None:
    run = copy_of(half, tmp_path)
    damage.do(run)
    results = everything(run.tasks)
    listed = vllm_launch("list", run.root.parent, cwd=tmp_path)
    assert listed.code == 0 and "damaged" not in listed.out
    for command, codes in {"status": {0}, "logs": {0, 2}, "cancel": {0}, "verify": {3}, "clean": {3}}.items():
        said = vllm_launch(command, run.root, cwd=tmp_path)
        assert said.code in codes, said.err
    for _ in range(3):
        if survey_settled(run).num_missing:
            go_on(run)
        try:
            output_dir = merge(run).output_dir
        except IncompleteError:
            assert not (tmp_path / "leaderboards").exists()
        else:
            break
    assert digests(output_dir) == expected
    assert vllm_launch("verify", output_dir, cwd=tmp_path).code == 0
    assert {name: data for name, data in everything(run.tasks).items() if name in results} == results
    sent = [load_submission(run, number).num_items for number in list_submissions(run)[1:]]
    assert sum(sent) == NUM_ITEMS // 2 + (damage.again if damage in FILES else 0)


@pytest.mark.parametrize("damage", CLAIMS, ids=lambda damage: damage.name)
def test_a_task_that_is_continued_takes_all_that_is_left(
    half: RunPaths, expected: dict[str, str], tmp_path: Path, damage: Damage
) -> None:
    run = copy_of(half, tmp_path)
    damage.do(run)
    work_on(run, 1)
    assert digests(merge(run).output_dir) == expected
    (again,) = run.attempt(1, 0, 1).root.glob("*.results.jsonl")
    assert len(lines(again)) == NUM_ITEMS // 2 + damage.again


def test_a_merge_job_sends_again_what_its_merge_found_damaged(
    half: RunPaths, expected: dict[str, str], tmp_path: Path
) -> None:
    """Every item was committed, so before its merge the job had nothing to send."""
    run = copy_of(half, tmp_path)
    go_on(run)
    write_json(run.attempt(2, 0, 0).ended, {"code": 0, "reason": "empty"})
    edit_row(run, 3, 7)
    said = vllm_launch("merge", run.root, "--after", "2", cwd=tmp_path)
    assert said.code == 75, said.err
    assert "round       1 of 3: 1 items are missing (results that did not stand the checks)" in said.out
    assert load_submission(run, 3).num_items == 1
    assert digests(tmp_path / "leaderboards" / "run") == expected
