"""vLLM alone: one `LLM(...)`, one `LLM.generate` of random prompts; start, output tokens/s, samples/min.

    python -m benchmarks.bare_engine --checkpoint SHAPE [--set NAME=JSON ...] --out FILE.json

`--set` gives keyword arguments of vllm.LLM: `--set tensor_parallel_size=2 --set quantization='"fp8"'`. Every
prompt has exactly `--prompt-tokens` random tokens, every sample exactly `--output-tokens` (ignore_eos), each
request its own seed, temperature 1, top-p 0.9, top-k 50. With `--ragged` the samples of a prompt are of a
length of their own, from 1 to twice `--output-tokens`, as many of each: they end one after another then, and
those that wait join the others one after another, too. A short batch before it, of up to 64 prompts, warms
the seeded sampler up. With `--beside N --meet DIR` it waits until N such processes are up, so that
engines on several GPUs run at one time.
"""

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.record import list_gpus, write_record
from benchmarks.worker_loop import take_environment
from launch.worker.engines.shield import kill_trees, list_children

MEET_TIMEOUT_S, MEET_PAUSE_S = 500.0, 0.2
START_METHOD = "VLLM_WORKER_MULTIPROC_METHOD"
WARM_UP_PROMPTS, WARM_UP_TOKENS = 64, 8
HIGHEST_SEED = 2**62


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Starts the engine, warms it up, generates; the figures."""
    began = time.monotonic()
    from vllm import LLM, SamplingParams

    import_s = time.monotonic() - began
    llm = LLM(**arguments_of(args))
    start_s = time.monotonic() - began
    print(f"engine up after {start_s:.1f} s", file=sys.stderr, flush=True)
    config = llm.llm_engine.vllm_config
    prompts = make_prompts(args, config.model_config.get_vocab_size())
    chance = random.Random(1)

    def params(lengths: list[int]) -> list[Any]:
        return [
            SamplingParams(
                n=args.num_samples,
                seed=chance.randrange(HIGHEST_SEED),
                temperature=1.0,
                top_p=0.9,
                top_k=50,
                ignore_eos=True,
                max_tokens=length,
            )
            for length in lengths
        ]

    began = time.monotonic()
    few = prompts[:WARM_UP_PROMPTS]
    llm.generate(few, params([WARM_UP_TOKENS] * len(few)), use_tqdm=False)
    warm_up_s = time.monotonic() - began
    llm.reset_prefix_cache()
    meet(args)
    asked = params(output_lengths(args))
    began = time.monotonic()
    outputs = llm.generate(prompts, asked, use_tqdm=False)
    seconds = time.monotonic() - began
    tokens = sum(len(each.token_ids) for output in outputs for each in output.outputs)
    return {
        "output tok/s": tokens / seconds,
        "samples/min": 60 * len(prompts) * args.num_samples / seconds,
        "seconds": seconds,
        "start_s": start_s,
        "import_s": import_s,
        "warm_up_s": warm_up_s,
        "num_gpu_blocks": config.cache_config.num_gpu_blocks,
        "max_num_seqs": config.scheduler_config.max_num_seqs,
        "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
    }


def arguments_of(args: argparse.Namespace) -> dict[str, Any]:
    """Of vllm.LLM: what the worker gives by default, and what was set."""
    arguments: dict[str, Any] = {
        "model": str(args.checkpoint),
        "generation_config": "vllm",
        "disable_log_stats": True,
        "gpu_memory_utilization": 0.9,
        "max_model_len": args.max_model_len,
        "load_format": args.load_format,
    }
    if not list_gpus():
        whole_prompts = max(args.max_model_len, 4096)
        arguments |= {"enable_chunked_prefill": False, "max_num_batched_tokens": whole_prompts}
        arguments |= {"kv_cache_memory_bytes": 2**30}
    for setting in args.set:
        name, mark, value = setting.partition("=")
        assert mark, f"--set {setting}: expected NAME=JSON"
        arguments[name] = json.loads(value)
    return arguments


def output_lengths(args: argparse.Namespace) -> list[int]:
    """Of the samples of each prompt: all the same, or spread evenly around it, in any order."""
    if not args.ragged:
        return [args.output_tokens] * args.users
    longest = 2 * args.output_tokens - 1
    lengths = [1 + round(number * (longest - 1) / max(1, args.users - 1)) for number in range(args.users)]
    random.Random(2).shuffle(lengths)
    return lengths


def make_prompts(args: argparse.Namespace, vocabulary: int) -> list[dict[str, list[int]]]:
    """Random tokens, none of the first hundred, where special ones are; the same in every process."""
    chance = random.Random(0)
    lowest = min(100, vocabulary // 2)
    return [
        {"prompt_token_ids": [chance.randrange(lowest, vocabulary) for _ in range(args.prompt_tokens)]}
        for _ in range(args.users)
    ]


def meet(args: argparse.Namespace) -> None:
    """Waits until all `--beside` processes have got here."""
    if args.meet is None:
        return
    args.meet.mkdir(parents=True, exist_ok=True)
    (args.meet / str(os.getpid())).touch()
    until = time.monotonic() + MEET_TIMEOUT_S
    while len(list(args.meet.iterdir())) < args.beside:
        if time.monotonic() > until:
            sys.exit(f"{args.meet}: the others did not come up")
        time.sleep(MEET_PAUSE_S)


def main() -> None:
    """Measures once and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument("--prompt-tokens", type=int, default=1024)
    parser.add_argument("--output-tokens", type=int, default=256)
    parser.add_argument("--ragged", action="store_true", help="lengths of 1 to twice --output-tokens")
    parser.add_argument("--num-samples", type=int, default=5)
    parser.add_argument("--max-model-len", type=int, default=8192)
    parser.add_argument("--load-format", default="dummy")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--beside", type=int, default=1)
    parser.add_argument("--meet", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    asked_for = os.environ.get(START_METHOD)
    take_environment()
    if asked_for is None:
        del os.environ[START_METHOD]  # vLLM's own way, which is what a bare engine has
    found = measure(args)
    names = ("users", "prompt_tokens", "output_tokens", "num_samples", "ragged")
    asked = {name: getattr(args, name) for name in names}
    write_record(args.out, {"shape": asked, "settings": args.set, **found})
    print(f"{found['output tok/s']:,.0f} output tok/s, {found['samples/min']:,.0f} samples/min")
    sys.stdout.flush()
    kill_trees(list_children())  # vLLM's own end may take long, or hang, and holds the GPU
    os._exit(0)


if __name__ == "__main__":
    main()
