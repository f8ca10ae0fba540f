"""The recipe itself: run by the Python of the pinned environment, which has no launch package.

    python -I recipe.py REQUEST_JSON

REQUEST_JSON holds `checkpoint`, `out`, `scheme`, `group_size` (null: chosen here), `prompts` (a file with a
list of token ids per line, null for a scheme without calibration), `trust_remote_code` and `answer`. The
quantised weights and config.json go to `out`; what was done goes to `answer`, as JSON, or `{"error": ...}`
when the checkpoint cannot be quantised so. Exit codes: 0 done, 2 the error is in `answer`, else a bug.

w4a16 and w8a8 use GPTQ, which takes any architecture; AWQ in llm-compressor wants a table per architecture.
"""

import ctypes
import json
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

GROUP_SIZES = (128, 64, 32)
IGNORED = [
    "lm_head"
]  # as the schemes of vLLM's own models do: few weights, and each output token reads them all
PR_SET_PDEATHSIG = 1
REFUSED = 2


class RecipeError(Exception):
    """One line: what was found and what to do."""


def main() -> int:
    """Quantise as the request asks; returns the exit code."""
    # Whoever started this may be killed; hours of GPU time are then not spent on a result that nobody takes.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        answer, code = quantise(request), 0
    except RecipeError as error:
        answer, code = {"error": str(error)}, REFUSED
    Path(request["answer"]).write_text(json.dumps(answer), encoding="utf-8")
    return code


def quantise(request: dict[str, Any]) -> dict[str, Any]:
    """Write the quantised checkpoint; returns what was done."""
    started = time.monotonic()
    scheme, remote_code = request["scheme"], request["trust_remote_code"]
    widths = find_widths(request["checkpoint"], remote_code)
    group_size = choose_group_size(widths, request["group_size"]) if scheme == "w4a16" else None

    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        request["checkpoint"], dtype="auto", trust_remote_code=remote_code, local_files_only=True
    )
    modifier = make_modifier(scheme, group_size)
    calibration = load_calibration(Path(request["prompts"])) if request["prompts"] else {}
    oneshot(model=model, recipe=modifier, **calibration)
    model.save_pretrained(request["out"], save_compressed=True)
    return {
        "modifier": type(modifier).__name__,
        "group_size": group_size,
        "ignored": IGNORED,
        "num_modules": sum(hasattr(part, "quantization_scheme") for part in model.modules()),
        "device": device_name(),
        "seconds": round(time.monotonic() - started, 1),
    }


def find_widths(checkpoint: str, remote_code: bool) -> dict[str, int]:
    """Input width of every matrix that is to be quantised, by name; the weights are not read.

    Beside Linear layers those are experts: transformers holds the matrices of all experts of a layer in one
    parameter (experts, out, in), which llm-compressor takes apart into Linear layers.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=remote_code, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=remote_code)
    linear = {name: part for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    widths = {name: part.in_features for name, part in linear.items() if name not in IGNORED}
    widths |= {name: part.shape[-1] for name, part in model.named_parameters() if part.ndim == 3}
    if not widths:
        raise RecipeError(
            "no Linear layer was found in it, so there is nothing to quantise. Choose another checkpoint."
        )
    return widths


def choose_group_size(widths: dict[str, int], asked: int | None) -> int:
    """The group size asked for, or the largest of GROUP_SIZES, that divides every width; else RecipeError."""
    candidates: Iterable[int] = GROUP_SIZES if asked is None else (asked,)
    for size in candidates:
        if all(width % size == 0 for width in widths.values()):
            return size
    size = min(candidates)
    name, width = next((name, width) for name, width in widths.items() if width % size)
    fitting = [each for each in GROUP_SIZES if all(width % each == 0 for width in widths.values())]
    advice = (
        f"Leave --group-size out, which takes {fitting[0]}." if fitting else "Choose --scheme w8a8 or fp8."
    )
    raise RecipeError(f"group size {size} does not divide {width}, the input width of {name}. {advice}")


def make_modifier(scheme: str, group_size: int | None) -> Any:
    """llm-compressor's modifier of a scheme; symmetric, which is what vLLM has kernels for everywhere."""
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier

    if scheme == "fp8":
        return QuantizationModifier(targets=["Linear"], ignore=IGNORED, scheme="FP8_DYNAMIC")
    if scheme == "w8a8":
        return GPTQModifier(targets=["Linear"], ignore=IGNORED, scheme="W8A8")
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": group_size}
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    return GPTQModifier(config_groups=groups, ignore=IGNORED)


def load_calibration(path: Path) -> dict[str, Any]:
    """oneshot's arguments for the prompts of a file, one a batch, whole and in their order."""
    import torch

    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    tensors = [torch.tensor([row]) for row in rows]
    batches = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in tensors]
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    return {
        "dataset": loader,
        "num_calibration_samples": len(rows),
        "max_seq_length": max(map(len, rows)),
        "shuffle_calibration_samples": False,
    }


def device_name() -> str:
    """The GPU that llm-compressor computes on, one layer after the other, or the CPU."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    sys.exit(main())
