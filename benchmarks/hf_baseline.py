"""The baseline that people leave: transformers' `generate`, its batch raised as far as it helps.

    python -m benchmarks.hf_baseline --checkpoint SHAPE --out FILE.json [--max-seconds 480]

The same shape of work as benchmarks/bare_engine.py: random prompts of one length, `--num-samples` samples of
exactly `--output-tokens` each, temperature 1, top-p 0.9, top-k 50, sdpa attention, random weights in
bfloat16. The batch (prompts at a time) doubles, or grows by --growth, until memory ends, a step gains less
than 5 %, or the time is up. The JSON is written anew after every batch.
"""

# ruff: noqa: TID253  (it is about them)

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.record import table, write_record

LEAST_GAIN = 1.05
GIB = 2**30


def open_model(args: argparse.Namespace) -> Any:
    """The model with random weights, made where it runs."""
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(args.checkpoint)
    with torch.device(args.device):
        model = AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, args.dtype), attn_implementation="sdpa"
        )
    return model.eval()


@torch.inference_mode()
def time_batch(model: Any, args: argparse.Namespace, batch: int, output_tokens: int) -> float:
    """Seconds of one `generate` call."""
    shape = (batch, args.prompt_tokens)
    prompts = torch.randint(100, model.config.vocab_size, shape, device=args.device)
    began = time.monotonic()
    made = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        do_sample=True,
        temperature=1.0,
        top_p=0.9,
        top_k=50,
        num_return_sequences=args.num_samples,
        min_new_tokens=output_tokens,
        max_new_tokens=output_tokens,
        pad_token_id=0,
    )
    assert made.shape == (batch * args.num_samples, args.prompt_tokens + output_tokens)
    made.cpu()
    return time.monotonic() - began


def measure(model: Any, args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row per batch; the last one did not help, did not fit, or was the last there was time for."""
    rows: list[dict[str, Any]] = []
    began, batch, why = time.monotonic(), args.first_batch, ""
    time_batch(model, args, 1, 4)
    while not why:
        try:
            seconds = time_batch(model, args, batch, args.output_tokens)
        except torch.OutOfMemoryError:
            why = f"no memory for a batch of {batch}"
            write_record(args.out, summary(args, rows, why))
            return rows
        samples = batch * args.num_samples
        row = {
            "batch": batch,
            "samples": samples,
            "seconds": seconds,
            "output tok/s": samples * args.output_tokens / seconds,
            "samples/min": 60 * samples / seconds,
            "peak GiB": torch.cuda.max_memory_allocated() / GIB if args.device == "cuda" else None,
        }
        best = max((each["output tok/s"] for each in rows), default=0.0)
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
        spent = time.monotonic() - began
        if row["output tok/s"] < LEAST_GAIN * best:
            why = "the last batch gained less than 5 %"
        elif spent + 2.5 * seconds > args.max_seconds:
            why = "no time for a larger batch"
        write_record(args.out, summary(args, rows, why or "cut while it ran"))
        batch = math.ceil(batch * args.growth)
    return rows


def summary(args: argparse.Namespace, rows: list[dict[str, Any]], why: str) -> dict[str, Any]:
    """The best batch and all of them."""
    best = max(rows, key=lambda row: row["output tok/s"], default=None)
    names = ("prompt_tokens", "output_tokens", "num_samples", "dtype", "device")
    return {
        "shape": {name: getattr(args, name) for name in names},
        "ended": why,
        "output tok/s": best and best["output tok/s"],
        "samples/min": best and best["samples/min"],
        "rows": rows,
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--prompt-tokens", type=int, default=1024)
    parser.add_argument("--output-tokens", type=int, default=256)
    parser.add_argument("--num-samples", type=int, default=5)
    parser.add_argument("--first-batch", type=int, default=1)
    parser.add_argument("--growth", type=float, default=2.0, help="each batch over the one before it")
    parser.add_argument("--max-seconds", type=float, default=480.0)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    print(table(measure(open_model(args), args)))


if __name__ == "__main__":
    main()
