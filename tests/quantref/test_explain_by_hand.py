"""Explanations, read by somebody who has nothing but the printed text and a pocket calculator."""

from __future__ import annotations

import ast
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest

import quantref as qr
from qmath.errors import QuantrefError
from tests.oracles import rational
from tests.oracles.calculator import press
from tests.quantref.test_explain_every_op import generators, with_shapes_of

PROFILES = (
    *("litert-reference", "litert-optimized", "xnnpack", "tflm", "cmsis-nn"),
    *("litert-optimized-arm64", "xnnpack-arm64"),
)
#: What a user meets first: ops, and how they are quantized.
CELLS = (
    "CONV_2D int8 x int8 per-axis int32 bias",
    "CONV_2D int16 x int8 per-axis int64 bias",
    "CONV_2D float32 x int8 per-axis float32 bias",
    "DEPTHWISE_CONV_2D int8 x int8 per-axis int32 bias",
    "TRANSPOSE_CONV int8 x int8 per-axis int32 bias",
    "FULLY_CONNECTED int8 x int8 per-tensor int32 bias",
    "FULLY_CONNECTED int8 x int8 per-axis int32 bias",
    "FULLY_CONNECTED int16 x int8 per-tensor int64 bias",
    "FULLY_CONNECTED hybrid int8 per-tensor symmetric",
    "FULLY_CONNECTED hybrid int8 per-axis asymmetric",
    "BATCH_MATMUL int8 x int8 to int8",
    "ADD int8",
    "ADD int16",
    "SUB int8",
    "MUL int8",
    "AVERAGE_POOL_2D int8",
    "MAX_POOL_2D int8",
    "MEAN int8",
    "SOFTMAX int8 to int8",
    "SOFTMAX int16 to int16",
    "LOGISTIC int8",
    "LOGISTIC int16",
    "TANH int8",
    "TANH int16",
    "HARD_SWISH int8",
    "LEAKY_RELU int8",
    "PRELU int8",
    "RELU6 int8",
    "QUANTIZE float32 to int8",
    "QUANTIZE int8 to int8",
    "DEQUANTIZE int8",
    "CONCATENATION int8",
    "L2_NORMALIZATION int8",
    "SVDF int8",
    "UNIDIRECTIONAL_SEQUENCE_LSTM int8",
)
#: Profiles whose steps are rounded in ways that their kernel does not name, by the op.
UNNAMED = {"UNIDIRECTIONAL_SEQUENCE_LSTM": ("tflm", "cmsis-nn", "litert-optimized-arm64", "xnnpack-arm64")}
#: Words that introduce a number by themselves: what is the largest or lowest of elements that are listed elsewhere.
SELF_EVIDENT = re.compile(
    r"(.*: )?(sum|accumulator|sum with bias|cell state before|feature sum|sum of (squares|powers)"
    r"|largest|largest of the row"
    r"|(low|high) end of the row, or 0|largest magnitude of the row|output"
    r"|left_shift|256 times the negative codes that meet a weight of -128)"
)
#: The ends of types, and what no code reaches.
ENDS = {
    *(0, Fraction(1, 2), 1, 127, 128, 255, 32767, 32768, 65535, 2**30, 2**31 - 1, 2**31),
    Fraction(np.finfo("f4").max.item()),
}
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass
class Printed:
    """A step as it is printed: ``name = rule = numbers = value``, and the lines below it."""

    name: str
    parts: list[str]
    value: Fraction
    approximate: bool
    remarks: list[str]


def sections(text: str) -> dict[str, list[str]]:
    """Return the lines below each title."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines()[1:]:
        if line and not line.startswith(" "):
            found[line] = []
        elif line:
            found[list(found)[-1]].append(line[2:])
    return found


def steps(lines: list[str]) -> Iterator[Printed]:
    """Put the lines of each step together."""
    groups: list[list[str]] = []
    for line in lines:
        if line.startswith(" "):
            groups[-1].append(line)
        else:
            groups.append([line])
    for first, *rest in groups:
        name = re.split(r" [=~] ", first)[0]
        whole, remarks = first, []
        for line in rest:
            depth = len(line) - len(line.lstrip()) - len(name) - 1
            if depth in {0, 4}:
                whole += f" {line.strip()}"
            else:
                remarks.append(line.strip())
        _, *parts = re.split(r" [=~] ", whole)
        value = NUMBER.fullmatch(re.sub(r" \(0x[0-9A-F]+\)$", "", parts[-1]))
        assert value, f"no number: {whole}"
        yield Printed(
            name,
            parts[:-1],
            Fraction(float(value[0]) if "." in value[0] or "e" in value[0] else int(value[0])),
            " ~ " in whole,
            remarks,
        )


def constants(expression: str) -> set[Fraction]:
    """Return the magnitudes of the numbers in an expression."""
    return {abs(Fraction(node.value)) for node in ast.walk(ast.parse(expression, mode="eval"))
            if isinstance(node, ast.Constant)}  # fmt: skip


def check_step(step: Printed, known: set[Fraction]) -> None:
    """Press the keys, and look for every number in what was printed before."""
    if not step.parts:
        assert SELF_EVIDENT.fullmatch(step.name), f"{step.name} = {step.value}: where does it come from?"
        return
    *_, numbers = step.parts
    if re.fullmatch(r"\w+\[.*\]", numbers) or re.fullmatch("[a-z_]+", numbers):  # it is that, as it is
        assert abs(step.value) in known, step
        return
    pressed = press(numbers)
    if step.approximate:
        (shown,) = re.findall(r"the formula gives (-?[\d.]+?)(?:\.\.\.)?(e-\d+)?;", " ".join(step.remarks))
        assert abs(Fraction("".join(shown)) - pressed) <= abs(pressed) / 10**9 + Fraction(1, 10**12), step
        assert abs(pressed - step.value) <= max(abs(pressed) / 500, 13), step
    else:
        assert pressed == step.value, step
    if len(step.parts) > 1:
        written = constants(step.parts[0])
        shifts = {abs(s) for k in known for s in (15 - k, 31 - k, 15 + k, 31 + k, 14 + k, k - 1)}
        for number in constants(numbers) - written:
            assert number in known | ENDS or (number <= 63 and number in shifts), f"{number} of {step}"
    check_remarks(step, pressed)


def check_remarks(step: Printed, pressed: Fraction) -> None:
    """Check quotients, ties, and numbers before they were rounded."""
    for remark in step.remarks:
        for number, shift, digits, where in re.findall(r"(-?\d+) / 2\*\*(\d+) = (-?[\d.]+), ([a-z ]+)", remark):
            exact = Fraction(int(number), 2 ** int(shift))
            shown = Fraction(digits.removesuffix("..."))
            assert abs(exact) - abs(shown) < Fraction(1, 10**12), remark
            rest = exact - exact.numerator // exact.denominator
            half = Fraction(1, 2)
            word = ("exact" if not rest else "a tie" if rest == half else
                    "above the middle" if rest > half else "below the middle")  # fmt: skip
            assert where == word, remark
        if "before it is rounded" in remark:
            shown = Fraction(float(remark.split()[0].replace("...", "")))
            assert abs(shown - pressed) <= abs(pressed) / 10**6 + Fraction(1, 10**30), remark


def cells(line: str) -> list[str]:
    return re.split(r"  +", line.strip())


def check_sum(lines: list[str], known: set[Fraction]) -> None:
    """Subtract, multiply and add."""
    head, *rows, last = lines if len(lines) > 1 else ("", *lines)
    names = cells(head)
    offsets = [int(name.removeprefix("less ")) for name in names if name.startswith("less ")]
    line = re.search(r"(\w+) of (\d+) (product|element)s? ([=~]) (\S+?)(?:;|$)", last)
    assert line, last
    total, count = Fraction(0), 0
    largest: list[Fraction] = []
    for row in rows:
        found = cells(row)
        known |= {abs(Fraction(float(number))) for number in NUMBER.findall(re.sub(r"\[.*?\]", "", row))}
        if row.startswith("..."):
            count += int(found[0].split()[1])
            total += Fraction(float(found[-1])) if len(found) > 1 and NUMBER.fullmatch(found[-1]) else 0
            continue
        count += 1
        numbers = [Fraction(float(cell)) for cell in found if NUMBER.fullmatch(cell)]
        largest.append(numbers[-1])
        total += numbers[-1]
        if "product" in names:
            product, factors, left = numbers.pop(), [], list(offsets)
            heads = [name for name in names if name == "value" or name.startswith("less ")]
            for name, number in zip(heads, numbers, strict=True):
                if name == "value":
                    factors.append(number)
                else:
                    assert factors[-1] - left.pop(0) == number, row
                    factors[-1] = number
            assert line[4] == "~" or factors[0] * factors[1] == product, row
    assert count == int(line[2]), last
    value = Fraction(float(line[5]))
    known |= {abs(value), Fraction(count)}
    if line[1] == "sum":
        assert total == value if line[4] == "=" else abs(total - value) <= abs(value) / 10**4 + Fraction(1, 10**4)
    elif not any(row.startswith("...") for row in rows):
        assert max(largest) == value


ROUNDINGS = {
    "double rounding": rational.double_rounding,
    "double rounding half up": rational.double_rounding_half_up,
    "single rounding": rational.single_rounding,
    "reduced64": rational.reduced_64,
}


def rounded(name: str, accumulator: int, real: float) -> int | None:
    """Multiply an accumulator as gemmlowp's paper and its kin do."""
    if name in ROUNDINGS:
        return ROUNDINGS[name](accumulator, *rational.encode(real))
    if name == "float64 half away":
        return rational.float64_half_away(accumulator, real)
    return rational.float32_half_even(accumulator, real) if name == "float32 half even" else None


def check_roundings(lines: list[str], found: dict[str, Fraction]) -> int:
    """Compute what the other roundings give; return how many were."""
    accumulator = int(found["accumulator"])
    if "real multiplier" not in found or abs(accumulator) >= 2**31:
        return 0
    text = " ".join(lines)
    gives = re.match(r"(.*?) \(.*?\) gives (-?\d+); so do (.*)", text)
    rows = dict(re.findall(r"(?:->)?  +([a-z]\S*(?: \S+)*?)  +(-?\d+)", "\n".join(lines)))
    if gives:
        rows = dict.fromkeys([gives[1], *gives[3].split(", ")], gives[2])
    compared = 0
    low, high, zero_point = (int(found[name]) for name in ("low", "high", "zero_point"))
    for name, value in rows.items():
        expected = rounded(name.strip(), accumulator, float(found["real multiplier"]))
        if expected is not None and abs(expected) < 2**31 and abs(accumulator) * found["real multiplier"] < 2**30:
            assert min(max(expected + zero_point, low), high) == int(value), f"{name}: {value}"
            compared += 1
    return compared


def check(text: str) -> int:
    """Check every number of an explanation; return how many steps it has."""
    known: set[Fraction] = set()
    parts, count = sections(text), 0
    found: dict[str, Fraction] = {}
    for number in NUMBER.findall(" ".join(re.sub(r"\[.*?\]", "", line) for line in parts["The op"])):
        known.add(abs(Fraction(float(number))))
    for title, lines in parts.items():
        if title.startswith("What "):
            check_sum(lines, known)
        elif title == "Where it comes from":
            listed = re.sub(r"\[.*?\]", "", " ".join(lines))
            known |= {abs(Fraction(float(number))) for number in NUMBER.findall(listed)}
        elif title in {"From scales to multipliers", "Step by step"}:
            for step in steps(lines):
                check_step(step, known)
                known.add(abs(step.value))
                found[step.name] = step.value
                ends = re.fullmatch(r"clamp\(.*, (-?\d+), (-?\d+)\)", step.parts[-1] if step.parts else "")
                if step.name == "clamped" and ends:
                    found["low"], found["high"] = (Fraction(end) for end in ends.groups())
                if step.name == "zero point added":
                    found["zero_point"] = Fraction(step.parts[-1].split(" + ")[-1])
                count += 1
    for line in parts["In real numbers"]:
        told = re.match(r"code (\S+) stands for .* = (\S+) \* \((\S+) - (\S+)\) = (\S+)", line)
        if told:
            code, scale, same, zero_point, real = told.groups()
            assert code == same
            assert float(scale) * (int(code) - int(zero_point)) == float(real)
        told = re.match(r"without rounding: accumulator \* real_multiplier = (\S+) steps", line)
        if told:
            exact = found["accumulator"] * found["real multiplier"]
            assert float(told[1]) == pytest.approx(float(exact), rel=1e-15)
    title = "The same accumulator under every rounding"
    if title in parts and {"accumulator", "low", "zero_point"} <= set(found):
        assert check_roundings(parts[title], found) >= 0
    return count


@pytest.mark.parametrize("cell", CELLS)
def test_every_number_is_checked_with_a_pocket_calculator(cell: str) -> None:
    compared = 0
    for profile in PROFILES:
        if profile in UNNAMED.get(cell.split(maxsplit=1)[0], ()):
            continue
        compared += sum(check(str(explanation)) for explanation in explained(cell, profile))
    assert compared > 0


def explained(cell: str, profile: str) -> Iterator[qr.Explanation]:
    """Explain an element in the middle and the last one of the first case that runs."""
    generator = dict(generators()[cell.split(maxsplit=1)[0]])[cell]
    for case in islice(generator(np.random.default_rng(zlib.crc32(cell.encode()))), 6):
        model = with_shapes_of(case)
        try:
            (value, *_) = qr.run(model, case.samples[0], profile=profile).values()
        except QuantrefError:
            continue
        if value.size:
            for flat in (value.size // 2, value.size - 1):
                index = tuple(int(i) for i in np.unravel_index(flat, value.shape))
                tensor = model.subgraphs[0].outputs[0]
                yield qr.explain(model, case.samples[0], tensor=tensor, index=index, profile=profile)
            return
