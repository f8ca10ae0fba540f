"""A tiny Llama whose layers are quantised to 4 bits in the layout of AWQ or GPTQ, and the same one in floats.

Packed here with numpy, for AutoAWQ is deprecated and AutoGPTQ wants a GPU; checkpoints in both layouts are
what users have. Layouts: AutoAWQ's WQLinear_GEMM.from_linear, AutoGPTQ's QuantLinear.pack, both for 4 bits.
"""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tests.models import make_tiny_llama

Layout = Literal["awq", "gptq"]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

PER_WORD = 8  # 4-bit values in an int32, the first in the lowest bits
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # which of 8 neighbouring columns lies in the first, second... 4 bits
GPTQ_ZERO = 8  # symmetric; GPTQ stores a zero point less one
DTYPES = {"<f4": "F32", "<f2": "F16", "<i4": "I32"}


def make_quantized_llama(folder: Path, layout: Layout, *, group_size: int = 64) -> tuple[Path, Path]:
    """(quantised checkpoint, the same weights in float32), both made in `folder`.

    Scales of columns and groups differ, so that a scale or zero point in a wrong place is a wrong model.
    """
    quantized = make_tiny_llama(folder / layout)
    plain = make_tiny_llama(folder / f"{layout}-in-floats")
    rng = np.random.default_rng(1)
    packed: dict[str, NDArray[Any]] = {}
    floats: dict[str, NDArray[Any]] = {}
    for name, values in read_bfloat16(plain / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            weight = values.T * spread(rng, values.T.shape, group_size)  # (in, out), as both layouts have it
            q, scales, zeros = quantize(weight, group_size, symmetric=layout == "gptq")
            pack = pack_awq if layout == "awq" else pack_gptq
            module = name.removesuffix("weight")
            packed |= {module + part: tensor for part, tensor in pack(q, scales, zeros, group_size).items()}
            floats[name] = dequantize(q, scales, zeros, group_size).T
        else:
            packed[name], floats[name] = values.astype("<f2"), values
    write_tensors(quantized / "model.safetensors", packed)
    write_tensors(plain / "model.safetensors", floats)
    add_to_config(quantized, {"quantization_config": CONFIGS[layout] | {"group_size": group_size}})
    add_to_config(quantized, {"torch_dtype": "bfloat16"})
    add_to_config(plain, {"torch_dtype": "float32"})
    return quantized, plain


CONFIGS: dict[str, dict[str, Any]] = {
    "awq": {"quant_method": "awq", "bits": 4, "zero_point": True, "version": "gemm"},
    "gptq": {"quant_method": "gptq", "bits": 4, "desc_act": False, "sym": True, "checkpoint_format": "gptq"},
}


def spread(rng: np.random.Generator, shape: tuple[int, ...], group_size: int) -> Floats:
    """A factor per column and group around 1, for weights of a shape (in, out)."""
    factors = np.exp(0.4 * rng.standard_normal((shape[0] // group_size, shape[1]), np.float32))
    return np.repeat(factors, group_size, axis=0)


def quantize(weight: Floats, group_size: int, *, symmetric: bool) -> tuple[Integers, Floats, Integers]:
    """q from 0 to 15 (in, out), scales and zeros (groups, out): the weight is about (q - zero) x scale."""
    groups = weight.reshape(-1, group_size, weight.shape[1])
    low, high = groups.min(axis=1), groups.max(axis=1)
    scales = np.maximum(-low, high) / 7 if symmetric else (high - low) / 15
    scales = scales.astype(np.float16).astype(np.float32)
    zeros = np.full(scales.shape, GPTQ_ZERO) if symmetric else np.clip(np.round(-low / scales), 0, 15)
    q = np.clip(np.round(groups / scales[:, None]) + zeros[:, None], 0, 15)
    return q.reshape(weight.shape).astype(np.int64), scales, zeros.astype(np.int64)


def dequantize(q: Integers, scales: Floats, zeros: Integers, group_size: int) -> Floats:
    """The weights (in, out) that a quantised layer stands for."""
    wide = [np.repeat(part, group_size, axis=0) for part in (zeros, scales)]
    return ((q - wide[0]) * wide[1]).astype(np.float32)


def pack_awq(q: Integers, scales: Floats, zeros: Integers, group_size: int) -> dict[str, NDArray[Any]]:
    """qweight (in, out / 8), qzeros (groups, out / 8), scales (groups, out)."""
    return {
        "qweight": pack_columns(q, AWQ_ORDER),
        "qzeros": pack_columns(zeros, AWQ_ORDER),
        "scales": scales.astype("<f2"),
    }


def pack_gptq(q: Integers, scales: Floats, zeros: Integers, group_size: int) -> dict[str, NDArray[Any]]:
    """qweight (in / 8, out), qzeros (groups, out / 8), scales (groups, out), g_idx (in)."""
    return {
        "qweight": np.ascontiguousarray(pack_columns(q.T, range(PER_WORD)).T),
        "qzeros": pack_columns(zeros - 1, range(PER_WORD)),
        "scales": scales.astype("<f2"),
        "g_idx": (np.arange(q.shape[0]) // group_size).astype("<i4"),
    }


def pack_columns(values: Integers, order: Any) -> NDArray[np.int32]:
    """Each 8 neighbouring columns in one int32; `order` says which of them comes first."""
    words = values.reshape(values.shape[0], -1, PER_WORD)[:, :, list(order)]
    shifted = words << (4 * np.arange(PER_WORD))
    return shifted.sum(axis=2).astype("<u4").view("<i4")


def read_bfloat16(path: Path) -> dict[str, Floats]:
    """The tensors of a safetensors file that holds only bfloat16, in float32."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, about in json.loads(data[8:start]).items():
        if name != "__metadata__":
            assert about["dtype"] == "BF16", name
            begin, end = (start + offset for offset in about["data_offsets"])
            bits = np.frombuffer(data[begin:end], "<u2").astype(np.uint32) << 16
            found[name] = bits.view(np.float32).reshape(about["shape"])
    return found


def write_tensors(path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    """A safetensors file of float32, float16 and int32 tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        about = {"dtype": DTYPES[tensor.dtype.str], "shape": tensor.shape, "data_offsets": [start, end]}
        header[name] = about
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    parts = [np.ascontiguousarray(tensor).tobytes() for tensor in tensors.values()]
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))


def add_to_config(checkpoint: Path, values: dict[str, Any]) -> None:
    """Changes config.json."""
    path = checkpoint / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values, indent=2) + "\n")
