"""From the stages of an op to the steps of one element, each confirmed by calculating its rule again."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from qmath.errors import SpecError
from qmath.types import Array
from quantref.explain.bits import cut_bits, decimal, float32_bits, quotient
from quantref.explain.explanation import Scalar, Step
from quantref.formulas import Formula, IncalculableError, Number, exact, parse, plain_number
from quantref.recording import Stage

#: The stage that holds an op's input, quantized on the fly, and parts of it: they are laid out as the input.
CODES = "quantized input"
#: Names of the stages of recurrent ops.
_STEP = re.compile(r"step (\d+): (.*)")
_ANY_STEP = re.compile(r"(^|: )step \d+: ")
#: Functions that round to an integer.
_ROUNDING = {"half_up", "half_away", "half_even", "toward_zero", "floor"}


def place_in(stage: Array, shape: tuple[int, ...], index: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return where the output element ``index`` is in the array of a stage, or None if it has no place there.

    A stage has the shape of the output, or as many elements in the same order, or it broadcasts to that shape (one
    multiplier a channel, one sum a row).
    """
    if stage.shape == shape:
        return index
    if stage.size == int(np.prod(shape)):
        flat = int(np.ravel_multi_index(index, shape)) if shape else 0
        return _unravelled(flat, stage.shape)
    try:
        fits = np.broadcast_shapes(stage.shape, shape) == shape
    except ValueError:
        fits = False
    return _projected(index, stage.shape) if fits else None


def _unravelled(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(flat, shape)) if shape else ()


def _projected(index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the element that broadcasting to the index repeats."""
    last = index[len(index) - len(shape) :]
    return tuple(0 if size == 1 else at for at, size in zip(last, shape, strict=True))


def scalar(value: Array) -> Scalar:
    """Return one element as a plain number."""
    item = value.item()
    return item if isinstance(item, int | float | bool) else str(item)


def at_time(
    stages: tuple[Stage, ...], output: Array, index: tuple[int, ...]
) -> tuple[tuple[Stage, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the stages of the time step that an element belongs to, and the shape and index without the time axis.

    Recurrent ops name their stages ``step 0: ...``. Where it is not clear which step an element belongs to, and for the
    two directions of bidirectional ops, there are no stages. Those of other ops are returned as they are.
    """
    if not is_recurrent(stages):
        return stages, output.shape, index
    named = [(match, stage) for stage in stages if (match := _STEP.match(stage.name))]
    if output.ndim == 2 and len({match[1] for match, _ in named}) == 1:
        return stages, output.shape, index
    times = 1 + max((int(match[1]) for match, _ in named), default=-1)
    for axis in range(output.ndim - 1):
        if output.ndim == 3 and output.shape[axis] == times:
            last = {int(match[1]): stage.value for match, stage in named if match[2] == "output"}
            if last and all(np.array_equal(np.take(output, time, axis), value) for time, value in last.items()):
                kept = (stage for match, stage in named if int(match[1]) == index[axis])
                shape, rest = (tuple(np.delete(numbers, axis).tolist()) for numbers in (output.shape, index))
                return tuple(kept), shape, rest
    return (), output.shape, index


def is_recurrent(stages: tuple[Stage, ...]) -> bool:
    """Whether stages are those of one time step after the other."""
    return any(_ANY_STEP.search(stage.name) for stage in stages)


def values_of(stages: Iterable[Stage], shape: tuple[int, ...], index: tuple[int, ...]) -> Iterator[Array]:
    """Yield what each stage holds of one output element."""
    for stage in stages:
        at = None if stage.name.startswith(CODES) else place_in(stage.value, shape, index)
        if at is not None:
            yield stage.value[at]


def steps_of(stages: Iterable[Stage], shape: tuple[int, ...], index: tuple[int, ...]) -> Iterator[Step]:
    """Yield the steps of one output element: every stage that it has a place in."""
    for stage in stages:
        at = None if stage.name.startswith(CODES) else place_in(stage.value, shape, index)
        if at is not None:
            yield step_at(stage, at)


def steps_to_code(stages: Iterable[Stage], index: tuple[int, ...]) -> Iterator[Step]:
    """Yield the steps to one code of an input that is quantized on the fly; those of its row have one element a row."""
    for stage in stages:
        if stage.name.startswith(CODES) and stage.value.ndim == len(index):
            yield step_at(stage, _projected(index, stage.value.shape))


def steps_of_part(stages: Iterable[Stage], part: str, index: tuple[int, ...]) -> Iterator[Step]:
    """Yield the steps of one element of a part of the op; stages with fewer elements broadcast."""
    for stage in stages:
        if stage.name.startswith(f"{part}: ") and stage.value.ndim <= len(index):
            yield step_at(stage, _projected(index, stage.value.shape))


def step_at(stage: Stage, at: tuple[int, ...]) -> Step:
    """Return one element of a stage as a step; a rule that does not give its value is left out."""
    value = scalar(stage.value[at])
    if not stage.rule or isinstance(value, str):
        return Step(stage.name, value)
    try:
        terms = terms_at(stage, at)
        formula, result = parse(stage.rule), exact(value)
        if not formula.gives(result, terms):
            return Step(stage.name, value)
    except (IncalculableError, ValueError):  # a term may not broadcast to its stage
        return Step(stage.name, value)
    formula, remark = _without_idle_wrap(formula, result, terms)
    cut = _cut(formula.tree, terms)
    bits = cut_bits(*cut) if cut and cut[0] % (1 << cut[1]) else ""
    if cut and cut[0] and cut[1]:
        remark = quotient(*cut) if not remark or remark.endswith("a tie") else f"{quotient(*cut)}; {remark}"
    elif stage.value.dtype == np.float32 and formula.text.startswith("float32"):
        bits = float32_bits(float(value))
    if formula.approximate:
        remark = f"the formula gives {decimal(formula.value(terms))}; the kernel comes near it"
    numbers = formula.with_numbers(terms)
    used = {name: plain_number(terms[name]) for name in formula.names if name in terms}
    return Step(stage.name, value, formula.text.lstrip("~ "), numbers, bits, remark, formula.approximate, used)


def terms_at(stage: Stage, at: tuple[int, ...]) -> Mapping[str, Number]:
    """Return the terms of one element of a stage, as exact numbers."""
    shape = stage.value.shape
    return {name: exact(np.broadcast_to(term, shape)[at].item()) for name, term in stage.terms.items()}


def _without_idle_wrap(formula: Formula, result: Number, terms: Mapping[str, Number]) -> tuple[Formula, str]:
    """Leave out an outermost wrap that changes nothing, and say what the outermost function did."""
    call = formula.tree
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        return formula, ""
    name, inside = call.func.id, Formula(ast.unparse(call.args[0]).replace(" ** ", "**"), call.args[0])
    before = inside.value(terms)
    if name == "wrap":
        return (inside, "") if before == result else (formula, f"{before} does not fit, the lowest bits remain")
    if name == "clamp":
        return formula, "clamped" if before != result else ""
    if name in {"float32", "float64"} and before != result:
        return formula, f"{decimal(before)} before it is rounded to {name}"
    if name in _ROUNDING and (2 * before).denominator == 1 and before.denominator == 2:
        return formula, f"{decimal(before)} is a tie"
    return formula, ""


def _cut(tree: ast.expr, terms: Mapping[str, Number]) -> tuple[int, int] | None:
    """Return the integer that a rule divides by a power of two and rounds, and that power; None if it does neither."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[ast.BinOp(left=left, op=ast.Div(), right=right)]):
                match right:
                    case ast.BinOp(left=ast.Constant(value=2), op=ast.Pow(), right=exponent) if name in _ROUNDING:
                        return _integers(Formula("", left), Formula("", exponent), terms)
    return None


def _integers(numerator: Formula, exponent: Formula, terms: Mapping[str, Number]) -> tuple[int, int] | None:
    try:
        number, shift = numerator.value(terms), exponent.value(terms)
    except SpecError:
        return None
    whole = number.denominator == 1 and shift.denominator == 1 and 0 < shift <= 64
    return (int(number), int(shift)) if whole else None
