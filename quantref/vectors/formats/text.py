"""Cases as JSON, and as memory images in hexadecimal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import fbs
from qmath.types import Array
from quantref.vectors.formats.operands import Operand, distinct, operands, results
from quantref.vectors.running import Answer

WORD = 4


def json_file(model: fbs.Model, samples: Sequence[Mapping[str, Array]], answers: Mapping[str, Answer]) -> bytes:
    """Return inputs, constants and expected outputs as JSON, each array flat and in C order.

    Floats are the shortest decimals that read back as the same number; those that are none are ``"nan"``, ``"inf"``,
    ``"-inf"``; complex numbers are pairs.
    """
    shared = distinct(model, answers)
    plain = {
        "inputs": [_operand(operand) for operand in operands(model, samples)],
        "expected": {
            profile: [_operand(operand) for operand in results(model, answers[profile])] if first == profile else first
            for profile, first in shared.items()
        },
    }
    return (json.dumps(plain, separators=(",", ":")) + "\n").encode()


def _operand(operand: Operand) -> dict[str, Any]:
    quant = operand.tensor.quant
    plain: dict[str, Any] = {"place": operand.place, "name": operand.name, "dtype": operand.tensor.dtype.name}
    if quant is not None:
        plain |= {"scale": [float(x) for x in quant.scale], "zero_point": [int(x) for x in quant.zero_point]}
        plain["quantized_dimension"] = quant.quantized_dimension
    key = "constant" if operand.constant else "invocations"
    arrays = [{"shape": list(value.shape), "values": _flat(value)} for value in operand.values]
    return plain | {key: arrays[0] if operand.constant else arrays}


def _flat(value: Array) -> list[Any]:
    if value.dtype.kind == "c":
        return [[_number(x.real), _number(x.imag)] for x in value.ravel().tolist()]
    return [_number(x) for x in value.ravel().tolist()]


def _number(x: Any) -> Any:
    return x if not isinstance(x, float) or np.isfinite(x) else str(x)


def hex_files(
    model: fbs.Model, samples: Sequence[Mapping[str, Array]], answers: Mapping[str, Answer]
) -> dict[str, bytes]:
    """Return a memory image of every array, for ``$readmemh``.

    A line is a word of 32 bits, eight hexadecimal digits. Words are little-endian: the byte of the lowest address lies
    in the lowest bits. The last word is filled up with zeros. An element of fewer than eight bits takes a byte.
    """
    named = {f"hex/{place}.hex": value for operand in operands(model, samples) for place, value in operand.numbered()}
    for profile in dict.fromkeys(distinct(model, answers).values()):
        for operand in results(model, answers[profile]):
            named |= {f"hex/expected.{profile}.{place}.hex": value for place, value in operand.numbered()}
    return {name: _image(value) for name, value in named.items()}


def _image(value: Array) -> bytes:
    little = np.ascontiguousarray(value.astype(value.dtype.newbyteorder("<")))
    content = little.tobytes()
    words = np.frombuffer(content + bytes(-len(content) % WORD), "<u4")
    shape = "x".join(map(str, value.shape)) or "scalar"
    lines = [f"// {value.dtype.name} {shape}, {len(content)} bytes", *(f"{word:08x}" for word in words)]
    return ("\n".join(lines) + "\n").encode()
