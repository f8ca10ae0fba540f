"""What inference_vllm.py costs over a bare script: wall seconds of both as whole processes, in pairs.

    python -m benchmarks.single_node_overhead [--pairs 5] [--items 16] [--max-tokens 16] [--out FILE.json]

The bare script imports vLLM, builds the same `LLM(...)`, generates the same prompts (text, one `generate`
call) with the same sampling and writes the texts as JSON. Both run on the CPU or on the visible GPU, whatever
vLLM is installed. Prints a table and writes JSON; the last line is the median of the differences in seconds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks.record import write_record
from demo.smollm2 import get_default_directory
from launch.rundir.layout import RunPaths
from launch.rundir.plan import PlanReader, read_index
from launch.rundir.records import load_run, load_submission, run_config
from launch.scenarios.records import Request
from launch.worker.chunk_requests import planned_item
from launch.worker.requests import open_request_maker

ROOT = Path(__file__).resolve().parent.parent
SCENARIO = ROOT / "demo" / "scenarios" / "Chameleons"
MAX_MODEL_LEN, MAX_NUM_SEQS = 2048, 16

BARE = """
import json, sys
if __name__ == "__main__":
    asked = json.load(open(sys.argv[1]))
    from vllm import LLM, SamplingParams
    llm = LLM(**asked["llm"])
    params = [SamplingParams(seed=seed, **asked["sampling"]) for seed in asked["seeds"]]
    outputs = llm.generate(asked["prompts"], params, use_tqdm=False)
    json.dump([[each.text for each in output.outputs] for output in outputs], open(sys.argv[2], "w"))
"""


def main() -> None:
    """Measures the pairs and prints them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--items", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/single-node-overhead.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        pairs = measure(Path(scratch), args)
    differences = [pair["ours_s"] - pair["bare_s"] for pair in pairs]
    for pair, difference in zip(pairs, differences, strict=True):
        print(
            f"inference_vllm.py {pair['ours_s']:6.1f} s   bare {pair['bare_s']:6.1f} s   {difference:+5.1f} s"
        )
    median = statistics.median(differences)
    write_record(args.out, {"pairs": pairs, "median_difference_s": median})
    print(f"median difference {median:+.1f} s")


def measure(scratch: Path, args: argparse.Namespace) -> list[dict[str, float]]:
    """Wall seconds of both, taken in turn after one warm-up of each."""
    words = our_words(scratch, args)
    run(words, scratch)  # fills the caches of both, and makes the prompts
    bare = write_bare(scratch, args)
    run(bare, scratch)
    pairs = []
    for number in range(args.pairs):
        order = [("ours_s", our_words(scratch, args, number)), ("bare_s", bare)]
        pair = {name: run(command, scratch) for name, command in (order if number % 2 else order[::-1])}
        pairs.append(pair)
        print(f"pair {number + 1}: {pair}", file=sys.stderr, flush=True)
    return pairs


def our_words(scratch: Path, args: argparse.Namespace, number: int = -1) -> list[str]:
    """The command line of inference_vllm.py into a fresh directory."""
    settings = {
        "checkpoint_dir": get_default_directory(),
        "dataset": "Chameleons",
        "scenario_path": SCENARIO,
        "ablation_config": "profile_and_context",
        "output_dir": scratch / f"ours{number}",
        "engine": "vllm",
        "dtype": "float32",
        "num_samples": 1,
        "max_tokens": args.max_tokens,
        "limit_items": args.items,
        "max_model_len": MAX_MODEL_LEN,
        "max_num_seqs": MAX_NUM_SEQS,
        "enforce_eager": "true",
    }
    flags = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return [sys.executable, str(ROOT / "inference_vllm.py"), *flags]


def write_bare(scratch: Path, args: argparse.Namespace) -> list[str]:
    """The bare script and what it is asked: the prompts of our own run, as text."""
    requests = requests_of(RunPaths(scratch / "ours-1.run"))
    tokenizer = Tokenizer.from_file(str(get_default_directory() / "tokenizer.json"))
    asked = {
        "llm": {
            "model": str(get_default_directory()),
            "dtype": "float32",
            "max_model_len": MAX_MODEL_LEN,
            "max_num_seqs": MAX_NUM_SEQS,
            "enforce_eager": True,
            "generation_config": "vllm",
        },
        "sampling": {"temperature": 1.0, "top_p": 0.9, "top_k": 50, "max_tokens": args.max_tokens},
        "seeds": [request.seed for request in requests],
        "prompts": [tokenizer.decode(each.token_ids, skip_special_tokens=False) for each in requests],
    }
    if not has_gpu():
        asked["llm"] |= {"enable_chunked_prefill": False, "max_num_batched_tokens": 4096}
        asked["llm"] |= {"kv_cache_memory_bytes": 2**30}
    (scratch / "asked.json").write_text(json.dumps(asked))
    (scratch / "bare.py").write_text(BARE)
    return [sys.executable, str(scratch / "bare.py"), str(scratch / "asked.json"), str(scratch / "bare.json")]


def requests_of(paths: RunPaths) -> list[Request]:
    """Every request of a run."""
    record = load_run(paths)
    make_request = open_request_maker(paths, record, run_config(record, load_submission(paths, 1)))
    plan, made = PlanReader(paths), []
    for entry in read_index(paths):
        user = plan.user(entry.span)
        numbers = range(entry.first_item, entry.first_item + entry.num_items)
        made += [make_request(user, planned_item(user, number), []) for number in numbers]
    plan.close()
    return [each for each in made if isinstance(each, Request)]


def run(command: list[str], scratch: Path) -> float:
    """Wall seconds of a command that must succeed."""
    environment = {**os.environ, "VLLM_LOGGING_LEVEL": "WARNING", "TMPDIR": str(scratch)}
    if not has_gpu():
        environment |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "CUDA_VISIBLE_DEVICES": ""}
    started = time.monotonic()
    done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return round(seconds, 2)


def has_gpu() -> bool:
    """Whether nvidia-smi lists one."""
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    main()
