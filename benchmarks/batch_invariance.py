"""Whether vLLM alone gives a prompt the same tokens in any batch: alone, among 16 and among 64 others.

    python -m benchmarks.batch_invariance CHECKPOINT [--no-flag] [--compiled] [--no-prefix-cache]
                                          [--load-format dummy] [--out FILE]

One bare `LLM(...)` with `VLLM_BATCH_INVARIANT=1` (not with --no-flag), prompts of 40 to 900 random tokens,
greedily, with a seed each, and with seeds, top-k and top-p: for these vLLM 0.26 takes other code where a
step has fewer than 8 sequences (v1/sample/ops/topk_topp_sampler.py), 0.32 does not. A row has how many
prompts had equal tokens, and how many equal log probabilities of them to the last bit, beside the same
prompts in the batch of 64: where the first are equal and the second are not, it is luck. What our own part
(order, claims, resumes) adds: benchmarks/invariance.py.
"""

import argparse
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

from benchmarks.record import list_gpus, table, write_record
from benchmarks.worker_loop import take_environment
from launch.worker.engines.shield import kill_trees, list_children

FLAG = "VLLM_BATCH_INVARIANT"
NUM_PROMPTS, SHORTEST, LONGEST = 64, 40, 900
LOWEST_TOKEN, HIGHEST_TOKEN = 100, 40_000
MAX_TOKENS = 48
NUM_ALONE, NUM_TOGETHER = 8, 16
GREEDY = "greedy"
SAMPLING: dict[str, dict[str, Any]] = {
    GREEDY: {"temperature": 0.0},
    "seeded": {"temperature": 1.0},
    "seeded, top-k and top-p": {"temperature": 1.0, "top_p": 0.9, "top_k": 50},
}
Output = tuple[tuple[int, ...], tuple[float, ...]]
"""Token ids of a prompt, and the log probability of each."""


class Bench:
    """One engine and the prompts that it is asked."""

    def __init__(self, args: argparse.Namespace) -> None:
        from vllm import LLM

        self._llm = LLM(
            str(args.checkpoint),
            dtype=args.dtype,
            load_format=args.load_format,
            enforce_eager=not args.compiled,
            enable_prefix_caching=not args.no_prefix_cache,
            max_model_len=args.max_model_len,
            max_num_seqs=256,
            **({"enable_chunked_prefill": False} if args.on_cpu else {}),
            **{name: json.loads(value) for name, _, value in (each.partition("=") for each in args.set)},
        )
        highest = min(HIGHEST_TOKEN, self._llm.llm_engine.vllm_config.model_config.get_vocab_size())
        chance = random.Random(3)
        self._prompts = [
            [chance.randrange(LOWEST_TOKEN, highest) for _ in range(chance.randrange(SHORTEST, LONGEST))]
            for _ in range(NUM_PROMPTS)
        ]

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Fewer prompts at a time against all of them, by a name of SAMPLING."""
        together = self._ask(range(NUM_PROMPTS), name)
        few = self._ask(range(NUM_TOGETHER), name)
        alone = [self._ask([number], name)[0] for number in range(NUM_ALONE)]
        again = self._ask(range(NUM_PROMPTS), name)
        return [
            _row(f"{name}, {NUM_PROMPTS} again", together, again),
            _row(f"{name}, {NUM_TOGETHER} of them", together, few),
            _row(f"{name}, alone", together, alone),
        ]

    def _ask(self, numbers: Any, name: str) -> list[Output]:
        from vllm import SamplingParams

        params = [
            SamplingParams(
                **SAMPLING[name],
                seed=None if name == GREEDY else 100 + number,
                max_tokens=MAX_TOKENS,
                ignore_eos=True,
                logprobs=0,
            )
            for number in numbers
        ]
        prompts = [{"prompt_token_ids": self._prompts[number]} for number in numbers]
        found = self._llm.generate(prompts, params, use_tqdm=False)
        return [_output(each.outputs[0]) for each in found]


def _output(sample: Any) -> Output:
    ids = tuple(sample.token_ids)
    return ids, tuple(each[token].logprob for each, token in zip(sample.logprobs, ids, strict=True))


def _row(name: str, base: list[Output], other: list[Output]) -> dict[str, Any]:
    pairs = list(zip(base, other, strict=False))  # those that `other` has
    return {
        "batch": name,
        "prompts": len(pairs),
        "equal tokens": sum(a[0] == b[0] for a, b in pairs),
        "equal log probabilities": sum(a == b for a, b in pairs),
    }


def main() -> None:
    """Asks, prints the table, writes the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--no-flag", action="store_true", help="without batch-invariant kernels, to compare")
    parser.add_argument("--compiled", action="store_true", help="torch.compile and CUDA graphs; else eager")
    parser.add_argument("--no-prefix-cache", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="of vllm.LLM")
    parser.add_argument("--load-format", default="auto")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--max-model-len", type=int, default=2048)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/batch-invariance.json"))
    args = parser.parse_args()
    take_environment()
    args.on_cpu = not list_gpus()
    if not args.no_flag:
        os.environ[FLAG] = "1"
    bench = Bench(args)
    rows = [row for name in SAMPLING for row in bench.rows(name)]
    print(table(rows))
    asked = {name: str(value) for name, value in vars(args).items() if name not in ("out", "checkpoint")}
    write_record(args.out, {"checkpoint": args.checkpoint.name, "asked": asked, "rows": rows})
    sys.stdout.flush()
    kill_trees(list_children())  # vLLM's own end may take long, and the next engine needs the GPU
    os._exit(0)


if __name__ == "__main__":
    main()
