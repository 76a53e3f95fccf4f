"""Cases as C headers: constants, inputs, expected outputs, and the numbers of the prepared op."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

import fbs
from qmath.types import Array
from quantref.parameters import Parameter
from quantref.vectors.entries import Entry
from quantref.vectors.formats.operands import Operand, distinct, operands, results
from quantref.vectors.running import Answer

CASE_HEADER, SUITE_HEADER = "case.h", "suite.h"
_TYPES = {
    "bool": "uint8_t",
    "float16": "uint16_t",
    "float32": "float",
    "float64": "double",
    "complex64": "float",
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
#: Numbers a line.
_A_LINE = 16


def identifier(name: str) -> str:
    """Return a name as one of C."""
    return re.sub(r"\W", "_", name)


def case_header(
    name: str, model: fbs.Model, samples: Sequence[Mapping[str, Array]], answers: Mapping[str, Answer]
) -> bytes:
    """Return the header of a case; every symbol begins with its id, with underscores.

    ``ID_in0_0`` is the op's first input at the first invocation, ``ID_in1`` a constant, ``ID_expected_PROFILE_out0_0``
    an output; each has ``..._shape``, ``ID_in0_scale`` and so on. ``ID_PLACE`` are the integers of the prepared op
    under the first profile, such as ``ID_requantize_factor_multiplier``, always arrays, with ``..._count``.
    """
    prefix = identifier(name)
    guard = f"QUANTREF_{prefix.upper()}_H"
    lines = [
        f"/* {name}: {', '.join(operator.name for operator in model.subgraphs[0].operators)}. Arrays in C order. */",
        f"#ifndef {guard}",
        f"#define {guard}",
        "#include <math.h>",
        "#include <stdint.h>",
        "",
        f"#define {prefix}_invocations {len(samples)}",
    ]
    for operand in operands(model, samples):
        lines += [*_about(f"{prefix}_{operand.place}", operand), *_arrays(prefix, operand)]
    for profile, first in distinct(model, answers).items():
        of = f"{prefix}_expected_{identifier(profile)}"
        for operand in results(model, answers[profile]):
            lines += _about(f"{prefix}_{operand.place}", operand) if profile == next(iter(answers)) else []
            same = f"{prefix}_expected_{identifier(first)}"
            lines += _arrays(of, operand) if first == profile else _aliases(of, same, operand)
    if len(model.subgraphs[0].operators) == 1 and answers:
        profile, answer = next(iter(answers.items()))
        lines += ["", f"/* numbers of the prepared op under {profile} */"]
        lines += _parameters(prefix, answer.parameters.get(0, {}))
    return "\n".join([*lines, "", "#endif", ""]).encode()


def suite_header(entries: Iterable[Entry]) -> bytes:
    """Return the header of a suite, which includes those of all cases.

    ``QUANTREF_CASES(X)`` is ``X(ID)`` for each case, ``QUANTREF_RUNS(X)`` is ``X(ID, N)`` for each invocation.
    """
    cases = [entry for entry in entries if CASE_HEADER in entry.files]
    lines = ["#ifndef QUANTREF_SUITE_H", "#define QUANTREF_SUITE_H"]
    lines += [f'#include "{entry.place}/{CASE_HEADER}"' for entry in cases]
    names = [(identifier(entry.id), entry.invocations) for entry in cases]
    each = [f"    X({name})" for name, _ in names]
    runs = [f"    X({name}, {number})" for name, count in names for number in range(count)]
    lines += ["", " \\\n".join(["#define QUANTREF_CASES(X)", *each])]
    lines += ["", " \\\n".join(["#define QUANTREF_RUNS(X)", *runs]), "", "#endif", ""]
    return "\n".join(lines).encode()


def _about(symbol: str, operand: Operand) -> Iterator[str]:
    quant = operand.tensor.quant
    yield ""
    yield f"/* {operand.name.replace('*/', '* /')}: {operand.tensor.dtype.name} */"
    if quant is not None:
        yield from _array(f"{symbol}_scale", np.asarray(quant.scale, np.float32))
        yield from _array(f"{symbol}_zero_point", np.asarray(quant.zero_point, np.int64))


def _arrays(prefix: str, operand: Operand) -> Iterator[str]:
    for place, value in operand.numbered():
        yield from _array(f"{prefix}_{place}_shape", np.array(value.shape, np.int32))
        yield from _array(f"{prefix}_{place}", value)


def _aliases(of: str, same: str, operand: Operand) -> Iterator[str]:
    for place, _ in operand.numbered():
        yield from (f"#define {of}_{place}{end} {same}_{place}{end}" for end in ("", "_shape", "_count"))


def _parameters(prefix: str, parameters: Mapping[str, Parameter]) -> Iterator[str]:
    for place, value in parameters.items():
        array = np.asarray(value)
        if array.dtype.kind in "iu":
            yield from _array(f"{prefix}_{identifier(place)}", array.reshape(-1).astype(np.int64))


def _array(symbol: str, value: Array) -> Iterator[str]:
    """Yield an array and the number of its elements; C has no empty arrays, so those hold one zero and count none."""
    kind = _TYPES.get(value.dtype.name)
    if kind is None:
        yield f"/* {symbol}: {value.dtype.name} has no type in C */"
        return
    words = [_literal(x) for x in _numbers(value)]
    yield f"#define {symbol}_count {len(words)}"
    yield f"static const {kind} {symbol}[{max(len(words), 1)}] = {{"
    for start in range(0, max(len(words), 1), _A_LINE):
        yield f"    {', '.join(words[start : start + _A_LINE] or ['0'])},"
    yield "};"


def _numbers(value: Array) -> list[bool | int | float]:
    flat = value.ravel()
    if value.dtype.kind == "c":
        flat = np.stack([flat.real, flat.imag], -1).ravel()
    elif value.dtype == np.float16:
        flat = flat.view(np.uint16)
    return [float(x) if isinstance(x, float) else int(x) for x in flat.tolist()]


def _literal(x: float) -> str:
    if isinstance(x, float):
        return x.hex() if np.isfinite(x) else "NAN" if np.isnan(x) else "INFINITY" if x > 0 else "-INFINITY"
    if x > 0x7FFFFFFFFFFFFFFF:
        return f"{x}ULL"
    if x == -(1 << 63):
        return "(-9223372036854775807LL - 1)"
    if x == -(1 << 31):
        return "(-2147483647 - 1)"
    return str(x) if -(1 << 31) < x < 1 << 31 else f"{x}LL"
