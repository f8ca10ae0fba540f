"""How long the prompts are that a submission has left, counted in a process of its own under a time limit.

`python -m launch.worker.longest_prompt RUN SUBMISSION PARENT` prints it, and ends with process PARENT. The
plan has estimates only; what a shorter max_model_len must hold is known when every prompt that is left was
made, with the engine's own tokenizer.
"""

import os
import sys
from functools import cache
from pathlib import Path

from launch.rundir.chunks import read_chunks
from launch.rundir.claim_files import survey_claims
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_run, load_submission, run_config
from launch.scenarios.records import Request
from launch.worker.bounded import answer_of
from launch.worker.chunk_requests import ChunkRequests
from launch.worker.commands import with_package
from launch.worker.processes import die_with_parent
from launch.worker.requests import open_request_maker
from launch.worker.startup.packed_environment import engines_differ

ANSWER_S = 20.0
"""Some seconds of them transformers' import; then two milliseconds an item (docs/performance.md). The task's
other engines are not listened to meanwhile."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


@cache
def count_longest_prompt(run: RunPaths, submission: int) -> int | None:
    """Its tokens; None when that is not told in time.

    Also where engines have a container or an environment of their own, and with it another transformers.
    """
    if engines_differ(load_submission(run, submission).resources):
        return None
    command = [sys.executable, "-P", "-m", "launch.worker.longest_prompt"]
    command += [str(run.root.absolute()), str(submission), str(os.getpid())]
    lines = (answer_of(command, ANSWER_S, with_package({**os.environ, **OFFLINE})) or "").split()
    return int(lines[-1]) if lines and lines[-1].isdecimal() else None


def longest_prompt(run: RunPaths, submission: int) -> int:
    """Tokens of the longest prompt in the chunks that are not done, by any task; 0 where there is none.

    An item that cannot become a request is none. Ends early at the budget that all were cut to.
    """
    record, sent = load_run(run), load_submission(run, submission)
    config = run_config(record, sent)
    paths = run.submission(submission)
    done = survey_claims(paths).done
    requests = ChunkRequests(run, open_request_maker(run, record, config))
    longest = 0
    for chunk in read_chunks(paths, sent.chunks_sha256):
        if chunk.number in done:
            continue
        for made in requests.each(chunk, settled=()):
            if isinstance(made, Request):
                longest = max(longest, len(made.token_ids))
        if longest >= config.max_prompt_tokens:
            break
    return longest


if __name__ == "__main__":
    die_with_parent(int(sys.argv[3]))
    print(longest_prompt(RunPaths(Path(sys.argv[1])), int(sys.argv[2])), flush=True)
